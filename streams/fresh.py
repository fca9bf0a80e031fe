"""Fresh items: what the snapshot does not know yet, learnt from the clicks on it as they are answered.

An item that is clicked for the first time now is in no vocabulary and no index until the next snapshot. Until
then it lives here: linked with the items that it is clicked close to, and with a vector made of theirs, so
that the ranking can find and score it like any other (`model/fresh_candidates.py`).

All of it is statistics, held in memory by each worker for its own partitions: it is lost on a restart and
learnt again from the next clicks. No state of a session depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.arrays import Float32Array, Int64Array
from model.blend_candidates import LINKED_ITEMS
from model.blend_memory import DAMPING, LINKS_KEPT
from model.fresh_candidates import FreshLinks, OwnFresh
from streams.session import SessionItem
from streams.snapshot import Snapshot

STEPS: Final = 8
"""Clicks so many steps apart are linked, as in the snapshot's own memory of items."""
SOURCES_KEPT: Final = 150
"""Items that link to one fresh item, the first ones: what bounds the memory."""
TAKEN_OVER: Final = 200
FORWARD_DAMPING: Final = 2.0
"""A source counts as clicked so many times more: what one click says of what follows must not be 1."""

Items = tuple[SessionItem, ...]


@dataclass(frozen=True, slots=True)
class FreshRules:
    """How many fresh items are held, and from how many sessions on one is recommended to others."""

    capacity: int = 2_000
    min_sessions: int = 1


