"""A few of the sessions to look at: each keeps its place until its shopper has left."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

GONE_AFTER_S: Final = 8.0
N_CLICKS: Final = 6
N_ITEMS: Final = 6


@dataclass(slots=True)
class _Place:
    session_id: str
    clicked_s: float
    clicks: deque[tuple[str, bool | None]] = field(default_factory=lambda: deque(maxlen=N_CLICKS))
    items: list[str] = field(default_factory=list)


class ShopWindow:
    """``n_places`` sessions: their last clicks, whether each was foretold, what is recommended now."""

    def __init__(self, n_places: int) -> None:
        self._n_places = n_places
        self._places: list[_Place] = []
        self._shown: dict[str, _Place] = {}

    def click(self, session_id: str, item_id: str, hit: bool | None, now_s: float) -> None:
        """A session clicks; a new one takes the place of one that has left."""
        place = self._shown.get(session_id)
        if place is None:
            if hit is not None:
                return  # it began before: half a story
            place = self._take_place(session_id, now_s)
            if place is None:
                return
        place.clicked_s = now_s
        place.clicks.append((item_id, hit))

    def recommend(self, session_id: str, items: list[str]) -> None:
        """A session's page shows another list."""
        if (place := self._shown.get(session_id)) is not None:
            place.items = items[:N_ITEMS]

    def rows(self, now_s: float) -> list[dict[str, Any]]:
        """What to show, place by place; ``idle_s`` grows until the place is taken by another."""
        return [
            {
                "session_id": place.session_id,
                "clicks": [[item, hit] for item, hit in place.clicks],
                "items": place.items,
                "idle_s": round(max(0.0, now_s - place.clicked_s), 1),
            }
            for place in self._places
        ]

    def _take_place(self, session_id: str, now_s: float) -> _Place | None:
        place = _Place(session_id, now_s)
        if len(self._places) < self._n_places:
            self._places.append(place)
        elif not self._places:
            return None  # nothing is to be shown
        else:
            at = min(range(self._n_places), key=lambda n: self._places[n].clicked_s)
            left = self._places[at]
            if now_s - left.clicked_s < GONE_AFTER_S:
                return None
            del self._shown[left.session_id]
            self._places[at] = place
        self._shown[session_id] = place
        return place
