"""The clicks that a shop sends while its workers are struck: seeded, endless, as any producer writes them."""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.integration.harness import click_value
from tests.integration.site import N_ITEMS

UNKNOWN_ITEM = "item-unknown"


class Sent(NamedTuple):
    """A record for ``clicks``, and why it must be rejected, None where it must be answered."""

    key: bytes | None
    value: bytes | None
    reason: str | None = None


def sent_click(session_id: str, item_id: str, **fields: Any) -> Sent:
    """A good click."""
    return Sent(session_id.encode(), click_value(session_id, item_id, **fields))


def clicks(seed: int, n_sessions: int = 200) -> Iterator[Sent]:
    """Clicks of many sessions, interleaved, for ever.

    One item in twenty is unknown to every snapshot; half of the clicks have an event id, and one in twenty
    is an earlier one again.
    """
    chance = random.Random(seed)
    earlier: list[Sent] = []
    while True:
        if earlier and chance.random() < 0.05:
            yield chance.choice(earlier)
            continue
        session = f"s{chance.randrange(n_sessions)}"
        item = f"item-{chance.randrange(N_ITEMS)}" if chance.random() < 0.95 else UNKNOWN_ITEM
        event = {"event_id": f"e{chance.randrange(10**9)}"} if chance.random() < 0.5 else {}
        click = sent_click(session, item, **event)
        earlier = [*earlier[-50:], click]
        yield click