class FreshItems:
    """The fresh items of one snapshot, numbered from 0; those clicked last are kept.

    Read while a batch is answered, changed between two: by one thread.
    """

    def __init__(self, snapshot: Snapshot, rules: FreshRules | None = None) -> None:
        self.rules = rules or FreshRules()
        self._vocabulary, self._encoder = snapshot.vocabulary, snapshot.encoder
        self._shares = snapshot.vocabulary.counts / max(1, int(snapshot.vocabulary.counts.sum()))
        n, dim = self.rules.capacity, snapshot.index.dim
        self.n_clicks = 0  # of all items: the clock that popularity is measured by
        self._numbers: dict[str, int] = {}
        self._item_ids: list[str] = []
        self._links: dict[str, dict[int, list[float]]] = {}  # source → fresh item → weights forward, together
        self._linked: list[set[str]] = []  # sources of each fresh item
        self._arrays: dict[str, tuple[Int64Array, Float32Array]] = {}  # of links that were asked for
        self._n_sessions = np.zeros(n, dtype=np.int64)
        self._counts = np.zeros(n, dtype=np.float32)  # clicks
        self._first = np.zeros(n, dtype=np.int64)  # ``n_clicks`` when it was clicked first
        self._latest = np.zeros(n, dtype=np.int64)
        self._stand_ins = np.full(n, -1, dtype=np.int64)  # rows of known items
        self._closeness = np.zeros(n)  # of these
        self._sums = np.zeros((n, dim), dtype=np.float32)
        self._vectors = np.zeros((n, dim), dtype=np.float32)
        self._weights = np.zeros(n, dtype=np.float32)
        self._evidence: list[tuple[int, int, float]] = []  # fresh item, row, weight: not in the sums yet

    def __len__(self) -> int:
        return len(self._item_ids)

    def number(self, item_id: str) -> int | None:
        """Number of a fresh item, None where it is none."""
        return self._numbers.get(item_id)

    def item_id(self, number: int) -> str:
        """Id of a fresh item."""
        return self._item_ids[number]

    def stand_in(self, item_id: str) -> int:
        """Row of the known item that a fresh one was clicked with most, -1 where there is none."""
        number = self._numbers.get(item_id)
        return -1 if number is None else int(self._stand_ins[number])

    @property
    def vectors(self) -> Float32Array:
        """In the space of the index's; (n, dim), zeros where nothing is known of an item."""
        return self._vectors[: len(self)]

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Which may be recommended to sessions that have not clicked them; (n,)."""
        return self._n_sessions[: len(self)] >= self.rules.min_sessions

    @property
    def placed(self) -> NDArray[np.bool_]:
        """Which of them may be found by their vectors; (n,)."""
        return self.shown & (self._weights[: len(self)] > 0)

    @property
    def popularity(self) -> Float32Array:
        """Log of each item's share of the clicks since it came, as the snapshot counts its own; (n,)."""
        n = len(self)
        since = self.n_clicks - self._first[:n] + len(self._vocabulary)
        popularity: Float32Array = np.log((self._counts[:n] + 1) / since).astype(np.float32)
        return popularity

    def learn(self, folded: Iterable[Items]) -> None:
        """Learn from clicks: the last items of a session up to each, its own at the end."""
        for items in folded:
            self.n_clicks += 1
            clicked = items[-1].item_id
            row = self._vocabulary.row(clicked)
            if row is None:
                self._count(clicked, items)
            if self._numbers:
                self._link(items, clicked, row)
        self._move_vectors()

    def take_over(self, before: FreshItems) -> None:
        """Begin with those of another snapshot's that this one does not know either, clicked last.

        Does nothing where something was learnt already. It takes some 10 ms at most, between two batches.
        """
        if self.n_clicks or not len(before):
            return
        self.n_clicks = before.n_clicks
        unknown = [n for n, item_id in enumerate(before._item_ids) if self._vocabulary.row(item_id) is None]
        for number in sorted(unknown, key=lambda n: before._latest[n])[
            -min(TAKEN_OVER, self.rules.capacity) :
        ]:
            own = self._begin(before._item_ids[number])
            for column in ("_n_sessions", "_counts", "_first", "_latest"):
                getattr(self, column)[own] = getattr(before, column)[number]
            for source in before._linked[number]:
                self._add(source, self._vocabulary.row(source), own, *before._links[source][number])
        self._move_vectors()

    def mentions(self, sessions: Sequence[Items], recent: Int64Array) -> tuple[FreshLinks, OwnFresh]:
        """Links of the sessions' last items to fresh ones, and the fresh items that they hold.

        ``recent`` are the rows of the same items, newest first, -1 where one is unknown.
        """
        numbers, links = self._numbers, self._links
        own: list[tuple[int, int, int]] = []
        found: list[tuple[Int64Array, Float32Array]] = []
        sources: list[tuple[int, int, int]] = []  # session, depth, number of links
        for at, items in enumerate(sessions):
            for depth, item in enumerate(reversed(items)):
                if (number := numbers.get(item.item_id)) is not None:
                    own.append((at, number, depth))
                if depth < LINKED_ITEMS and item.item_id in links:
                    arrays = self._arrays.get(item.item_id) or self._arrays_of(item.item_id)
                    found.append(arrays)
                    sources.append((at, depth, len(arrays[0])))
        owned = OwnFresh(*np.array(own, dtype=np.int64).reshape(-1, 3).T)
        return self._normalized(found, np.array(sources, dtype=np.int64).reshape(-1, 3), recent), owned

    def _normalized(
        self, found: list[tuple[Int64Array, Float32Array]], sources: Int64Array, recent: Int64Array
    ) -> FreshLinks:
        """Weights as the snapshot's memory has them, from clicks since the fresh item came."""
        items = np.concatenate([np.empty(0, dtype=np.int64), *(numbers for numbers, _ in found)])
        weights = np.concatenate([np.empty((0, 2), dtype=np.float32), *(weights for _, weights in found)])
        clicks, depths = (np.repeat(column, sources[:, 2]) for column in sources[:, :2].T)
        since = self.n_clicks - self._first[items] + 1
        rows = recent[clicks, depths]
        n_source = np.where(rows >= 0, self._shares[rows] * since, 0.0)
        forward = weights[:, 0] / (n_source + FORWARD_DAMPING)
        together = weights[:, 1] / np.sqrt((n_source + DAMPING) * (self._counts[items] + DAMPING))
        shown = self.shown[items]
        return FreshLinks(
            clicks[shown],
            items[shown],
            depths[shown],
            np.minimum(forward, 1.0)[shown].astype(np.float32),
            together[shown].astype(np.float32),
        )

    def _arrays_of(self, source: str) -> tuple[Int64Array, Float32Array]:
        links = self._links[source]
        arrays = (
            np.array(list(links), dtype=np.int64),
            np.array(list(links.values()), dtype=np.float32).reshape(-1, 2),
        )
        self._arrays[source] = arrays
        return arrays

    def _count(self, item_id: str, items: Items) -> None:
        number = self._numbers.get(item_id)
        if number is None:
            number = self._begin(item_id)
        self._counts[number] += 1
        self._latest[number] = self.n_clicks
        if all(item.item_id != item_id for item in items[:-1]):
            self._n_sessions[number] += 1

    def _begin(self, item_id: str) -> int:
        """Give the item a number, that of the one not clicked for longest where all are taken."""
        if len(self) < self.rules.capacity:
            number = len(self)
            self._item_ids.append(item_id)
            self._linked.append(set())
        else:
            number = int(self._latest.argmin())
            self._forget(number)
            self._item_ids[number] = item_id
        self._numbers[item_id] = number
        self._first[number] = self.n_clicks
        return number

    def _forget(self, number: int) -> None:
        self._move_vectors()  # what is known of the number so far is this item's
        del self._numbers[self._item_ids[number]]
        for source in self._linked[number]:
            links = self._links[source]
            del links[number]
            self._arrays.pop(source, None)
            if not links:
                del self._links[source]
        self._linked[number].clear()
        for column in (
            self._n_sessions,
            self._counts,
            self._closeness,
            self._sums,
            self._weights,
            self._vectors,
        ):
            column[number] = 0
        self._stand_ins[number] = -1

    def _link(self, items: Items, clicked: str, row: int | None) -> None:
        """Link a click with those of its session before it, where one of the two is on a fresh item."""
        number = self._numbers.get(clicked)
        for step, item in enumerate(reversed(items[-1 - STEPS : -1]), start=1):
            before = self._numbers.get(item.item_id)
            if number is not None:
                before_row = self._vocabulary.row(item.item_id) if before is None else None
                self._add(item.item_id, before_row, number, 1 / step**2, 1 / step)
            if before is not None:
                self._add(clicked, row, before, 0.0, 1 / step)

    def _add(self, source: str, row: int | None, number: int, forward: float, together: float) -> None:
        """Add to the link from a source, whose row is given where it is known, to a fresh item."""
        if row is not None:
            self._evidence.append((number, row, together))
        links = self._links.get(source) or {}
        weights = links.get(number)
        if weights is None:
            if len(self._linked[number]) >= SOURCES_KEPT:
                return
            self._links[source] = links
            if len(links) >= LINKS_KEPT:
                weakest = min(links, key=lambda other: links[other][1])
                del links[weakest]
                self._linked[weakest].discard(source)
            weights = links[number] = [0.0, 0.0]
            self._linked[number].add(source)
        weights[0] += forward
        weights[1] += together
        if row is not None and weights[1] > self._closeness[number]:
            self._closeness[number], self._stand_ins[number] = weights[1], row
        self._arrays.pop(source, None)

    def _move_vectors(self) -> None:
        """Bring the vectors up to date: each the mean of those of known items, close clicks counting more."""
        if not self._evidence:
            return
        numbers, rows, weights = (np.array(column) for column in zip(*self._evidence, strict=True))
        self._evidence.clear()
        vectors = self._encoder.item_vectors(rows.astype(np.int64))
        np.add.at(self._sums, numbers, vectors * weights[:, None].astype(np.float32))
        np.add.at(self._weights, numbers, weights.astype(np.float32))
        moved = np.unique(numbers)
        self._vectors[moved] = self._sums[moved] / self._weights[moved, None]
