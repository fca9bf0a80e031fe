"""What a micro-batch goes through before Kafka sees anything of it: decoded, bounded, a bad click isolated.

Pure functions over records as aiokafka gives them: key, value, timestamp in ms, topic, partition, offset.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from streams.events import (
    MAX_VALUE_BYTES,
    MIN_TIMESTAMP_MS,
    Click,
    Reason,
    Recommendation,
    Rejection,
    decode_click,
)
from streams.fresh import Items
from streams.outbox import Outgoing
from streams.recommender import Answers, Arrival, Recommender, SessionRef
from streams.session import Session
from streams.steps import Step, ignore

MAX_REBUILDS: Final = 64  # sessions rebuilt in one batch: twenty rounds of the encoder, a few milliseconds

_log = logging.getLogger(__name__)


class Rejected(NamedTuple):
    """A record that is no click, as it came, and why."""

    record: Any
    rejection: Rejection


class Decoded(NamedTuple):
    """A micro-batch after decoding: clicks, and what is none."""

    arrivals: list[Arrival]
    rejected: list[Rejected]


def decode_batch(
    records: Sequence[Any], quarantined: Callable[[Any], Rejection | None] = lambda record: None
) -> Decoded:
    """Decode and check all records; a bad one becomes a rejection and the rest go on.

    ``quarantined`` gives the rejection of a record that must not even be looked at.
    """
    decoded = Decoded([], [])
    for record in records:
        click = quarantined(record) or decode_click(record.key, record.value, record.timestamp)
        if isinstance(click, Click):
            decoded.arrivals.append(Arrival(click, record.partition, record.offset, record.timestamp))
        else:
            decoded.rejected.append(Rejected(record, click))
    return decoded


def first_beyond_rebuilds(arrivals: Sequence[Arrival], stale: Collection[SessionRef]) -> Arrival | None:
    """Give the first click that would make one session too many be rebuilt in this batch, if there is one.

    ``stale`` are the sessions whose state is another snapshot's than that which answers them.
    """
    if len(stale) <= MAX_REBUILDS:
        return None
    met: set[SessionRef] = set()
    for arrival in arrivals:
        if arrival.session in stale:
            met.add(arrival.session)
            if len(met) > MAX_REBUILDS:
                return arrival
    return None


def answer_or_isolate(
    recommender: Recommender,
    records: Sequence[Any],
    arrivals: Sequence[Arrival],
    sessions: Mapping[SessionRef, Session],
    created_ms: int,
    done: Callable[[Step], None] = ignore,
) -> tuple[Answers, list[Rejected]]:
    """Answer a batch; where that raises, answer click by click and reject the ones that raise as poison.

    A fault of the recommender itself is no click's: where it cannot answer a click that is known to be
    harmless either, the exception goes on and ends the worker, before it rejects all that comes.
    """
    try:
        return recommender.answer(arrivals, sessions, created_ms=created_ms, done=done), []
    except Exception:
        _log.exception("a batch of %d clicks failed; answering them one by one", len(arrivals))
    stored = dict(sessions)
    changed: dict[SessionRef, Session] = {}
    recommendations: list[Recommendation] = []
    poison: list[Rejected] = []
    folded: list[Items] = []
    n_clicks = n_replays = n_rebuilt = 0
    by_position = {(record.partition, record.offset): record for record in records}
    for arrival in arrivals:
        try:
            one = recommender.answer([arrival], stored, created_ms=created_ms)
        except Exception as error:
            _answer_harmless_click(recommender)
            rejection = Rejection(Reason.POISON, f"{type(error).__name__} while it was answered")
            poison.append(Rejected(by_position[arrival.partition, arrival.offset], rejection))
            continue
        changed |= one.sessions
        stored |= one.sessions
        recommendations += one.recommendations
        n_clicks += one.n_clicks
        n_replays += one.n_replays
        n_rebuilt += one.n_rebuilt
        folded += one.folded
    return Answers(changed, recommendations, n_clicks, n_replays, n_rebuilt, tuple(folded)), poison


def _answer_harmless_click(recommender: Recommender) -> None:
    """Answer a new session's click on the most popular item; raises what is wrong with the recommender."""
    click = Click("harmless", recommender.snapshot.vocabulary.item_id(0))
    recommender.answer([Arrival(click, 0, 0, MIN_TIMESTAMP_MS)], {}, created_ms=0)


def rejection_record(topic: str, partition: int, rejected: Rejected) -> Outgoing:
    """Give the record for ``rejected-clicks``: the bytes cut to 64 KiB, the reason in headers."""
    record, rejection = rejected
    headers = {
        "reason": rejection.reason.value,
        "detail": rejection.detail,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "original_bytes": str(len(record.value or b"")),
    }
    return Outgoing(
        topic,
        partition,
        _cut(record.key),
        _cut(record.value),
        tuple((name, text.encode()) for name, text in headers.items()),
    )


def _cut(content: bytes | None) -> bytes | None:
    return content if content is None else content[:MAX_VALUE_BYTES]
