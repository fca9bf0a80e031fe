"""Clicks in, recommendations out: their fields, their JSON form, and why a click is rejected.

Decoding has a fast way for good clicks and a slow one that finds the exact reason for a bad one.
A rejected click is a value, not an exception: a batch goes on without it.
"""

import json
import re
from enum import StrEnum
from typing import Any, Final

import msgspec

MAX_VALUE_BYTES: Final = 64 * 1024
MAX_ID_BYTES: Final = 128
MAX_CONTEXT_BYTES: Final = 4 * 1024
MAX_DETAIL_BYTES: Final = 256
MAX_DEPTH: Final = 32
MIN_TIMESTAMP_MS: Final = 946_684_800_000  # 2000-01-01
MAX_AHEAD_MS: Final = 24 * 3600 * 1000

DEFAULT_KIND: Final = "view"

# None of these can be part of a cycle: gc=False keeps thousands of small objects out of the collector.
Scalar = str | int | float | bool | None


class Click(msgspec.Struct, frozen=True, gc=False):
    """One click as a producer writes it; ``timestamp_ms`` is None where the append time is meant."""

    session_id: str
    item_id: str
    timestamp_ms: int | None = None
    kind: str | None = None
    user_id: str | None = None
    event_id: str | None = None
    context: dict[str, Scalar] | None = None


class Reason(StrEnum):
    """Why a record on the ``clicks`` topic is not a click."""

    NOT_JSON = "not-json"
    MISSING_FIELD = "missing-field"
    WRONG_TYPE = "wrong-type"
    BAD_ID = "bad-id"
    TOO_LONG = "too-long"
    KEY_MISMATCH = "key-mismatch"
    TIMESTAMP_OUT_OF_RANGE = "timestamp-out-of-range"
    RECORD_TOO_LARGE = "record-too-large"
    POISON = "poison"


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """The reason for rejecting a record, and one line of detail of at most 256 bytes."""

    reason: Reason
    detail: str


class ClickRef(msgspec.Struct, frozen=True, gc=False):
    """The click that a recommendation answers; ``(partition, offset)`` identifies it for ever."""

    partition: int
    offset: int
    item_id: str
    timestamp_ms: int
    event_id: str | None = None


class ScoredItem(msgspec.Struct, frozen=True, gc=False):
    """One recommended item and its score, comparable only within one snapshot."""

    item_id: str
    score: float


class Recommendation(msgspec.Struct, frozen=True, gc=False):
    """The answer to one click: at most k items, best first, all from one snapshot."""

    session_id: str
    snapshot: str
    source: str  # "model", or "popular" where no item of the session is known, nor a fresh one
    created_ms: int
    click: ClickRef
    items: list[ScoredItem]
    v: int = 1


_click_decoder = msgspec.json.Decoder(Click, strict=True)
_recommendation_encoder = msgspec.json.Encoder()
_recommendation_decoder = msgspec.json.Decoder(Recommendation)
_control = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def encode_recommendation(recommendation: Recommendation) -> bytes:
    """Give the JSON form that front ends read."""
    return _recommendation_encoder.encode(recommendation)


def decode_recommendation(value: bytes) -> Recommendation:
    """Read the JSON form; raise ``msgspec.ValidationError`` or ``msgspec.DecodeError`` otherwise."""
    return _recommendation_decoder.decode(value)


def encode_click(click: Click) -> bytes:
    """Give the JSON form of a click, without the fields that are not set."""
    fields = {name: value for name, value in msgspec.structs.asdict(click).items() if value is not None}
    return msgspec.json.encode(fields)


def click_time_ms(click: Click, append_ms: int) -> int:
    """Give the time that counts: the click's own, but never later than its arrival."""
    return append_ms if click.timestamp_ms is None else min(click.timestamp_ms, append_ms)


def decode_click(key: bytes | None, value: bytes | None, append_ms: int) -> Click | Rejection:
    """Decode and check one record of the ``clicks`` topic, appended at ``append_ms``."""
    if not value:
        return Rejection(Reason.NOT_JSON, "the value is null or empty")
    if len(value) > MAX_VALUE_BYTES:
        return Rejection(
            Reason.RECORD_TOO_LARGE, f"the value has {len(value)} bytes, at most {MAX_VALUE_BYTES}"
        )
    try:
        click = _click_decoder.decode(value)
        if not value.isascii():
            value.decode()  # fields that are skipped may hold anything
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _find_reason(value, str(error))
    # Only a field that is skipped can nest this deeply; counting brackets is cheaper than parsing twice.
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth_exceeded(value):
        return _too_deep()
    return _find_fault(click, key, append_ms) or click


