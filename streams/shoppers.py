"""Shoppers made up by a seed: clicks with tastes, habits and fashions, for showing and testing without data.

A shopper comes with a taste (a department and a variant, say camping and green), and at each step either
goes on to what people look at next after an item of that kind (tents, then sleeping bags), mostly in the
variant liked, or looks at another popular item of the same kind, or returns to an item seen before, or
wanders. So the next click can be learnt from the session, popularity alone is right now and then, and
nobody can be right always. What is popular drifts, so that a model grows old; if asked for, new items appear
one after the other, and what people look at next turns into something else.

Sessions are drawn in blocks with arrays, one column of clicks after the other; the clicks of all of them
come out in the order of time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from streams.clickfile import ClickColumns
from streams.shop_catalogue import Floats, Rows, make_catalogue

DAY_MS = 86_400_000
MOST_SESSIONS = 2_048
"""Drawn together."""
STEPS_OF_CHANGE = 40
"""What changes does so in steps: so many of them at least while a fashion comes and goes."""


class GeneratedClick(NamedTuple):
    """One click: its time, the session and the item's readable name."""

    time_ms: int
    session_id: str
    item_id: str


@dataclass(frozen=True, slots=True)
class Habits:
    """How shoppers behave: the chance of each step, and how fast fashions change.

    Of ``n_new_items``, beside those that are there at the opening, one appears every ``launch_every_ms`` from
    ``launch_from_ms`` on, and is among the popular ones at once. With ``turn_ms`` above 0 each kind of item
    is followed by other kinds after that time: what was learnt of the next click is wrong then, kind by kind.
    """

    follow: float = 0.60  # to an item that people look at next
    same_kind: float = 0.14  # another item of the kind just seen
    return_to: float = 0.14  # an item seen before in the session
    keep_variant: float = 0.80  # following, in the variant of the shopper's taste
    mean_clicks: float = 6.0  # of one session, two at least
    popularity_exponent: float = 0.9
    fashion: float = 0.7  # how far an item's log-popularity swings
    fashion_period_ms: int = 3 * DAY_MS
    n_new_items: int = 0
    launch_every_ms: int = 10_000
    launch_from_ms: int = 0
    turn_ms: int = 0
    steady_ms: int = 0  # before that nothing changes; what changes counts its time from there

    @property
    def fastest_ms(self) -> float:
        """The shortest time in which something changes."""
        times = [self.fashion_period_ms]
        times += [self.launch_every_ms * 20] if self.n_new_items else []  # one of many: no need to be exact
        times += [self.turn_ms] if self.turn_ms else []
        return min(times)


def drifting(habits: Habits, within_ms: int) -> Habits:
    """The same shoppers in a shop that is another after that time, in what is popular and what follows."""
    return replace(habits, fashion=1.5, fashion_period_ms=2 * within_ms, turn_ms=within_ms)


def generate_clicks(
    seed: int,
    *,
    n_items: int = 500,
    n_shoppers: int = 200,
    clicks_per_s: float = 20.0,
    start_ms: int = 0,
    session_prefix: str = "",
    habits: Habits | None = None,
) -> Iterator[GeneratedClick]:
    """Clicks without end, in order of time, the same for the same arguments.

    ``n_shoppers`` are in the shop at any time, so one of them clicks every ``n_shoppers / clicks_per_s``
    seconds on average. Session ids are the prefix and a running number.
    """
    shop = _Shop(seed, n_items, habits or Habits())
    gap_ms = 1000.0 * n_shoppers / clicks_per_s
    for times, sessions, rows in _blocks(shop, n_shoppers, gap_ms):
        names = shop.catalogue.item_ids
        for time, session, row in zip(times.tolist(), sessions.tolist(), rows.tolist(), strict=True):
            yield GeneratedClick(start_ms + int(time), f"{session_prefix}{session}", names[row])


