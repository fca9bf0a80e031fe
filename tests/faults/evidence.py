"""What the auditor keeps of each record that workers leave: just what it judges by."""

import json
from typing import NamedTuple

import msgspec

from tests.faults.clicks import UNKNOWN_ITEM
from tests.integration.harness import Position, Record


class Answer(NamedTuple):
    """A recommendation as a front end reads it."""

    partition: int  # where it stands
    append_ms: int
    click: Position
    session_id: str
    item_id: str
    snapshot: str
    n_items: int
    best: float  # the first score of an item that every snapshot knows: a fresh item's may change


class Refused(NamedTuple):
    """A record of ``rejected-clicks``."""

    append_ms: int
    click: Position
    reason: str
    detail: str


class State(NamedTuple):
    """A session as the changelog has it; None where it was removed."""

    partition: int
    session_id: str
    append_ms: int
    offset: int  # of the last click applied, −1 for a tombstone
    value: bytes | None


def read_answer(record: Record) -> Answer:
    """Read a record of ``recommendations``."""
    answer = json.loads(record.value or b"")
    click = answer["click"]
    return Answer(
        record.position.partition,
        record.timestamp_ms,
        Position(click["partition"], click["offset"]),
        answer["session_id"],
        click["item_id"],
        answer["snapshot"],
        len(answer["items"]),
        max((item["score"] for item in answer["items"] if item["item_id"] != UNKNOWN_ITEM), default=0.0),
    )


def read_refused(record: Record) -> Refused:
    """Read a record of ``rejected-clicks``."""
    position = Position(int(record.headers["partition"]), int(record.headers["offset"]))
    return Refused(record.timestamp_ms, position, record.headers["reason"], record.headers["detail"])


def read_state(record: Record) -> State | None:
    """Read a record of the changelog; None for what is no session's, or was written by no worker."""
    try:
        if record.key is None or not record.key.startswith(b"s"):
            return None
        offset = -1 if record.value is None else int(msgspec.msgpack.decode(record.value[1:])[1])
        session_id = record.key[1:].decode()
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, IndexError):
        return None
    return State(record.position.partition, session_id, record.timestamp_ms, offset, record.value)
