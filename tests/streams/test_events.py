"""The rejection table of the public contract, row by row, with its borders; and that nothing ever raises."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.events import (
    MAX_DETAIL_BYTES,
    Click,
    ClickRef,
    Reason,
    Recommendation,
    Rejection,
    ScoredItem,
    click_time_ms,
    decode_click,
    decode_recommendation,
    encode_click,
    encode_recommendation,
)

ARRIVED_MS = 1_700_000_000_000
DAY_MS = 86_400_000
LONELY = "\ud83d"  # half a surrogate pair; json.dumps writes it as an escape


def decode(fields: Any, key: bytes | None = b"s-1", append_ms: int = ARRIVED_MS) -> Click | Rejection:
    return decode_click(key, json.dumps(fields).encode(), append_ms)


def with_fields(**fields: Any) -> dict[str, Any]:
    return {"session_id": "s-1", "item_id": "i-1", **fields}


def raw(fields: str) -> bytes:
    return b'{"session_id": "s-1", "item_id": "i-1", ' + fields.encode() + b"}"


def reason_of(click: Click | Rejection) -> Reason | None:
    """The reason; None for a click."""
    if isinstance(click, Click):
        return None
    assert 0 < len(click.detail.encode()) <= MAX_DETAIL_BYTES
    assert "\n" not in click.detail
    return click.reason


def test_a_click_with_every_field() -> None:
    value = b"""{"session_id": "s-81", "item_id": "214716935", "timestamp_ms": 1396808691295,
        "kind": "view", "user_id": "u-7", "event_id": "b1", "context": {"device": "phone"}}"""
    assert decode_click(b"s-81", value, ARRIVED_MS) == Click(
        session_id="s-81",
        item_id="214716935",
        timestamp_ms=1396808691295,
        kind="view",
        user_id="u-7",
        event_id="b1",
        context={"device": "phone"},
    )


@pytest.mark.parametrize(
    "fields",
    [
        with_fields(),
        with_fields(timestamp_ms=None, kind=None, user_id=None, event_id=None, context=None),
        with_fields(colour="red", nested={"a": [1, {"b": None}]}),
        with_fields(context={"a": 1, "b": 2.5, "c": True, "d": None, "e": "x"}),
        with_fields(context={}),
        with_fields(kind="", user_id="", event_id=""),
        with_fields(kind="tab\tinside", user_id="😀"),
        with_fields(item_id="Brötchen 🥐", colour="🍞"),
        with_fields(item_id=" "),
        with_fields(big=10**4000),
    ],
)
def test_what_is_optional_may_be_absent_null_or_unknown(fields: dict[str, Any]) -> None:
    assert reason_of(decode(fields)) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b" ",
        b"\xff\xfe",
        b'{"session_id": "s-1", "item_id": "\xed\xa0\x80"}',
        b'{"session_id": "s-1", "item_id": "i-1", "colour": "\xff"}',
        b'{"session_id": "s-1", "item_id": "i-1", "\xc3": 1}',
        b'\xef\xbb\xbf{"session_id": "s-1", "item_id": "i-1"}',
        b"hello",
        b"{",
        b"{}{}",
        b'{"session_id": "s-1", "item_id": "i-1"',
        b'{"session_id": "s-1", "item_id": "i-1"}\x00',
        b"{'session_id': 's-1', 'item_id': 'i-1'}",
        raw('"a": 1,'),
        raw('"a": 01'),
        raw('"a": "\n"'),
        b"[]",
        b"null",
        b"3",
        b"NaN",
        b'"session_id"',
        b'[{"session_id": "s-1", "item_id": "i-1"}]',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"[" * 30_000 + b"]" * 30_000,
    ],
)
def test_not_json(value: bytes | None) -> None:
    assert reason_of(decode_click(b"s-1", value, ARRIVED_MS)) is Reason.NOT_JSON


@pytest.mark.parametrize("field", ["context", "colour"])
@pytest.mark.parametrize("opened", ["[", '{"a":'])
def test_not_json_where_nested_deeper_than_32(field: str, opened: str) -> None:
    """The object itself is the first of the 32, and ignored fields count."""

    def nested(depth: int) -> bytes:
        inner = opened * (depth - 1) + "1" + ("]" if opened == "[" else "}") * (depth - 1)
        return raw(f'"{field}": {inner}')

    accepted = None if field == "colour" else Reason.WRONG_TYPE
    assert reason_of(decode_click(b"s-1", nested(32), ARRIVED_MS)) is accepted
    assert reason_of(decode_click(b"s-1", nested(33), ARRIVED_MS)) is Reason.NOT_JSON
    assert reason_of(decode_click(b"s-1", nested(8000), ARRIVED_MS)) is Reason.NOT_JSON


@pytest.mark.parametrize(
    "fields",
    [
        '"colour": "' + "[{" * 100 + '"',
        '"colour": "\\"' + "[" * 100 + '"',
        '"colour": "\\\\", "b": [' + "[], " * 100 + "{}]",
        '"context": {"' + "{" * 100 + '": "' + "[" * 100 + '"}',
    ],
)
def test_brackets_inside_strings_and_beside_each_other_do_not_nest(fields: str) -> None:
    assert reason_of(decode_click(b"s-1", raw(fields), ARRIVED_MS)) is None


@pytest.mark.parametrize("name", ["session_id", "item_id"])
@pytest.mark.parametrize("absent", ["absent", None, ""])
def test_missing_field(name: str, absent: str | None) -> None:
    fields = with_fields(**{name: absent})
    if absent == "absent":
        del fields[name]
    found = decode(fields, key=b"" if name == "session_id" else b"s-1")
    assert reason_of(found) is Reason.MISSING_FIELD
    assert isinstance(found, Rejection)
    assert name in found.detail


def test_missing_field_before_anything_else() -> None:
    assert reason_of(decode({})) is Reason.MISSING_FIELD
    assert reason_of(decode({"item_id": 3, "timestamp_ms": "x"}, key=None)) is Reason.MISSING_FIELD


@pytest.mark.parametrize(
    "fields",
    [
        *(with_fields(**{name: 81}) for name in ("session_id", "item_id", "kind", "user_id", "event_id")),
        *(with_fields(**{name: True}) for name in ("session_id", "item_id", "kind", "user_id", "event_id")),
        *(with_fields(**{name: ["x"]}) for name in ("session_id", "item_id", "kind", "user_id")),
        with_fields(item_id={"id": "i-1"}),
        with_fields(item_id=1.5),
        with_fields(timestamp_ms="1396808691295"),
        with_fields(timestamp_ms="2014-04-06T18:24:51Z"),
        with_fields(timestamp_ms=1396808691295.5),
        with_fields(timestamp_ms=1396808691295.0),
        with_fields(timestamp_ms=True),
        with_fields(timestamp_ms=[]),
        with_fields(timestamp_ms=float("nan")),
        with_fields(timestamp_ms=float("inf")),
        with_fields(timestamp_ms="\ud800"),
        with_fields(context="phone"),
        with_fields(context=["phone"]),
        with_fields(context=7),
        with_fields(context={"a": {"b": 1}}),
        with_fields(context={"a": [1]}),
        with_fields(context={"a": float("nan")}),
        with_fields(context={"a": float("-inf")}),
        with_fields(colour=float("nan")),
        with_fields(kind=LONELY),
        with_fields(user_id="a" + LONELY + "b"),
        with_fields(context={LONELY: 1}),
        with_fields(context={"a": LONELY}),
        with_fields(colour=LONELY),
    ],
)
def test_wrong_type(fields: dict[str, Any]) -> None:
    assert reason_of(decode(fields)) is Reason.WRONG_TYPE


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "Infinity", "-Infinity", "NaN", "1e3", "1" + "0" * 5000]
)
def test_wrong_type_of_numbers_that_python_would_not_write(number: str) -> None:
    assert reason_of(decode_click(b"s-1", raw(f'"context": {{"a": [{number}]}}'), 0)) is Reason.WRONG_TYPE


@pytest.mark.parametrize("name", ["session_id", "item_id"])
@pytest.mark.parametrize(
    "id_",
    ["a\u0000", "\n", "a\tb", "\u001f", "a\u007fb", "\u0080", "x\u009f", "\u0085", LONELY, "a" + LONELY],
)
def test_bad_id(name: str, id_: str) -> None:
    fields = with_fields(**{name: id_})
    key = fields["session_id"].encode(errors="replace")
    assert reason_of(decode(fields, key=key)) is Reason.BAD_ID


@pytest.mark.parametrize("id_", ["\u00a0", " a b ", "\u2028", "\u200b", "\u00ad", "🏳️‍🌈", "\ufeff", "\ue000"])
def test_spaces_and_format_characters_are_no_control_characters(id_: str) -> None:
    assert reason_of(decode(with_fields(item_id=id_))) is None


@pytest.mark.parametrize("name", ["session_id", "item_id", "kind", "user_id", "event_id"])
def test_too_long_counts_bytes(name: str) -> None:
    for character, n_bytes in (("x", 1), ("é", 2), ("😀", 4)):
        longest = character * (128 // n_bytes)
        for text, expected in ((longest, None), (longest + "y", Reason.TOO_LONG)):
            fields = with_fields(**{name: text})
            found = decode(fields, key=fields["session_id"].encode())
            assert reason_of(found) is expected
            assert expected is None or (isinstance(found, Rejection) and name in found.detail)


def test_too_long_context() -> None:
    """What counts is the context as compact JSON in UTF-8, however it was written."""
    around = len('{"a":""}')
    assert reason_of(decode(with_fields(context={"a": "x" * (4096 - around)}))) is None
    assert reason_of(decode(with_fields(context={"a": "é" * 2044}))) is None
    assert reason_of(decode_click(b"s-1", raw('"context": {"a"' + " " * 9000 + ":1}"), ARRIVED_MS)) is None
    assert reason_of(decode(with_fields(context={"a": "x" * (4097 - around)}))) is Reason.TOO_LONG
    assert reason_of(decode(with_fields(context={"x" * 5000: None}))) is Reason.TOO_LONG
    assert reason_of(decode(with_fields(context={"a": 10**4290}))) is Reason.TOO_LONG


@pytest.mark.parametrize(
    "key", [None, b"", b"s-2", b"S-1", b"s-1 ", b"s-1\x00", b'"s-1"', b"\xff", b"s-" * 70_000]
)
def test_key_mismatch(key: bytes | None) -> None:
    assert reason_of(decode(with_fields(), key=key)) is Reason.KEY_MISMATCH


def test_the_key_is_utf8() -> None:
    assert reason_of(decode(with_fields(session_id="ü"), key="ü".encode())) is None
    assert reason_of(decode(with_fields(session_id="ü"), key="ü".encode("latin-1"))) is Reason.KEY_MISMATCH


@pytest.mark.parametrize(
    ("timestamp_ms", "expected"),
    [
        (946_684_800_000, None),
        (946_684_799_999, Reason.TIMESTAMP_OUT_OF_RANGE),
        (ARRIVED_MS, None),
        (ARRIVED_MS + DAY_MS, None),
        (ARRIVED_MS + DAY_MS + 1, Reason.TIMESTAMP_OUT_OF_RANGE),
        (0, Reason.TIMESTAMP_OUT_OF_RANGE),
        (-1, Reason.TIMESTAMP_OUT_OF_RANGE),
        (1_700_000_000, Reason.TIMESTAMP_OUT_OF_RANGE),  # seconds
        (4_102_444_800_000, Reason.TIMESTAMP_OUT_OF_RANGE),  # the year 2100
        (2**63, Reason.TIMESTAMP_OUT_OF_RANGE),
        (2**64, Reason.TIMESTAMP_OUT_OF_RANGE),
        (-(10**400), Reason.TIMESTAMP_OUT_OF_RANGE),
        (10**4000, Reason.TIMESTAMP_OUT_OF_RANGE),
    ],
)
def test_timestamp_out_of_range(timestamp_ms: int, expected: Reason | None) -> None:
    assert reason_of(decode(with_fields(timestamp_ms=timestamp_ms))) is expected


@pytest.mark.parametrize("digits", [4290, 4301, 20_000])
def test_a_timestamp_of_thousands_of_digits(digits: int) -> None:
    value = raw('"timestamp_ms": 1' + "0" * digits)
    assert reason_of(decode_click(b"s-1", value, ARRIVED_MS)) is Reason.TIMESTAMP_OUT_OF_RANGE


def test_record_too_large() -> None:
    small = raw('"colour": ""')

    def of_size(n_bytes: int) -> bytes:
        value = raw('"colour": "' + "x" * (n_bytes - len(small)) + '"')
        assert len(value) == n_bytes
        return value

    assert reason_of(decode_click(b"s-1", of_size(64 * 1024), ARRIVED_MS)) is None
    assert reason_of(decode_click(b"s-1", of_size(64 * 1024 + 1), ARRIVED_MS)) is Reason.RECORD_TOO_LARGE
    assert reason_of(decode_click(b"s-1", b"\xff" * 10_000_000, ARRIVED_MS)) is Reason.RECORD_TOO_LARGE


def test_the_last_of_a_repeated_field_counts() -> None:
    found = decode_click(b"s-1", b'{"session_id": 3, "session_id": "s-1", "item_id": "i-1"}', ARRIVED_MS)
    assert reason_of(found) is Reason.WRONG_TYPE
    found = decode_click(b"s-2", raw('"session_id": "s-2"'), ARRIVED_MS)
    assert isinstance(found, Click)
    assert found.session_id == "s-2"


def test_click_time_is_never_later_than_the_arrival() -> None:
    assert click_time_ms(Click("s", "i"), 50) == 50
    assert click_time_ms(Click("s", "i", timestamp_ms=40), 50) == 40
    assert click_time_ms(Click("s", "i", timestamp_ms=60), 50) == 50


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(
    ["session_id", "item_id", "timestamp_ms", "kind", "user_id", "event_id", "context", "colour"]
)
nearly_clicks = st.dictionaries(names, json_like | st.just("s-1"), max_size=8).map(
    lambda fields: json.dumps({"session_id": "s-1", "item_id": "i-1"} | fields).encode()
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A nearly good click with some bytes overwritten."""
    value = bytearray(draw(nearly_clicks))
    for _ in range(draw(st.integers(1, 4))):
        value[draw(st.integers(0, len(value) - 1))] = draw(st.integers(0, 255))
    return bytes(value)


