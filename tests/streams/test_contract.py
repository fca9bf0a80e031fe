"""The public contract in docs/, against the code, both ways."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from streams.announcements import Announcement, NotAnAnnouncement, decode_announcement, encode_announcement
from streams.events import (
    Click,
    Reason,
    Recommendation,
    Rejection,
    decode_click,
    decode_recommendation,
    encode_click,
    encode_recommendation,
)
from streams.microbatch import Rejected, rejection_record
from streams.quality import QualityRecord, decode_quality, encode_quality
from streams.recommender import Arrival, Recommender
from streams.snapshot import Manifest
from streams.topics import TopicNames
from tests.streams.test_events import clicks
from tests.streams.test_microbatch import Record
from tests.tiny import ITEMS, tiny_snapshot

DOCS = Path(__file__).parent.parent.parent / "docs"
GOLDEN = Path(__file__).parent / "golden"
NOW_MS = 1_700_000_000_000
EVENTS = (DOCS / "events.md").read_text()


def schema(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DOCS / "schemas" / f"{name}.schema.json").read_text())
    return content


CLICK, RECOMMENDATION, ANNOUNCEMENT, MANIFEST, HEADERS, QUALITY = (
    Draft202012Validator(schema(name))
    for name in ("click", "recommendation", "announcement", "manifest", "rejected-click-headers", "quality")
)


@pytest.mark.parametrize("path", sorted((DOCS / "schemas").iterdir()), ids=lambda path: path.name)
def test_every_schema_is_one(path: Path) -> None:
    Draft202012Validator.check_schema(json.loads(path.read_text()))
    assert path.name in EVENTS


@settings(max_examples=100, deadline=None)
@given(clicks)
def test_every_click_that_the_code_writes_is_valid(click: Click) -> None:
    CLICK.validate(json.loads(encode_click(click)))


def test_the_schema_and_the_struct_have_the_same_fields() -> None:
    assert set(schema("click")["properties"]) == set(Click.__struct_fields__)
    assert set(schema("recommendation")["properties"]) == set(Recommendation.__struct_fields__)
    assert set(schema("announcement")["properties"]) == set(Announcement.__struct_fields__)
    assert set(schema("quality")["properties"]) == set(QualityRecord.__struct_fields__)
    assert set(schema("manifest")["properties"]) == set(Manifest.__struct_fields__)
    assert schema("rejected-click-headers")["properties"]["reason"]["enum"] == [str(one) for one in Reason]


texts = [None, "", "s-1", "x" * 128, "x" * 129, "a\tb", "\x7f", "\x85", "\ud800"]
numbers = [0, 7, True, False, 1.5, -1, 2**70, 946_684_800_000, 946_684_799_999, NOW_MS]
scalars: st.SearchStrategy[Any] = st.sampled_from([*texts, *numbers, [], ["a"], {}, {"a": 1}])
contexts = st.dictionaries(st.sampled_from(["a", "b"]), scalars, max_size=2)


@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "session_id": st.just("s-1") | scalars,
            "item_id": st.just("i-1") | scalars,
            "timestamp_ms": scalars,
            "kind": scalars,
            "user_id": scalars,
            "event_id": scalars,
            "context": contexts | scalars,
            "colour": scalars.filter(lambda value: value != "\ud800"),
        },
    )
)
def test_the_schema_and_the_decoder_agree(fields: dict[str, Any]) -> None:
    """With the right key, and where a schema cannot tell: times ahead and half a surrogate pair in texts."""
    session_id = fields.get("session_id")
    key = session_id.encode(errors="replace") if isinstance(session_id, str) else b""
    found = decode_click(key, json.dumps(fields).encode(), NOW_MS)
    valid = CLICK.is_valid(fields)
    if valid and isinstance(found, Rejection):
        assert fields.get("timestamp_ms") == 2**70 or "\\ud800" in json.dumps(fields)
    else:
        assert isinstance(found, Click) == valid


@pytest.mark.parametrize("value", ["null", "[]", "3", '"s"', "{}"])
def test_what_is_no_object_is_no_click(value: str) -> None:
    assert not CLICK.is_valid(json.loads(value))
    assert isinstance(decode_click(b"", value.encode(), NOW_MS), Rejection)


def answers() -> list[Recommendation]:
    recommender = Recommender(tiny_snapshot(), top_k=3)
    arrivals = [
        Arrival(Click("s-1", "never-known"), 0, 0, NOW_MS),
        Arrival(Click("s-1", ITEMS[3], event_id="e"), 0, 1, NOW_MS),
    ]
    return recommender.answer(arrivals, {}, created_ms=NOW_MS).recommendations


def test_every_recommendation_that_the_code_writes_is_valid() -> None:
    assert [one.source for one in answers()] == ["popular", "model"]
    for one in answers():
        RECOMMENDATION.validate(json.loads(encode_recommendation(one)))


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside ``value``."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(found for name, one in inner for found in paths_of(one, (*path, name)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    copied = json.loads(json.dumps(value))
    if not path:
        return new
    inner = copied
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = new
    return copied


@pytest.mark.parametrize("new", [None, True, "text", [], {}, 1.5, -3])
def test_what_is_no_recommendation_is_refused_by_both(new: Any) -> None:
    good = json.loads(encode_recommendation(answers()[1]))
    for path in paths_of(good):
        value = changed(good, path, new)
        if isinstance(new, float | int) and path[-1:] == ("score",):
            continue
        try:
            decode_recommendation(json.dumps(value).encode())
        except msgspec.ValidationError:
            assert not RECOMMENDATION.is_valid(value), path
        else:  # the code that reads is not there to check what the code that writes has written
            assert RECOMMENDATION.is_valid(value) or path[-1] in ("v", "source", "partition", "offset"), path


GOOD_ANNOUNCEMENT = Announcement("v-2", "/srv/snapshots/v-2", "ab" * 32, "v-1", True, NOW_MS)


def test_every_announcement_that_the_code_writes_is_valid() -> None:
    for one in (GOOD_ANNOUNCEMENT, Announcement("v", "s3://bucket/v", "")):
        ANNOUNCEMENT.validate(json.loads(encode_announcement(one)))


@pytest.mark.parametrize("new", [None, True, "text", "", [], {}, 1.5, 2, "absent"])
def test_what_is_no_announcement_is_refused_by_both(new: Any) -> None:
    good = json.loads(encode_announcement(GOOD_ANNOUNCEMENT))
    for name in good:
        value = {other: content for other, content in good.items() if other != name}
        if new != "absent":
            value[name] = new
        try:
            decode_announcement(json.dumps(value).encode())
        except NotAnAnnouncement:
            assert not ANNOUNCEMENT.is_valid(value), name
        else:
            assert ANNOUNCEMENT.is_valid(value), name


GOOD_QUALITY = QualityRecord("nextclick", "w1", "v-1", NOW_MS, NOW_MS + 5_000, 10, 4, 2.5, 2.25)


def test_every_quality_record_that_the_code_writes_is_valid() -> None:
    QUALITY.validate(json.loads(encode_quality(GOOD_QUALITY)))


@pytest.mark.parametrize("new", [None, True, "text", [], {}, 1.5, 2, "absent"])
def test_what_is_no_quality_record_is_passed_over(new: Any) -> None:
    good = json.loads(encode_quality(GOOD_QUALITY))
    for name in good:
        value = {other: content for other, content in good.items() if other != name}
        if new != "absent":
            value[name] = new
        found = decode_quality(json.dumps(value).encode())
        assert (found is not None) == QUALITY.is_valid(value), name


def golden_manifest() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDEN / "snapshot-v1" / "manifest.json").read_text())
    return content


def test_the_manifest_that_the_code_writes_is_valid() -> None:
    MANIFEST.validate(golden_manifest())


@pytest.mark.parametrize("new", [None, True, "text", [], {}, 1.5])
def test_what_is_no_manifest_is_refused_by_both(new: Any) -> None:
    good = golden_manifest()
    for path in paths_of(good):
        if path[:1] == ("encoder",) and len(path) > 1:
            continue  # the encoder's own affair
        value = changed(good, path, new)
        try:
            msgspec.json.decode(json.dumps(value).encode(), type=Manifest)
        except msgspec.ValidationError:
            assert not MANIFEST.is_valid(value), path
        else:
            assert MANIFEST.is_valid(value) or path[:1] in (("files",), ("format_version",)), path


@pytest.mark.parametrize("reason", list(Reason))
def test_the_headers_of_a_rejection_are_valid(reason: Reason) -> None:
    outgoing = rejection_record(
        "rejected-clicks", 0, Rejected(Record(b"k", b"v"), Rejection(reason, "é" * 128))
    )
    headers = {name: content.decode() for name, content in outgoing.headers}
    HEADERS.validate(headers)
    for name in headers:
        assert not HEADERS.is_valid({other: text for other, text in headers.items() if other != name})
    assert not HEADERS.is_valid(headers | {"reason": "other"})
    assert not HEADERS.is_valid(headers | {"offset": "x"})


def test_the_page_names_every_topic_reason_and_field() -> None:
    names = [*(str(one) for one in Reason), *(getattr(TopicNames(), name) for name in TopicNames.__slots__)]
    names += [*Click.__struct_fields__, *schema("rejected-click-headers")["properties"]]
    for name in names:
        assert f"`{name}`" in EVENTS, name


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", EVENTS, re.DOTALL)


def test_the_pages_examples_are_what_it_says() -> None:
    click, recommendation, announcement, quality = (json.loads(one) for one in examples("json"))
    CLICK.validate(click)
    assert isinstance(decode_click(b"s-81", json.dumps(click).encode(), NOW_MS), Click)
    RECOMMENDATION.validate(recommendation)
    decode_recommendation(json.dumps(recommendation).encode())
    ANNOUNCEMENT.validate(announcement)
    decode_announcement(json.dumps(announcement).encode())
    QUALITY.validate(quality)
    assert decode_quality(json.dumps(quality).encode()) is not None


def test_the_pages_python_compiles() -> None:
    (python,) = examples("python")
    compile(python, "docs/events.md", "exec")


def test_the_glossary_is_in_order() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\*", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(words) > 40
    assert words == sorted(words)
