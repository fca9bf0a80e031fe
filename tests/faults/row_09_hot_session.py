"""Row 9: half of all clicks are one session's: its partition works harder, the others hardly notice."""

import random
from collections.abc import Iterator
from itertools import pairwise
from statistics import median, quantiles

from tests.faults.auditor import Audit
from tests.faults.clicks import Sent, clicks, sent_click
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, Start, Stop, Wait
from tests.faults.stage import Stage
from tests.integration.harness import Position
from tests.integration.site import N_ITEMS

HOT = "hot"
RATE = 500.0
DOUBLED = 2.0


def one_is_hot(seed: int) -> Iterator[Sent]:
    """Every second click is of one session."""
    chance = random.Random(seed)
    for click in clicks(seed):
        yield click
        yield sent_click(HOT, f"item-{chance.randrange(N_ITEMS)}")


def run(stage: Stage, size: Size) -> Findings:
    """Even load and uneven load at the same rate, in turns; the delays of both are compared."""
    seconds, n_turns = size.choose(full=(30, 3), short=(10, 2), quick=(4, 1))
    even: dict[Position, Sent] = {}
    uneven: dict[Position, Sent] = {}
    stage.perform([Start("w1")])
    stage.load(clicks(99), RATE, 1000).join(60)  # what is done for the first time takes longer
    for turn in range(n_turns):
        for kept, records in ((even, clicks(turn)), (uneven, one_is_hot(turn))):
            stage.perform([AwaitAnswers(), Wait(1.0)])
            producer = stage.load(records, RATE, round(seconds * RATE))
            producer.join(seconds + 60)
            kept.update(producer.acknowledged)
    stage.perform([AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    hot_at = {place.partition for place, one in uneven.items() if one.key == HOT.encode()}
    before_ms, after_ms = delays_elsewhere(audit, even, hot_at), delays_elsewhere(audit, uneven, hot_at)
    hot_ms = [audit.delays_ms[place] for place, one in uneven.items() if one.key == HOT.encode()]
    ratios = {name: round(after_ms[name] / max(1.0, before_ms[name]), 2) for name in before_ms}
    findings = Findings(
        {
            **audit.figures(),
            "even_delay_ms": before_ms,
            "delay_elsewhere_ms": after_ms,
            "ratios": ratios,
            "median_delay_hot_ms": median(hot_ms),
            "hot_answers_out_of_order": out_of_order(stage),
        },
        audit.problems(),
    )
    for name, ratio in ratios.items():
        findings.require(ratio < DOUBLED, f"the {name} delay of other partitions is {ratio} times as long")
    findings.require(out_of_order(stage) == 0, f"{out_of_order(stage)} answers to the session out of order")
    return findings


def delays_elsewhere(audit: Audit, sent: dict[Position, Sent], hot: set[int]) -> dict[str, float]:
    """From click to answer on the partitions that the session is not on; milliseconds."""
    delays = [float(audit.delays_ms[place]) for place in sent if place.partition not in hot]
    return {"mean": round(sum(delays) / len(delays), 2), "p95": quantiles(delays, n=20)[-1]}


def out_of_order(stage: Stage) -> int:
    """How many answers to the session stand behind an answer to a later click of it."""
    offsets = [one.click.offset for one in stage.auditor.answers.records if one.session_id == HOT]
    return sum(later < before for before, later in pairwise(offsets))


ROW = Row(
    9,
    "half of all clicks on one session",
    "order kept; the delay of other partitions less than doubled",
    run,
    quick=False,  # delays on a machine that does other things as well say little
)
