"""The two sides of a canary: which snapshot answers which session, and a batch answered by both.

A share of the sessions is the canary's. Which, a hash of the session's id says: the same in every worker
and after every restart, and apart from Kafka's choice of partitions. So a session stays on its side for as
long as there is a canary and the share is the same; where the share grows, no session leaves the canary's
side.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from streams.microbatch import Rejected, answer_or_isolate
from streams.recommender import Answers, Arrival, Recommender, SessionRef
from streams.session import Session
from streams.steps import Step, ignore

_HASH_BYTES: Final = 8
_PERSON: Final = b"nextclickcanary"

_log = logging.getLogger(__name__)


def is_on_canary_side(session_id: str, share: float) -> bool:
    """Tell whether a session is among the ``share`` of all that a canary serves."""
    digest = blake2b(session_id.encode(), digest_size=_HASH_BYTES, person=_PERSON).digest()
    return int.from_bytes(digest, "big") < share * 256**_HASH_BYTES


@dataclass(frozen=True, slots=True)
class Sides:
    """What serves: production, and maybe a canary for a share of the sessions.

    ``give_up`` is called with the reason where the canary fails at what production can do.
    """

    production: Recommender
    canary: Recommender | None = None
    share: float = 0.0
    give_up: Callable[[str], None] = lambda reason: None

    @property
    def recommenders(self) -> tuple[Recommender, ...]:
        """Both, or the only one."""
        return (self.production,) if self.canary is None else (self.production, self.canary)

    def of(self, session_id: str) -> Recommender:
        """Give the one that answers a session."""
        if self.canary is not None and is_on_canary_side(session_id, self.share):
            return self.canary
        return self.production

    def stale(self, sessions: Mapping[SessionRef, Session]) -> set[SessionRef]:
        """Give the sessions whose state is another snapshot's than that which answers them."""
        if self.canary is None:
            is_stale = self.production.is_stale
            return {ref for ref, session in sessions.items() if is_stale(session)}
        return {ref for ref, session in sessions.items() if self.of(ref.session_id).is_stale(session)}


def answer_by_sides(
    sides: Sides,
    records: Sequence[Any],
    arrivals: Sequence[Arrival],
    sessions: Mapping[SessionRef, Session],
    created_ms: int,
    done: Callable[[Step], None] = ignore,
) -> tuple[Answers, list[Rejected]]:
    """Answer a batch, each session by its side; see ``answer_or_isolate``.

    A click is never rejected because of the canary, and the worker never ends because of it: where it raises,
    production answers in its place. If production can, the canary is given up.
    """
    canary = sides.canary
    if canary is None:
        return answer_or_isolate(sides.production, records, arrivals, sessions, created_ms, done)
    mine: list[Arrival] = []
    others: list[Arrival] = []
    for arrival in arrivals:
        (mine if is_on_canary_side(arrival.click.session_id, sides.share) else others).append(arrival)
    answers, poison = answer_or_isolate(sides.production, records, others, sessions, created_ms, done)
    if not mine:
        return answers, poison
    try:
        own = canary.answer(mine, sessions, created_ms=created_ms, done=done)
    except Exception as error:
        _log.exception("the canary failed at %d clicks; production answers them", len(mine))
        own, own_poison = answer_or_isolate(sides.production, records, mine, sessions, created_ms, done)
        poison += own_poison
        if not own_poison:
            sides.give_up(f"{type(error).__name__} while it answered: {error}")
    return _together(answers, own), poison


def _together(first: Answers, second: Answers) -> Answers:
    """Both; no session is in both, so the order within each session stays."""
    return Answers(
        first.sessions | second.sessions,
        first.recommendations + second.recommendations,
        first.n_clicks + second.n_clicks,
        first.n_replays + second.n_replays,
        first.n_rebuilt + second.n_rebuilt,
        first.folded + second.folded,
    )
