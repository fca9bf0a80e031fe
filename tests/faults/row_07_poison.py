"""Row 7: clicks whose processing raises, and clicks that end the process, are found out and set aside."""

import random
import signal
import time
from collections.abc import Iterator

from tests.faults.clicks import Sent, clicks, sent_click
from tests.faults.faulty_worker import DEADLY_ITEM, RAISING_ITEM
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, Start, Stop
from tests.faults.stage import FaultError, Stage
from tests.integration.harness import Position

DEATHS_ALLOWED = 3
RATE = 300.0


def some_raise(share: float, seed: int) -> Iterator[Sent]:
    """Good clicks, and among them some that the recommender cannot stand."""
    chance = random.Random(seed)
    for click in clicks(seed):
        yield click
        if chance.random() < share:
            session = f"s{chance.randrange(200)}"
            yield sent_click(session, RAISING_ITEM)._replace(reason="poison")


def run(stage: Stage, size: Size) -> Findings:
    """Load with raising clicks; then deadly ones, each sent amid good clicks while the worker is down."""
    n_clicks, n_deadly = size.choose(full=(9000, 3), short=(3000, 2), quick=(600, 1))
    stage.perform([Start("w1")])
    stage.load(some_raise(0.01, seed=7), RATE, n_clicks).join(n_clicks / RATE + 60)
    stage.perform([AwaitAnswers(), Stop("w1")])
    deaths = [die_of_one(stage, n) for n in range(n_deadly)]
    audit = stage.audit()
    sent = [one.reason for one in stage.acknowledged.values()]
    details = {one.click: one.detail for one in stage.auditor.refused.records}
    findings = Findings(
        {
            "raising": sent.count("poison") - n_deadly,
            "deadly": n_deadly,
            "deaths": deaths,
            **audit.figures(),
        },
        audit.problems(),
    )
    # The first death may have happened in company, which says nothing about a single click.
    findings.require(
        all(DEATHS_ALLOWED <= n <= DEATHS_ALLOWED + 1 for n in deaths), f"{deaths} deaths of one click each"
    )
    ended = [position for position, detail in details.items() if "ended the process" in detail]
    findings.require(set(ended) == set(deadly_positions(stage)), f"{ended} were said to be deadly")
    return findings


def die_of_one(stage: Stage, seed: int) -> int:
    """Send a deadly click amid good ones and start the worker until it lives; gives how often it died."""
    deadly = sent_click(f"s{seed}", DEADLY_ITEM)._replace(reason="poison")
    good = clicks(100 + seed, n_sessions=20)
    amid = [*(next(good) for _ in range(40)), deadly, *(next(good) for _ in range(40))]
    stage.load(iter(amid), rate=1000).join(60)
    for n_deaths in range(DEATHS_ALLOWED + 3):
        stage.perform([Start("w1", ready=False)])
        if answers_all(stage):
            stage.perform([Stop("w1")])
            return n_deaths
        ended = stage.await_end("w1", 1)
        if ended.code != -signal.SIGABRT:
            raise FaultError(f"the worker ended with {ended.code}, not of the deadly click")
    raise FaultError("the deadly click is not quarantined")


def answers_all(stage: Stage) -> bool:
    """Whether the worker lives until all is answered."""
    deadline = time.monotonic() + 60
    while stage.workers["w1"].running and time.monotonic() < deadline:
        if not stage.auditor.unanswered(stage.acknowledged):
            return True
        time.sleep(0.3)
    return False


def deadly_positions(stage: Stage) -> list[Position]:
    """Where the deadly clicks stand."""
    deadly = f'"{DEADLY_ITEM}"'.encode()
    return [place for place, one in stage.acknowledged.items() if deadly in (one.value or b"")]


ROW = Row(
    7,
    "a click whose processing raises; a click that ends the process",
    "quarantined as poison: the first at once, the second after three deaths in a row at the same offset;"
    " all others answered",
    run,
)