@settings(max_examples=300, deadline=None)
@given(
    value=st.none() | st.binary(max_size=300) | nearly_clicks | damaged(),
    key=st.none() | st.binary(max_size=10) | st.just(b"s-1"),
    append_ms=st.integers(0, 2**45),
)
@example(value=b'{"session_id":"\\ud800\\udc00"}', key=b"", append_ms=0)
def test_any_bytes_are_a_click_or_a_rejection(value: bytes | None, key: bytes | None, append_ms: int) -> None:
    found = decode_click(key, value, append_ms)
    if reason_of(found) is None:
        assert isinstance(found, Click)
        assert found.session_id.encode() == key
        json.loads(value or b"")


ids = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=32)
texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=32)
clicks = st.builds(
    Click,
    session_id=ids,
    item_id=ids,
    timestamp_ms=st.none() | st.integers(946_684_800_000, ARRIVED_MS + DAY_MS),
    kind=texts,
    user_id=texts,
    event_id=texts,
    context=st.none()
    | st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=8),
        texts | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
        max_size=5,
    ),
)


@settings(max_examples=200, deadline=None)
@given(clicks)
def test_every_valid_click_comes_back(click: Click) -> None:
    assert decode_click(click.session_id.encode(), encode_click(click), ARRIVED_MS) == click


def test_a_recommendation_as_json() -> None:
    recommendation = Recommendation(
        session_id="s-81",
        snapshot="20261122T041500Z-3f2a9c",
        source="model",
        created_ms=1396808691301,
        click=ClickRef(3, 1042, "214716935", 1396808691295, "b1"),
        items=[ScoredItem("214821290", 7.91)],
    )
    encoded = encode_recommendation(recommendation)
    assert json.loads(encoded) == {
        "v": 1,
        "session_id": "s-81",
        "snapshot": "20261122T041500Z-3f2a9c",
        "source": "model",
        "created_ms": 1396808691301,
        "click": {
            "partition": 3,
            "offset": 1042,
            "item_id": "214716935",
            "timestamp_ms": 1396808691295,
            "event_id": "b1",
        },
        "items": [{"item_id": "214821290", "score": 7.91}],
    }
    assert decode_recommendation(encoded) == recommendation
    with pytest.raises(msgspec.ValidationError):
        decode_recommendation(b"{}")