def _find_fault(click: Click, key: bytes | None, append_ms: int) -> Rejection | None:
    """Check what the types cannot: lengths, characters, the key, the time."""
    session_key = click.session_id.encode()
    for name, id_, size in (
        ("session_id", click.session_id, len(session_key)),
        ("item_id", click.item_id, len(click.item_id.encode())),
    ):
        if size == 0:
            return Rejection(Reason.MISSING_FIELD, f"{name} is empty")
        if size > MAX_ID_BYTES:
            return Rejection(Reason.TOO_LONG, f"{name} has {size} bytes, at most {MAX_ID_BYTES}")
        if not id_.isprintable() and _control.search(id_):
            return Rejection(Reason.BAD_ID, f"{name} has a control character")
    if click.kind is not None or click.user_id is not None or click.event_id is not None:
        for name, text in (("kind", click.kind), ("user_id", click.user_id), ("event_id", click.event_id)):
            if text is not None and len(text.encode()) > MAX_ID_BYTES:
                return Rejection(Reason.TOO_LONG, f"{name} has over {MAX_ID_BYTES} bytes")
    if click.context is not None and len(msgspec.json.encode(click.context)) > MAX_CONTEXT_BYTES:
        return Rejection(Reason.TOO_LONG, f"context has over {MAX_CONTEXT_BYTES} bytes")
    if key != session_key:
        what = "null" if key is None else "another id"
        return Rejection(Reason.KEY_MISMATCH, f"the record's key is {what}, it must be the session_id")
    if (time_ms := click.timestamp_ms) is not None and not (
        MIN_TIMESTAMP_MS <= time_ms <= append_ms + MAX_AHEAD_MS
    ):
        return _out_of_range(time_ms)
    return None


def _out_of_range(time_ms: int) -> Rejection:
    return Rejection(
        Reason.TIMESTAMP_OUT_OF_RANGE,
        _clip(f"timestamp_ms must be from 2000-01-01 to a day after the record's arrival, not {time_ms}"),
    )


def _too_deep() -> Rejection:
    return Rejection(Reason.NOT_JSON, f"nested deeper than {MAX_DEPTH}")


def _find_reason(value: bytes, problem: str) -> Rejection:
    """Find why the decoder refused ``value``; ``problem`` is what the decoder said."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        return Rejection(Reason.NOT_JSON, f"not UTF-8: {error.reason} at byte {error.start}")
    try:
        fields = json.loads(text, parse_int=_parse_int)
    except RecursionError:
        return _too_deep()
    except ValueError as error:
        return Rejection(Reason.NOT_JSON, _clip(f"not JSON: {error}"))
    if not isinstance(fields, dict):
        return Rejection(Reason.NOT_JSON, f"not an object but {type(fields).__name__}")
    if _depth_exceeded(value):
        return _too_deep()
    return _find_field_fault(fields) or Rejection(
        Reason.WRONG_TYPE, _clip(f"NaN, a number out of range or half a surrogate pair: {problem}")
    )


def _find_field_fault(fields: dict[str, Any]) -> Rejection | None:
    """Name the first field that the decoder could not take."""
    for name in ("session_id", "item_id"):
        field = fields.get(name)
        if field is None or field == "":
            return Rejection(
                Reason.MISSING_FIELD, f"{name} is {'empty' if field == '' else 'absent or null'}"
            )
        if not isinstance(field, str):
            return Rejection(Reason.WRONG_TYPE, f"{name} is {type(field).__name__}, expected a string")
        if any("\ud800" <= character <= "\udfff" for character in field):
            return Rejection(Reason.BAD_ID, f"{name} has half a surrogate pair")
    for name in ("kind", "user_id", "event_id"):
        if not isinstance(fields.get(name), str | None):
            return Rejection(Reason.WRONG_TYPE, f"{name} is not a string")
    time_ms = fields.get("timestamp_ms")
    if time_ms is not None:
        if isinstance(time_ms, bool) or not isinstance(time_ms, int):
            return Rejection(
                Reason.WRONG_TYPE, _clip(f"timestamp_ms is {time_ms!r}, expected whole milliseconds")
            )
        if not -(2**63) <= time_ms < 2**63:
            return _out_of_range(time_ms)
    context = fields.get("context")
    if context is not None and not (
        isinstance(context, dict) and all(isinstance(field, Scalar) for field in context.values())
    ):
        return Rejection(Reason.WRONG_TYPE, "context is not a flat object")
    return None


def _parse_int(digits: str) -> int:
    """Read a whole number; of one too long for ``int`` only that it is beyond any range."""
    return int(digits[:30])


def _depth_exceeded(value: bytes) -> bool:
    """Tell whether JSON nests deeper than allowed, brackets inside strings left aside."""
    depth = 0
    in_string = escaped = False
    for byte in value:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif byte in b"}]":
            depth -= 1
    return False


def _clip(text: str) -> str:
    """Cut a detail to what a header may hold, never inside a character."""
    return text.encode(errors="replace")[:MAX_DETAIL_BYTES].decode(errors="ignore")
