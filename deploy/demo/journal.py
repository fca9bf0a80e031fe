"""What a front end notes of a snapshot's life: every click by the lists of two workers, and new items.

Both workers answer the same clicks; one has its snapshots refreshed, the other keeps the first one for ever.
A click counts against the list that had arrived for its session by then, of either side; it is compared
with nothing where it is its session's first, or on the item just clicked, which no list holds. Plain Python
that shares nothing with the workers.
"""

import json
import time
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.demo.tally import K, percentile


class Judged(NamedTuple):
    """A click beside the lists that were shown before it: was it on them?

    ``new`` is an item that nobody had clicked before the stream; ``snapshot`` made the list, and is empty
    where none had come.
    """

    at_s: float
    session_id: str
    new: bool
    snapshot: str
    hit: bool
    hit_beside: bool


class Answered(NamedTuple):
    """An answer: when its worker made it, for which session, by which snapshot."""

    at_s: float
    session_id: str
    snapshot: str


class NewItem:
    """When an item was clicked first, and when it was first recommended: at all, and to another session."""

    __slots__ = ("clicked_s", "session_id", "shown_s", "shown_to_others_s")

    def __init__(self, clicked_s: float, session_id: str) -> None:
        self.clicked_s = clicked_s
        self.session_id = session_id
        self.shown_s: float | None = None
        self.shown_to_others_s: float | None = None


class _Lists:
    """The last list of every session, as it arrived."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[int, str, frozenset[str]]] = {}  # offset, snapshot, items

    def take(self, answer: dict[str, Any]) -> None:
        session_id, offset = answer["session_id"], answer["click"]["offset"]
        if offset > self._shown.get(session_id, _NONE)[0]:
            items = frozenset(item["item_id"] for item in answer["items"][:K])
            self._shown[session_id] = (offset, answer["snapshot"], items)

    def judge(self, session_id: str, item_id: str) -> tuple[str, bool]:
        _, snapshot, items = self._shown.get(session_id, _NONE)
        return snapshot, item_id in items

    def __len__(self) -> int:
        return len(self._shown)


_NONE: Final[tuple[int, str, frozenset[str]]] = (-1, "", frozenset())


class Journal:
    """Notes as clicks are sent and answers arrive; ``known`` are the items clicked before the stream."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = known
        self._lists, self._beside = _Lists(), _Lists()
        self._last_click: dict[str, str] = {}
        self._judged: list[Judged] = []
        self._answered: list[Answered] = []
        self._new: dict[str, NewItem] = {}
        self._not_to_others: set[str] = set()  # new items that were not recommended to another session yet
        self._by_snapshot: dict[str, list[int]] = defaultdict(lambda: [0, 0])  # judged, hits
        self._hits = self._hits_beside = 0
        self._started_s = self._started_wall_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether the worker beside has answered."""
        return len(self._beside) > 0

    def begin(self, now_s: float) -> None:
        """The stream begins; times count from now."""
        self._started_s, self._started_wall_s = now_s, time.time()
        self._answered.clear()

    def answer(self, answer: dict[str, Any], now_s: float) -> None:
        """An answer of the worker that serves, arrived just now."""
        self._lists.take(answer)
        made_s = answer["created_ms"] / 1000 - self._started_wall_s
        self._answered.append(Answered(round(made_s, 3), answer["session_id"], answer["snapshot"]))
        if self._not_to_others:
            shown = self._not_to_others.intersection(item["item_id"] for item in answer["items"])
            for item_id in shown:
                self._note_shown(item_id, answer["session_id"], now_s - self._started_s)

    def answer_beside(self, answer: dict[str, Any]) -> None:
        """An answer of the worker that keeps the first snapshot."""
        self._beside.take(answer)

    def click(self, at_s: float, session_id: str, item_id: str) -> None:
        """A click that is sent now."""
        new = item_id not in self._known
        if new and item_id not in self._new:
            self._new[item_id] = NewItem(at_s, session_id)
            self._not_to_others.add(item_id)
        before = self._last_click.get(session_id)
        self._last_click[session_id] = item_id
        if before is None or before == item_id:
            return
        snapshot, hit = self._lists.judge(session_id, item_id)
        _, hit_beside = self._beside.judge(session_id, item_id)
        self._judged.append(Judged(round(at_s, 3), session_id, new, snapshot, hit, hit_beside))
        self._hits += hit
        self._hits_beside += hit_beside
        counts = self._by_snapshot[snapshot]
        counts[0] += 1
        counts[1] += hit

    def _note_shown(self, item_id: str, session_id: str, now_s: float) -> None:
        item = self._new[item_id]
        if item.shown_s is None:
            item.shown_s = now_s
        if session_id != item.session_id:
            item.shown_to_others_s = now_s
            self._not_to_others.discard(item_id)

    def report(self) -> dict[str, Any]:
        """How it stands now, for the view."""
        waited_s = [item.shown_s - item.clicked_s for item in self._new.values() if item.shown_s is not None]
        return {
            "judged": len(self._judged),
            "judged_hits": self._hits,
            "hits_beside": self._hits_beside,
            "by_snapshot": dict(self._by_snapshot),
            "new_items": len(self._new),
            "new_items_shown": len(waited_s),
            "new_item_s": percentile(waited_s, 0.5),
        }

    def write(self, path: Path) -> None:
        """Write all of it down."""
        new = [
            {
                "item_id": item_id,
                "clicked_s": item.clicked_s,
                "shown_s": item.shown_s,
                "shown_to_others_s": item.shown_to_others_s,
            }
            for item_id, item in self._new.items()
        ]
        notes = {"judged": self._judged, "answered": self._answered, "new_items": new}
        path.write_text(json.dumps(notes | {"began_s": self._started_wall_s}), encoding="utf-8")
