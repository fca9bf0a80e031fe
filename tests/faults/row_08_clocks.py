"""Row 8: shops with wrong clocks, clicks sent three times, clicks out of the order of their times.

Whatever the times say: offsets are the order, a time in the future counts as the arrival, a time far off is
no click's, and of a repeated event id only the first click moves the session. The oracle knows those rules.
"""

import random
from collections.abc import Iterator
from itertools import chain
from typing import Final

from tests.faults.clicks import Sent, sent_click
from tests.faults.corrupt import DAY_MS
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, Kill, Start, Stop
from tests.faults.stage import Stage, now_ms
from tests.integration.site import N_ITEMS

MINUTE_MS: Final = 60_000
YEAR_2100_MS: Final = 4_102_444_800_000
BEYOND: Final = "timestamp-out-of-range"


def run(stage: Stage, size: Size) -> Findings:
    """Send what wrong clocks give, to a worker that is killed half-way."""
    n = size.choose(full=400, short=200, quick=60)
    n_parts = size.choose(full=2, short=2, quick=1)
    stage.perform([Start("w1")])
    for part in range(n_parts):
        records = list(wrong_clocks(seed=part, n=n))
        stage.load(iter(records), 400.0, len(records))
        if part + 1 < n_parts:
            stage.perform([AwaitAnswers(), Kill("w1"), Start("w1")])
    for producer in stage.producers:
        producer.join(120)
    stage.perform([AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    beyond = sum(one.reason == BEYOND for one in stage.acknowledged.values())
    findings = Findings({**audit.figures(), "out_of_range": beyond}, audit.problems())
    findings.require(stage.endings[-1].code == 0, f"the worker ended with {stage.endings[-1].code}")
    findings.require(stage.n_started == n_parts, "the worker crashed")
    findings.require(audit.rejected == {BEYOND: beyond}, f"rejected: {dict(audit.rejected)}")
    return findings


def wrong_clocks(seed: int, n: int) -> Iterator[Sent]:
    """Sessions of each kind, interleaved, ``n`` clicks of each."""
    chance = random.Random(seed)
    kinds = [
        _skewed(chance, n, -DAY_MS),
        _skewed(chance, n, DAY_MS - MINUTE_MS),
        _beyond(chance, n),
        _thrice(chance, n, with_event_ids=True),
        _thrice(chance, n, with_event_ids=False),
        _shuffled(chance, n),
    ]
    waiting = list(chain(*kinds))
    # Interleaved, each session's own order kept.
    by_session: dict[bytes | None, list[Sent]] = {}
    for one in waiting:
        by_session.setdefault(one.key, []).append(one)
    keys = [one.key for one in waiting]
    chance.shuffle(keys)
    for key in keys:
        yield by_session[key].pop(0)


def _item(chance: random.Random) -> str:
    return f"item-{chance.randrange(N_ITEMS)}"


def _session(chance: random.Random, kind: str) -> str:
    return f"{kind}{chance.randrange(12)}"


def _skewed(chance: random.Random, n: int, by_ms: int) -> Iterator[Sent]:
    """A clock a day slow or fast, and now and then the right one in the same session."""
    for _ in range(n):
        shift_ms = by_ms if chance.random() < 0.8 else 0
        session = _session(chance, "slow" if by_ms < 0 else "fast")
        yield sent_click(session, _item(chance), timestamp_ms=now_ms() + shift_ms)


def _beyond(chance: random.Random, n: int) -> Iterator[Sent]:
    """Time 0, the year 2100 and the like, in sessions that go on with good clicks."""
    for _ in range(n):
        time_ms = chance.choice([0, -1, 946_684_799_999, YEAR_2100_MS, now_ms() + DAY_MS + 10 * MINUTE_MS])
        session = _session(chance, "beyond")
        yield sent_click(session, _item(chance), timestamp_ms=time_ms)._replace(reason=BEYOND)
        yield sent_click(session, _item(chance), timestamp_ms=946_684_800_000)


def _thrice(chance: random.Random, n: int, *, with_event_ids: bool) -> Iterator[Sent]:
    """Each click three times, at once or after some others of its session."""
    name = "event" if with_event_ids else "again"
    for number in range(n // 3):
        event = {"event_id": f"{name}-{number}-{chance.random()}"} if with_event_ids else {}
        session = _session(chance, name)
        click = sent_click(session, _item(chance), timestamp_ms=now_ms(), **event)
        yield click
        if chance.random() < 0.5:
            other = {"event_id": f"other-{number}-{chance.random()}"} if with_event_ids else {}
            yield sent_click(session, _item(chance), **other)
        yield click
        yield click


def _shuffled(chance: random.Random, n: int) -> Iterator[Sent]:
    """Times that jump to and fro by less and by more than a session's gap."""
    for _ in range(n):
        time_ms = now_ms() - chance.choice([0, 1, 20, 29, 31, 40, 90, 600]) * MINUTE_MS
        yield sent_click(_session(chance, "shuffled"), _item(chance), timestamp_ms=time_ms)


ROW = Row(
    8,
    "clocks a day wrong, time 0, year 2100; clicks sent three times, with and without event ids; disorder",
    "sessions as the design says: offset order, times cut at arrival, repeated event ids applied once; what"
    " is out of range rejected; no crash",
    run,
)
