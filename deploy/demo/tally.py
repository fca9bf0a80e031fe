"""What the demo counts: clicks without an answer, time to the answer, next clicks that were foretold.

Plain Python that shares nothing with the worker, so that a mistake there cannot hide itself here.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

K: Final = 20
RECENT_S: Final = 5.0

Position = tuple[int, int]  # partition, offset


class Popularity:
    """The most clicked items up to now."""

    def __init__(self, counts: Mapping[str, int], n_kept: int = K + 1) -> None:
        self._counts = Counter(counts)
        self._n_kept = n_kept
        self._top = [item for item, _ in self._counts.most_common(n_kept)]

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._counts

    def add(self, item_id: str) -> None:
        """Count one click."""
        self._counts[item_id] += 1
        if item_id in self._top:
            return
        if len(self._top) < self._n_kept:
            self._top.append(item_id)
            return
        least = min(self._top, key=self._counts.__getitem__)
        if self._counts[item_id] > self._counts[least]:
            self._top[self._top.index(least)] = item_id

    def best(self, without: str | None = None, k: int = K) -> list[str]:
        """The k most popular items, one of them left out where asked for."""
        ordered = sorted(self._top, key=self._counts.__getitem__, reverse=True)
        return [item for item in ordered if item != without][:k]


@dataclass(slots=True)
class HitRates:
    """How often the click that came was among the 20 items recommended just before it.

    A click is a target if its item was known before the demo (in the history) and its session had clicked a
    known item already. It is compared with the list that a page shows at that moment, the last one that
    arrived for its session: a list that comes too late is a miss. These are the targets of ``nextclick
    evaluate`` with unknown items dropped. Popularity's list counts every click up to that moment, and
    leaves out what the worker leaves out: the item just clicked, unless ``repeat_all``.
    """

    known: frozenset[str]
    popularity: Popularity
    repeat_all: bool
    n_targets: int = 0
    n_hits: int = 0
    n_popular_hits: int = 0
    _last_click: dict[str, str] = field(default_factory=dict)  # of sessions with a known item

    def judge(self, session_id: str, item_id: str, shown: Sequence[str]) -> bool | None:
        """Take the next click of a session and what was shown just before; None where it is no target."""
        hit: bool | None = None
        if item_id in self.known and session_id in self._last_click:
            hit = item_id in shown[:K]
            left_out = None if self.repeat_all else self._last_click[session_id]
            self.n_targets += 1
            self.n_hits += hit
            self.n_popular_hits += item_id in self.popularity.best(left_out)
        if item_id in self.known or session_id in self._last_click:
            self._last_click[session_id] = item_id
        self.popularity.add(item_id)
        return hit


class Deliveries:
    """Every acknowledged click by partition and offset, and whether it was answered or rejected.

    An answer can arrive before the acknowledgement of its click: both are kept until they meet.
    """

    def __init__(self) -> None:
        self.latencies_s: list[float] = []  # from the moment a click was due to its answer's arrival
        self.versions: dict[str, float] = {}  # snapshot → moment of its first answer
        self._recent: deque[tuple[float, float]] = deque()
        self._due_s: dict[Position, float] = {}
        self._answered_s: dict[Position, float] = {}
        self._rejected: set[Position] = set()

    def acknowledge(self, position: Position, due_s: float) -> None:
        """Kafka has the click that was due at ``due_s``."""
        self._due_s[position] = due_s
        if position in self._answered_s:
            self._measure(position)

    def answer(self, position: Position, version: str, now_s: float) -> None:
        """A recommendation names the click; a second one for it changes nothing."""
        self.versions.setdefault(version, now_s)
        if position in self._answered_s:
            return
        self._answered_s[position] = now_s
        if position in self._due_s:
            self._measure(position)

    def reject(self, position: Position) -> None:
        """The click is among the rejected ones, with the reason."""
        self._rejected.add(position)

    def _measure(self, position: Position) -> None:
        answered_s = self._answered_s[position]
        latency_s = answered_s - self._due_s[position]
        self.latencies_s.append(latency_s)
        self._recent.append((answered_s, latency_s))

    @property
    def n_clicks(self) -> int:
        """Clicks that Kafka acknowledged."""
        return len(self._due_s)

    @property
    def n_answered(self) -> int:
        """Acknowledged clicks that at least one recommendation names."""
        return len(self.latencies_s)

    @property
    def n_rejected(self) -> int:
        """Acknowledged clicks that were rejected."""
        return len(self._rejected & self._due_s.keys())

    @property
    def n_missing(self) -> int:
        """Acknowledged clicks that are neither answered nor rejected."""
        return len(self._due_s.keys() - self._answered_s.keys() - self._rejected)

    def recent_latencies_s(self, now_s: float) -> list[float]:
        """Latencies of the answers of the last five seconds."""
        while self._recent and self._recent[0][0] < now_s - RECENT_S:
            self._recent.popleft()
        return [latency_s for _, latency_s in self._recent]


def percentile(values: Iterable[float], share: float) -> float | None:
    """The value that ``share`` of the values do not exceed, None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
