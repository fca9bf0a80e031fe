"""Records that are no clicks: at least one of every kind that ``rejected-clicks`` has a reason for."""

import json
import os
import random
from collections.abc import Iterator
from itertools import cycle
from typing import Final

from tests.faults.clicks import Sent, clicks
from tests.faults.stage import now_ms
from tests.integration.harness import click_value

DAY_MS: Final = 86_400_000
MEGABYTE: Final = 1_000_000


def raw_click(fields: str) -> bytes:
    """A click with further fields that ``json`` would not write."""
    return b'{"session_id": "s1", "item_id": "item-1", ' + fields.encode() + b"}"


def corrupt_records() -> list[Sent]:
    """Every kind, each under the key of the session it names unless the key is what is wrong."""
    key, good = b"s1", click_value("s1", "item-1")
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
            raw_click('"colour": ' + "[" * 33 + "]" * 33),
            b"[" * 30_000,
        ],
        "missing-field": [
            b"{}",
            b'{"session_id": "s1"}',
            b'{"session_id": "s1", "item_id": null}',
            b'{"session_id": "s1", "item_id": ""}',
            b'{"session_id": null, "item_id": "item-1"}',
            b'{"session_id": "", "item_id": "item-1"}',
        ],
        "wrong-type": [
            b'{"session_id": "s1", "item_id": 7}',
            b'{"session_id": 1, "item_id": "item-1"}',
            raw_click('"timestamp_ms": NaN'),
            raw_click('"timestamp_ms": 1396808691295.5'),
            raw_click('"timestamp_ms": "2014-04-06"'),
            raw_click('"kind": 3'),
            raw_click('"context": {"a": {"b": 1}}'),
        ],
        "bad-id": [click_value("s1", "a\x00b"), click_value("s1", "a\nb"), click_value("s1", "a\x85b")],
        "too-long": [
            click_value("s1", "i" * 129),
            click_value("s1", "item-1", kind="k" * 129),
            click_value("s1", "item-1", user_id="u" * 129),
            click_value("s1", "item-1", event_id="é" * 65),
            click_value("s1", "item-1", context={"a": "x" * 5000}),
        ],
        "timestamp-out-of-range": [
            click_value("s1", "item-1", timestamp_ms=time_ms)
            for time_ms in (-1, 0, 946_684_799_999, now_ms() + 2 * DAY_MS, 4_102_444_800_000)
        ],
        "record-too-large": [b'"' + b"x" * 70_000 + b'"', raw_click(f'"colour": "{"x" * 65_536}"')],
    }
    records = [Sent(key, value, reason) for reason, values in by_reason.items() for value in values]
    records += [Sent(other, good, "key-mismatch") for other in (b"other", b"", b"s1 ", b"\xff", None)]
    return records


def large_record(n_bytes: int) -> Sent:
    """A record of that size that no compression makes smaller."""
    value = json.dumps({"session_id": "s1", "item_id": "item-1", "colour": ""}).encode()
    noise = os.urandom(n_bytes // 2 + 1).hex().encode()[: n_bytes - len(value)]
    return Sent(b"s1", value[:-2] + noise + value[-2:], "record-too-large")


def partly_corrupt(seed: int, n: int, share: float, large: tuple[int, ...]) -> Iterator[Sent]:
    """So many records of which a share is corrupt, every kind in turn, the large ones among them."""
    chance = random.Random(seed)
    kinds = cycle(corrupt_records())
    n_corrupt = round(n * share)
    bad = [large_record(n_bytes) for n_bytes in large][:n_corrupt]
    bad += [next(kinds) for _ in range(n_corrupt - len(bad))]
    good = clicks(seed)
    mixed = [*bad, *(next(good) for _ in range(n - n_corrupt))]
    chance.shuffle(mixed)
    yield from mixed
