"""Records that are no clicks: at least one of every kind that ``rejected-clicks`` has a reason for."""

import json
import os
import random
from collections.abc import Iterator
from itertools import count
from typing import Final

from tests.faults.clicks import Sent, clicks
from tests.faults.stage import now_ms
from tests.integration.harness import click_value

DAY_MS: Final = 86_400_000
MEGABYTE: Final = 1_000_000


def raw_click(session_id: str, fields: str) -> bytes:
    """A click with further fields that ``json`` would not write."""
    return f'{{"session_id": "{session_id}", "item_id": "item-1", {fields}}}'.encode()


def corrupt_records(session_id: str) -> list[Sent]:
    """Every kind, each under the key of the session it names unless the key is what is wrong."""
    key, good, named = session_id.encode(), click_value(session_id, "item-1"), f'"session_id": "{session_id}"'
    by_reason: dict[str, list[bytes | None]] = {
        "not-json": [
            None,
            b"",
            b"{",
            b"hello",
            b"\xff\xfe",
            b"[1]",
            b"null",
            good[:-1],
            raw_click(session_id, '"colour": ' + "[" * 33 + "]" * 33),
            b"[" * 30_000,
        ],
        "missing-field": [
            b"{}",
            f"{{{named}}}".encode(),
            f'{{{named}, "item_id": null}}'.encode(),
            f'{{{named}, "item_id": ""}}'.encode(),
            b'{"session_id": null, "item_id": "item-1"}',
            b'{"session_id": "", "item_id": "item-1"}',
        ],
        "wrong-type": [
            f'{{{named}, "item_id": 7}}'.encode(),
            b'{"session_id": 1, "item_id": "item-1"}',
            raw_click(session_id, '"timestamp_ms": NaN'),
            raw_click(session_id, '"timestamp_ms": 1396808691295.5'),
            raw_click(session_id, '"timestamp_ms": "2014-04-06"'),
            raw_click(session_id, '"kind": 3'),
            raw_click(session_id, '"context": {"a": {"b": 1}}'),
        ],
        "bad-id": [
            click_value(session_id, "a\x00b"),
            click_value(session_id, "a\nb"),
            click_value(session_id, "a\x85b"),
        ],
        "too-long": [
            click_value(session_id, "i" * 129),
            click_value(session_id, "item-1", kind="k" * 129),
            click_value(session_id, "item-1", user_id="u" * 129),
            click_value(session_id, "item-1", event_id="é" * 65),
            click_value(session_id, "item-1", context={"a": "x" * 5000}),
        ],
        "timestamp-out-of-range": [
            click_value(session_id, "item-1", timestamp_ms=time_ms)
            for time_ms in (-1, 0, 946_684_799_999, now_ms() + 2 * DAY_MS, 4_102_444_800_000)
        ],
        "record-too-large": [
            b'"' + b"x" * 70_000 + b'"',
            raw_click(session_id, f'"colour": "{"x" * 65_536}"'),
        ],
    }
    records = [Sent(key, value, reason) for reason, values in by_reason.items() for value in values]
    records += [Sent(other, good, "key-mismatch") for other in (b"other", b"", key + b" ", b"\xff", None)]
    return records


def large_record(n_bytes: int) -> Sent:
    """A record of that size that no compression makes smaller."""
    value = json.dumps({"session_id": "s1", "item_id": "item-1", "colour": ""}).encode()
    noise = os.urandom(n_bytes // 2 + 1).hex().encode()[: n_bytes - len(value)]
    return Sent(b"s1", value[:-2] + noise + value[-2:], "record-too-large")


def partly_corrupt(seed: int, n: int, share: float, large: tuple[int, ...]) -> Iterator[Sent]:
    """So many records of which a share is corrupt, every kind in turn, the large ones among them."""
    chance = random.Random(seed)
    kinds = (one for number in count() for one in corrupt_records(f"s{number % 200}"))
    n_corrupt = round(n * share)
    bad = [large_record(n_bytes) for n_bytes in large][:n_corrupt]
    bad += [next(kinds) for _ in range(n_corrupt - len(bad))]
    good = clicks(seed)
    mixed = [*bad, *(next(good) for _ in range(n - n_corrupt))]
    chance.shuffle(mixed)
    yield from mixed
