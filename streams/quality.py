"""Live quality: how often the next click of a session is among the items that it was last shown.

Hit rate and mean reciprocal rank of the first 20 items, by the snapshot that made the list. Counted as
answers leave, in memory and for a bounded number of sessions: it is statistics, which a crash or a
rebalance may lose, and no answer depends on it. What counts as a hit is prediction, seen in time or not.

Not compared are

- a click on the item clicked just before: a page loaded again, which `repeat_items` leaves out of the lists;
- a click later than ten minutes after the list: another visit;
- a replay, which was answered before and gets no answer now;
- under `answer = "latest"` a session of which several clicks were taken together: lists between are missing.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from streams.events import Recommendation
from streams.sequential_test import Sums

LIST_LENGTH: Final = 20
COMPARED_WITHIN_MS: Final = 10 * 60 * 1000
CAPACITY: Final = 50_000
"""Sessions whose list is remembered, some 500 bytes each. When it is full new ones wait until others are
idle, so that a busy worker compares some sessions whole instead of the quickest clicks of all."""
FORMAT_VERSION: Final = 1


class Figures(msgspec.Struct, frozen=True):
    """What a snapshot's lists came to."""

    hits: Sums = Sums()
    reciprocal_ranks: Sums = Sums()

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(self.hits + other.hits, self.reciprocal_ranks + other.reciprocal_ranks)

    @property
    def clicks(self) -> int:
        """How many clicks were compared."""
        return self.hits.n

    @property
    def hit_rate(self) -> float:
        """Share of them that were on one of the first 20 items."""
        return self.hits.mean

    @property
    def mrr(self) -> float:
        """Mean of 1 / rank, 0 past 20."""
        return self.reciprocal_ranks.mean


class QualityRecord(msgspec.Struct, frozen=True):
    """A value of the topic ``quality``: the counts of one worker and snapshot from one time to another.

    Counts of windows, not running totals, so that they can be summed over workers and times. ``drift`` is how
    far the worker's newest clicks are from the snapshot's, by figure; empty where nothing can be said.
    """

    group: str
    worker: str
    snapshot: str
    from_ms: int
    to_ms: int
    clicks: int
    hits: int
    reciprocal_ranks: float
    reciprocal_ranks_squared: float
    v: int = FORMAT_VERSION
    drift: dict[str, float] = {}

    @property
    def figures(self) -> Figures:
        """The counts, to be summed up and compared."""
        return Figures(
            Sums(self.clicks, self.hits, self.hits),
            Sums(self.clicks, self.reciprocal_ranks, self.reciprocal_ranks_squared),
        )


_decoder = msgspec.json.Decoder(QualityRecord)


def encode_quality(record: QualityRecord) -> bytes:
    """Give the JSON form."""
    return msgspec.json.encode(record)


def decode_quality(value: bytes | None) -> QualityRecord | None:
    """Read the JSON form; None for what is none, or is of another format version."""
    try:
        record = _decoder.decode(value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return record if record.v == FORMAT_VERSION else None


class _Shown(NamedTuple):
    """The last list of a session, and the click that it answered."""

    snapshot: str
    clicked: str
    click_ms: int
    answered_ms: int
    items: tuple[str, ...]


class _Counts:
    __slots__ = ("clicks", "hits", "reciprocal_ranks", "squared")

    def __init__(self) -> None:
        self.clicks = self.hits = 0
        self.reciprocal_ranks = self.squared = 0.0


class LiveQuality:
    """Counts as answers leave; noted by one thread, taken by another."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        # The longest idle first; in a plain dict what is taken from the front is ever further from the front.
        self._shown: OrderedDict[str, _Shown] = OrderedDict()
        self._counts: dict[str, _Counts] = {}
        self._drift: tuple[str, Mapping[str, float]] = ("", {})
        self._taken = threading.Lock()

    def __len__(self) -> int:
        """How many sessions' lists are remembered."""
        return len(self._shown)

    def note(self, answers: Sequence[Recommendation], incomplete: Collection[str] = ()) -> None:
        """Compare each answer's click with the list before it, and remember the new list.

        ``answers`` are of clicks that were applied just now, in each session's order; ``incomplete`` are
        sessions of which not every click has one.
        """
        with self._taken:
            for answer in answers:
                click, session_id = answer.click, answer.session_id
                before = self._shown.pop(session_id, None)
                if (
                    before is not None
                    and click.item_id != before.clicked
                    and click.timestamp_ms - before.click_ms <= COMPARED_WITHIN_MS
                    and session_id not in incomplete
                ):
                    self._compare(before, click.item_id)
                if before is not None or self._has_room(answer.created_ms):
                    items = tuple([item.item_id for item in answer.items[:LIST_LENGTH]])
                    self._shown[session_id] = _Shown(
                        answer.snapshot, click.item_id, click.timestamp_ms, answer.created_ms, items
                    )

    def note_drift(self, snapshot: str, figures: Mapping[str, float]) -> None:
        """Take note of how far the newest clicks are from a snapshot's: told along with its quality."""
        self._drift = snapshot, figures

    def drift_from(self, snapshot: str) -> dict[str, float]:
        """Give what was noted last, if it was of this snapshot."""
        version, figures = self._drift
        return {name: round(float(value), 4) for name, value in figures.items() if version == snapshot}

    def forget(self) -> None:
        """Forget the lists: after a rebalance other workers may have shown newer ones."""
        self._shown.clear()

    def take(self) -> dict[str, Figures]:
        """Give what was counted for each snapshot since this was asked last."""
        with self._taken:
            counts, self._counts = self._counts, {}
        return {
            snapshot: Figures(
                Sums(each.clicks, each.hits, each.hits),
                Sums(each.clicks, each.reciprocal_ranks, each.squared),
            )
            for snapshot, each in counts.items()
        }

    def _compare(self, shown: _Shown, item_id: str) -> None:
        counts = self._counts.get(shown.snapshot)
        if counts is None:
            counts = self._counts[shown.snapshot] = _Counts()
        counts.clicks += 1
        if item_id in shown.items:
            reciprocal = 1.0 / (shown.items.index(item_id) + 1)
            counts.hits += 1
            counts.reciprocal_ranks += reciprocal
            counts.squared += reciprocal * reciprocal

    def _has_room(self, now_ms: int) -> bool:
        if len(self._shown) < self._capacity:
            return True
        longest_idle = next(iter(self._shown))
        if now_ms - self._shown[longest_idle].answered_ms <= COMPARED_WITHIN_MS:
            return False
        del self._shown[longest_idle]
        return True