def generate_columns(
    seed: int,
    n_clicks: int,
    *,
    n_items: int = 500,
    n_shoppers: int = 200,
    clicks_per_s: float = 20.0,
    start_ms: int = 0,
    session_prefix: str = "",
    habits: Habits | None = None,
) -> ClickColumns:
    """The first ``n_clicks`` of ``generate_clicks`` as columns, a few million a second."""
    shop = _Shop(seed, n_items, habits or Habits())
    gap_ms = 1000.0 * n_shoppers / clicks_per_s
    blocks, n_drawn = [], 0
    for block in _blocks(shop, n_shoppers, gap_ms):
        blocks.append(block)
        n_drawn += len(block[0])
        if n_drawn >= n_clicks:
            break
    times, sessions, rows = (np.concatenate(parts)[:n_clicks] for parts in zip(*blocks, strict=True))
    names = np.array(shop.catalogue.item_ids, dtype=object)
    numbers, inverse = np.unique(sessions, return_inverse=True)
    session_ids = np.array([f"{session_prefix}{number}" for number in numbers.tolist()], dtype=object)
    return ClickColumns(session_ids[inverse], names[rows], start_ms + times.astype(np.int64))


class _Shop:
    """The catalogue, what is popular in it at a time, and the next step of many shoppers together."""

    def __init__(self, seed: int, n_items: int, habits: Habits) -> None:
        self.rng = np.random.default_rng(seed)
        self.habits = habits
        self.catalogue = make_catalogue(n_items, self.rng, habits.n_new_items)
        self._changes = np.random.default_rng([seed, 1])  # what stays the same draws as without them
        launches = habits.launch_from_ms + habits.launch_every_ms * (1.0 + np.arange(habits.n_new_items))
        self._appears_ms = np.concatenate([np.full(n_items, -np.inf), launches])
        self._turns = self._changes.random(self.catalogue.n_kinds)  # the part of ``turn_ms`` that is left
        self._next_kinds = self.catalogue.next_kinds.copy()
        self._n_turns = np.zeros(self.catalogue.n_kinds, dtype=np.int64)
        self._by_kind = np.argsort(self.catalogue.kind, kind="stable")
        sizes = np.bincount(self.catalogue.kind, minlength=self.catalogue.n_kinds)
        self._kind_ends = np.cumsum(sizes)
        new_ranks = self._changes.integers(1, max(2, n_items // 20), habits.n_new_items)
        ranks = np.concatenate([self.rng.permutation(n_items) + 1, new_ranks])
        self._log_popularity = -habits.popularity_exponent * np.log(ranks)
        self._phase = np.concatenate([self.rng.random(n_items), self._changes.random(habits.n_new_items)])
        self._cumulated: Floats = np.empty(0)
        self.set_time(0.0)

    def set_time(self, time_ms: float) -> None:
        """Make popular what is popular then, put on the shelf what has appeared, and turn habits."""
        time_ms = max(0.0, time_ms - self.habits.steady_ms)
        self._on_shelf = self._appears_ms <= time_ms
        self._turn(time_ms)
        swing = np.sin(2 * np.pi * (time_ms / self.habits.fashion_period_ms + self._phase))
        popularity = np.where(self._on_shelf, np.exp(self._log_popularity + self.habits.fashion * swing), 0.0)
        self._cumulated = np.concatenate(([0.0], np.cumsum(popularity[self._by_kind])))

    def _turn(self, time_ms: float) -> None:
        """Kinds whose time has come are followed by others from then on; each once in ``turn_ms``."""
        if not self.habits.turn_ms:
            return
        n_kinds = self.catalogue.n_kinds
        due: Rows = np.floor(time_ms / self.habits.turn_ms + self._turns).astype(np.int64)
        for kind in np.flatnonzero(due > self._n_turns):
            self._next_kinds[kind] = self._changes.integers(n_kinds, size=4)
        self._n_turns = due

    def popular(self, n: int) -> Rows:
        """``n`` rows drawn by popularity from everything."""
        return self._draw(np.zeros(n), np.full(n, self._cumulated[-1]))

    def popular_of_kind(self, kinds: Rows) -> Rows:
        """One row for each kind, drawn by popularity."""
        ends = self._cumulated[self._kind_ends[kinds]]
        starts = np.where(kinds > 0, self._cumulated[self._kind_ends[kinds - 1]], 0.0)
        return self._draw(starts, ends)

    def _draw(self, low: Floats, high: Floats) -> Rows:
        point = low + self.rng.random(len(low)) * (high - low)
        place = np.searchsorted(self._cumulated, point, side="right") - 1
        rows: Rows = self._by_kind[np.minimum(place, len(self._by_kind) - 1)]
        return rows

    def steps(self, seen: Rows, tastes: Rows) -> Rows:
        """The next row for each session: ``seen`` is (sessions, clicks so far), ``tastes`` their variants."""
        habits, n = self.habits, len(seen)
        last = seen[:, -1]
        kinds = self.catalogue.kind[last]
        step = self.rng.random(n)
        rows = self.popular(n)  # who wanders
        edges = np.cumsum([habits.follow, habits.same_kind, habits.return_to])
        following, same = step < edges[0], (step >= edges[0]) & (step < edges[1])
        returning = (step >= edges[1]) & (step < edges[2])
        rows[following] = self._follow(kinds[following], tastes[following])
        rows[same] = self.popular_of_kind(kinds[same])
        column = self.rng.integers(seen.shape[1], size=n)
        rows[returning] = seen[np.arange(n), column][returning]
        return rows

    def _follow(self, kinds: Rows, tastes: Rows) -> Rows:
        catalogue = self.catalogue
        pick = np.searchsorted(np.cumsum(catalogue.next_chances)[:-1], self.rng.random(len(kinds)))
        kinds = self._next_kinds[kinds, pick]
        liked = catalogue.row_of[kinds, tastes]
        keep = (self.rng.random(len(kinds)) < self.habits.keep_variant) & (liked >= 0) & self._on_shelf[liked]
        return np.where(keep, liked, self.popular_of_kind(kinds))


_Block = tuple[Floats, Rows, Rows]  # times in ms, session numbers, rows; in order of time


def _blocks(shop: _Shop, n_shoppers: int, gap_ms: float) -> Iterator[_Block]:
    """Blocks of clicks in order of time; a click waits until no later session can come before it.

    The shop is as it is at a block's beginning, so blocks are short where something changes fast.
    """
    between_ms = shop.habits.mean_clicks * gap_ms / n_shoppers  # from one shopper's entry to the next one's
    n_sessions = int(min(MOST_SESSIONS, max(1, shop.habits.fastest_ms / STEPS_OF_CHANGE / between_ms)))
    # Who is there at the opening has some of the visit behind: fewer shoppers, for as many clicks as later.
    n_early = max(1, round(n_shoppers * (1 - 1 / shop.habits.mean_clicks) ** 2))
    first, opened_ms = 0, 0.0
    waiting: _Block = (np.empty(0), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    while True:
        shop.set_time(opened_ms)
        entries = opened_ms + np.cumsum(shop.rng.exponential(between_ms, n_sessions))
        if first == 0:
            entries = np.sort(np.concatenate([shop.rng.random(n_early) * gap_ms, entries]))
        drawn = _sessions(shop, entries, first, gap_ms)
        times, sessions, rows = (np.concatenate(pair) for pair in zip(waiting, drawn, strict=True))
        first, opened_ms = first + len(entries), float(entries[-1])
        order = np.argsort(times, kind="stable")
        ready, later = np.split(order, [int(np.searchsorted(times[order], opened_ms))])
        waiting = (times[later], sessions[later], rows[later])
        yield times[ready], sessions[ready], rows[ready]


def _sessions(shop: _Shop, entries: Floats, first: int, gap_ms: float) -> _Block:
    """All clicks of the sessions that begin at ``entries``."""
    n = len(entries)
    lengths = 1 + shop.rng.geometric(1 / max(shop.habits.mean_clicks - 1, 1.0), n)
    lengths = np.minimum(lengths, 40)
    seen = np.empty((n, int(lengths.max())), dtype=np.int64)
    seen[:, 0] = shop.popular(n)
    tastes = shop.catalogue.variant[seen[:, 0]]
    for column in range(1, seen.shape[1]):
        running = np.flatnonzero(lengths > column)
        seen[running, column] = shop.steps(seen[running, :column], tastes[running])
    gaps = shop.rng.gamma(2.0, gap_ms / 2.0, seen.shape)
    gaps[:, 0] = 0.0
    times = entries[:, None] + np.cumsum(gaps, axis=1)
    inside = np.arange(seen.shape[1]) < lengths[:, None]
    numbers = np.broadcast_to(first + np.arange(n)[:, None], seen.shape)
    return times[inside], numbers[inside].copy(), seen[inside]
