"""Columns of clicks that grow while a topic, an archive or a file is read, without an object for each click.

Ids are numbered as they come; a click costs 28 bytes until the columns are put in order.
"""

from array import array
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.clickfile import ClickColumns

NUMBERS: Final = "i"  # four bytes: two billion sessions


class GrowingColumns:
    """Clicks in the order in which they are read, each with what it is to be sorted by."""

    def __init__(self) -> None:
        self._sessions, self._session_numbers = array(NUMBERS), dict[str, int]()
        self._items, self._item_numbers = array(NUMBERS), dict[str, int]()
        self._kinds, self._kind_numbers = array(NUMBERS), dict[str, int]()
        self._times_ms = array("q")
        self._arrivals_ms = array("q")

    def __len__(self) -> int:
        return len(self._times_ms)

    def append(self, session_id: str, item_id: str, kind: str, time_ms: int, arrival_ms: int) -> None:
        """Take one click."""
        numbers = self._session_numbers
        self._sessions.append(numbers.setdefault(session_id, len(numbers)))
        numbers = self._item_numbers
        self._items.append(numbers.setdefault(item_id, len(numbers)))
        numbers = self._kind_numbers
        self._kinds.append(numbers.setdefault(kind, len(numbers)))
        self._times_ms.append(time_ms)
        self._arrivals_ms.append(arrival_ms)

    def extend(
        self,
        session_ids: Any,
        item_ids: Any,
        kinds: Any,
        time_ms: NDArray[np.int64],
        arrival_ms: NDArray[np.int64],
    ) -> None:
        """Take many; the ids and kinds are Arrow's dictionary arrays, whose every name is looked up once."""
        self._sessions.frombytes(_renumbered(session_ids, self._session_numbers))
        self._items.frombytes(_renumbered(item_ids, self._item_numbers))
        self._kinds.frombytes(_renumbered(kinds, self._kind_numbers))
        self._times_ms.frombytes(time_ms.tobytes())
        self._arrivals_ms.frombytes(arrival_ms.tobytes())

    def arrivals_ms(self) -> NDArray[np.int64]:
        """When each of them arrived, in that order; to be asked before they are put into it."""
        return np.sort(np.frombuffer(self._arrivals_ms, dtype=np.int64))

    def in_order_of_arrival(self) -> ClickColumns:
        """All of them by arrival; those of one arrival in the order in which they were read.

        The columns are empty afterwards: ten million clicks need not be held twice.
        """
        order = np.argsort(np.frombuffer(self._arrivals_ms, dtype=np.int64), kind="stable")
        self._arrivals_ms = array("q")
        session_ids = _named(self._sessions, self._session_numbers, order)
        self._sessions, self._session_numbers = array(NUMBERS), {}
        item_ids = _named(self._items, self._item_numbers, order)
        self._items, self._item_numbers = array(NUMBERS), {}
        kinds = _named(self._kinds, self._kind_numbers, order)
        self._kinds, self._kind_numbers = array(NUMBERS), {}
        time_ms = np.frombuffer(self._times_ms, dtype=np.int64)[order]
        self._times_ms = array("q")
        return ClickColumns(session_ids, item_ids, time_ms, kinds)


def _renumbered(coded: Any, numbers: dict[str, int]) -> bytes:
    names = coded.dictionary.to_pylist()
    ours = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int32, count=len(names))
    renumbered: NDArray[np.int32] = ours[coded.indices.to_numpy(zero_copy_only=False)]
    return renumbered.tobytes()


def _named(column: "array[int]", numbers: dict[str, int], order: NDArray[np.int64]) -> NDArray[np.object_]:
    names = np.empty(len(numbers), dtype=object)
    names[:] = list(numbers)
    named: NDArray[np.object_] = names[np.frombuffer(column, dtype=np.int32)[order]]
    return named
