"""The session record: its size, its stored form, and the fold of one click."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.events import Click
from streams.session import (
    MAX_RECORD_BYTES,
    OpenSession,
    Session,
    SessionFormatError,
    SessionItem,
    decode_session,
    encode_session,
    gap_exceeded,
    session_key,
)

GOLDEN = Path(__file__).parent / "golden" / "session-v1.bin"
NOW_MS = 1_700_000_000_000
GAP_MS = 30 * 60 * 1000
VERSION = "20261122T041500Z-3f2a9c"


def state_of(n_units: int) -> bytes:
    return np.linspace(-1, 1, 2 * n_units).astype(np.float16).tobytes()


def full_session(id_bytes: int, n_units: int = 100, kind: str | None = None) -> Session:
    items = tuple(SessionItem(f"{n:0{id_bytes}}", kind, NOW_MS + n) for n in range(20))
    hashes = bytes(range(160))
    return Session(VERSION, 2**40, NOW_MS, NOW_MS, 2**20, state_of(n_units), items, hashes)


GOLDEN_SESSION = Session(
    snapshot=VERSION,
    offset=1042,
    latest_ms=1396808691295,
    append_ms=1396808691301,
    n_applied=3,
    state=np.array([0.5, -1.0, 0.25, 65504.0], dtype=np.float16).tobytes(),
    items=(
        SessionItem("214716935", None, 1396808691200),
        SessionItem("brötchen", "cart", 1396808691295),
    ),
    event_hashes=b"\x00\x01\x02\x03\x04\x05\x06\x07",
)


def test_golden_record_of_format_1() -> None:
    """Records that were ever written must stay readable. REWRITE_GOLDEN=1 writes the file anew."""
    if os.environ.get("REWRITE_GOLDEN"):
        GOLDEN.write_bytes(encode_session(GOLDEN_SESSION))
    stored = GOLDEN.read_bytes()
    assert decode_session(stored) == GOLDEN_SESSION
    assert encode_session(GOLDEN_SESSION) == stored


def test_a_usual_record_takes_at_most_one_and_a_half_kilobytes() -> None:
    record = encode_session(full_session(id_bytes=24))
    assert len(record) <= 1536
    assert decode_session(record) == full_session(id_bytes=24)


def test_the_hard_cap_drops_the_oldest_items_first() -> None:
    session = full_session(id_bytes=128, kind="k" * 128)
    record = encode_session(session)
    found = decode_session(record)
    assert len(record) <= MAX_RECORD_BYTES
    assert 1 < len(found.items) < 20
    assert found.items == session.items[-len(found.items) :]
    assert found.event_hashes == session.event_hashes
    one_more = msgspec.structs.replace(session, items=session.items[-len(found.items) - 1 :])
    assert 1 + len(msgspec.msgpack.encode(one_more)) > MAX_RECORD_BYTES


def test_the_last_item_and_the_state_stay_where_items_alone_do_not_suffice() -> None:
    session = full_session(id_bytes=128, n_units=950)
    found = decode_session(encode_session(session))
    assert found.items == session.items[-1:]
    assert found.state == session.state
    assert found.event_hashes == b""
    assert len(encode_session(session)) <= MAX_RECORD_BYTES


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b"", "format none"),
        (b"\x02" + encode_session(GOLDEN_SESSION)[1:], "format 2"),
        (b"{}", "format 123"),
        (b"\x01", "cannot be read"),
        (encode_session(GOLDEN_SESSION)[:-1], "cannot be read"),
        (encode_session(GOLDEN_SESSION) + b"\x00", "cannot be read"),
        (b"\x01" + msgspec.msgpack.encode(["v"]), "cannot be read"),
        (b"\x01" + msgspec.msgpack.encode({"snapshot": "v"}), "cannot be read"),
        (b"\x01" + msgspec.msgpack.encode(["v", "1", 2, 3, 4, b""]), "cannot be read"),
        (b"\x01\x98\xa1\xff" + bytes(7), "cannot be read"),  # not UTF-8
        (
            encode_session(Session("v", 1, 2, 3, 4, b"")).replace(b"\x98", b"\x99", 1) + b"\x91" * 60_000,
            "read",
        ),
    ],
)
def test_unreadable_records(record: bytes, problem: str) -> None:
    with pytest.raises(SessionFormatError, match=problem):
        decode_session(record)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=100), st.integers(0, 200), st.integers(0, 255))
@example(b"\x01", 0, 1)
def test_garbage_is_a_session_or_a_format_error(garbage: bytes, at: int, byte: int) -> None:
    golden = bytearray(encode_session(GOLDEN_SESSION))
    golden[at % len(golden)] = byte
    for record in (garbage, b"\x01" + garbage, bytes(golden)):
        with suppress(SessionFormatError):
            assert isinstance(decode_session(record), Session)


def test_no_session_id_meets_another_key() -> None:
    assert session_key("__faust\0offset__") == b"s__faust\0offset__"
    assert session_key("ü") == b"s\xc3\xbc"


def test_the_gap_is_exceeded_by_more_than_the_gap() -> None:
    assert not gap_exceeded(1000, 1000 + GAP_MS, GAP_MS)
    assert gap_exceeded(1000, 1001 + GAP_MS, GAP_MS)
    assert not gap_exceeded(1000, 0, GAP_MS)
    latest_ms, time_ms = np.array([0, 0, 5000]), np.array([GAP_MS, GAP_MS + 1, 0])
    assert np.asarray(gap_exceeded(latest_ms, time_ms, GAP_MS)).tolist() == [False, True, False]


def fold(
    stored: Session | None, *clicks: tuple[str, int] | tuple[str, int, str], known: bool = True
) -> tuple[Session, list[tuple[bool, bool]]]:
    """Fold (item, minutes[, event id]) and give the session and what the state had to do at each click."""
    opened = OpenSession(stored, stored.n_applied if stored else 0)
    offset, moves = opened.offset, []
    for item_id, minute, *event_id in clicks:
        offset += 1
        click = Click("s", item_id, NOW_MS + minute * 60_000, event_id=event_id[0] if event_id else None)
        moves.append(opened.fold(click, offset, NOW_MS + 10**9, known=known, gap_ms=GAP_MS))
    return opened.close(VERSION, b""), moves


def item_ids(session: Session) -> list[str]:
    return [item.item_id for item in session.items]


def test_fold_the_first_clicks() -> None:
    session, moves = fold(None, ("a", 0), ("b", 1), ("a", 2))
    assert item_ids(session) == ["a", "b", "a"]
    assert moves == [(False, True)] * 3
    assert (session.offset, session.n_applied) == (2, 3)
    assert session.latest_ms == NOW_MS + 2 * 60_000
    assert session.append_ms == NOW_MS + 10**9
    assert session.snapshot == VERSION


def test_fold_keeps_the_last_twenty_items() -> None:
    session, _ = fold(None, *[(str(n), n) for n in range(25)])
    assert item_ids(session) == [str(n) for n in range(5, 25)]
    assert session.n_applied == 25


def test_fold_begins_afresh_after_the_gap_but_keeps_the_offset_and_the_event_ids() -> None:
    before, _ = fold(None, ("a", 0, "e-1"), ("b", 30, "e-2"))
    session, moves = fold(before, ("c", 61, "e-3"), ("d", 62, "e-1"))
    assert moves == [(True, True), (False, False)]
    assert item_ids(session) == ["c"]
    assert (session.offset, session.n_applied) == (3, 1)
    assert len(session.event_hashes) == 3 * 8


def test_fold_takes_late_clicks_and_the_latest_time_only_grows() -> None:
    session, moves = fold(None, ("a", 100), ("late", 1), ("b", 129))
    assert moves == [(False, True)] * 3
    assert item_ids(session) == ["a", "late", "b"]
    assert session.latest_ms == NOW_MS + 129 * 60_000
    _, moves = fold(session, ("still late", 50), ("c", 160))
    assert moves == [(False, True), (True, True)]


def test_fold_takes_a_click_from_the_future_as_of_its_arrival() -> None:
    opened = OpenSession(None, 0)
    opened.fold(Click("s", "a", NOW_MS + 86_000_000), 0, NOW_MS, known=True, gap_ms=GAP_MS)
    afresh, _ = opened.fold(Click("s", "b"), 1, NOW_MS + 1, known=True, gap_ms=GAP_MS)
    assert not afresh
    assert opened.close("v", b"").latest_ms == NOW_MS + 1


def test_fold_applies_an_event_id_once_among_the_last_twenty() -> None:
    session, moves = fold(None, ("a", 0, "e-1"), ("a", 1, "e-1"), ("b", 2), ("b", 3), ("a", 99, "e-1"))
    assert moves == [(False, True), (False, False), (False, True), (False, True), (False, False)]
    assert item_ids(session) == ["a", "b", "b"]
    assert session.offset == 4
    assert session.latest_ms == NOW_MS + 3 * 60_000
    session, moves = fold(session, *[("c", 4, f"f-{n}") for n in range(20)], ("a", 5, "e-1"))
    assert moves[-1] == (False, True)
    assert len(session.event_hashes) == 20 * 8


def test_fold_remembers_an_unknown_item_without_moving_the_state() -> None:
    session, moves = fold(None, ("new", 0), known=False)
    assert moves == [(False, False)]
    assert item_ids(session) == ["new"]
    assert session.n_applied == 0


def test_view_is_stored_as_nothing_and_other_kinds_as_they_are() -> None:
    opened = OpenSession(None, 0)
    for offset, kind in enumerate([None, "view", "cart"]):
        opened.fold(Click("s", "a", NOW_MS, kind), offset, NOW_MS, known=True, gap_ms=GAP_MS)
    assert [item.kind for item in opened.items] == [None, None, "cart"]
