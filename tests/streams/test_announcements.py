import logging

import pytest

from streams.announcements import (
    Announcement,
    Board,
    NotAnAnnouncement,
    decode_announcement,
    encode_announcement,
)

FIRST = Announcement("20260101T000000Z-aaaaaa", "/srv/snapshots/20260101T000000Z-aaaaaa", "a" * 64)
SECOND = Announcement("20260102T000000Z-bbbbbb", "/srv/snapshots/20260102T000000Z-bbbbbb", "b" * 64)


def test_the_json_form() -> None:
    announcement = SECOND.succeeding(FIRST, announced_ms=1_767_225_600_000)
    assert encode_announcement(announcement) == (
        b'{"version":"20260102T000000Z-bbbbbb","location":"/srv/snapshots/20260102T000000Z-bbbbbb",'
        b'"manifest_sha256":"' + b"b" * 64 + b'","previous":"20260101T000000Z-aaaaaa","pinned":false,'
        b'"announced_ms":1767225600000,"v":1}'
    )
    assert decode_announcement(encode_announcement(announcement)) == announcement


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "truncated"),
        (b"garbage", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"[]", "object"),
        (b'{"version": "a"}', "location"),
        (b'{"version": "a", "location": "/a", "manifest_sha256": "0", "v": 2}', "format version 2"),
        (b'{"version": "", "location": "/a", "manifest_sha256": "0"}', "must not be empty"),
        (b'{"version": 7, "location": "/a", "manifest_sha256": "0"}', "version"),
    ],
)
def test_what_is_no_announcement_says_why(value: bytes, reason: str) -> None:
    with pytest.raises(NotAnAnnouncement, match=reason):
        decode_announcement(value)


def test_the_previous_version_lies_beside_the_announced_one() -> None:
    assert SECOND.succeeding(FIRST, announced_ms=1).previous_location == FIRST.location
    assert FIRST.previous_location is None


def test_announcing_a_version_again_keeps_what_was_before_it() -> None:
    second = SECOND.succeeding(FIRST, announced_ms=1)
    assert SECOND.succeeding(second, announced_ms=2).previous == FIRST.version


def test_a_version_in_another_folder_is_no_previous_one() -> None:
    elsewhere = Announcement(FIRST.version, f"s3://bucket/{FIRST.version}", "a" * 64)
    assert SECOND.succeeding(elsewhere, announced_ms=1).previous is None


def test_the_last_record_of_an_alias_counts_and_garbage_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    board = Board("snapshots")
    with caplog.at_level(logging.WARNING):
        board.post(b"production", encode_announcement(FIRST), 0)
        board.post(b"production", encode_announcement(SECOND), 1)
        board.post(b"production", b"garbage", 2)
        board.post(b"production", None, 3)
        board.post(b"canary", encode_announcement(FIRST), 4)
        board.post(None, encode_announcement(FIRST), 5)
        board.post(b"\xff", encode_announcement(FIRST), 6)
    assert board.current == {"production": SECOND, "canary": FIRST}
    assert [record.getMessage() for record in caplog.records] == [
        "topic snapshots holds what is no announcement, at offset 2:"
        " JSON is malformed: invalid character (byte 0)"
    ]
    board.post(b"canary", None, 7)
    assert board.current == {"production": SECOND}
