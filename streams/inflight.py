"""What is in flight: a note in the worker's folder, so that a click that ends the process is found out.

An exception is caught and the click rejected at once; a crash inside a native library leaves only this
note. After an unclean start the records of the noted batch are answered one at a time; the one that is in
flight at three deaths in a row is quarantined. A worker that is killed for other reasons moves on between
its deaths, so its clicks are safe.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.errors import NextclickError
from streams.events import Reason, Rejection
from streams.table import explain

DEATHS_ALLOWED: Final = 3


class Note(msgspec.Struct, frozen=True):
    """The records in flight: by partition first and last offset; ``deaths`` at this single one so far."""

    ranges: dict[int, tuple[int, int]] = {}
    deaths: int = 0

    @property
    def single(self) -> tuple[int, int] | None:
        """The only record in flight, as (partition, offset), where there is just one."""
        positions = [(partition, first) for partition, (first, last) in self.ranges.items() if first == last]
        return positions[0] if len(positions) == len(self.ranges) == 1 else None


class InFlight:
    """The note, and what follows from the one that the process before this one left.

    The file is written through the page cache without a sync: it has to outlive the process, not the host.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        left = self._read()
        self._suspects = dict(left.ranges)
        self._died_at = left.single
        self._deaths = left.deaths + 1 if left.single else 0

    def close(self) -> None:
        """Release the file; what it says stays."""
        os.close(self._file)

    def bound(self, records: Sequence[Any], at_most: int) -> int:
        """Give how many of the records may be answered together: one where one of them is suspect."""
        if not self._suspects:
            return at_most
        suspect = any(self._is_suspect(record) for record in records[:at_most])
        return 1 if suspect else at_most

    def quarantined(self, record: Any) -> Rejection | None:
        """Give the rejection of a record that ended the process three times running."""
        if (record.partition, record.offset) == self._died_at and self._deaths >= DEATHS_ALLOWED:
            return Rejection(Reason.POISON, f"ended the process {self._deaths} times running")
        return None

    @contextmanager
    def noted(self, records: Sequence[Any]) -> Iterator[None]:
        """Note the records while something is done with them.

        What an exception says of Kafka, the disk or the stored sessions is no click's fault: the note goes.
        """
        self.begin(records)
        try:
            yield
        except Exception as error:
            if isinstance(error, NextclickError) or explain(error) is not None:
                self._write(Note())
            raise
        self.end(records)

    def begin(self, records: Sequence[Any]) -> None:
        """Note the records, before anything is done with them."""
        ranges: dict[int, tuple[int, int]] = {}
        for record in records:
            first, _ = ranges.get(record.partition, (record.offset, 0))
            ranges[record.partition] = (first, record.offset)
        note = Note(ranges)
        again = self._died_at is not None and note.single == self._died_at
        self._write(Note(ranges, self._deaths) if again else note)

    def end(self, records: Sequence[Any]) -> None:
        """Note that they are done; a partition whose suspects are all behind is as good as any again."""
        for record in records if self._suspects else ():
            _, last = self._suspects.get(record.partition, (0, -1))
            if record.offset >= last:
                self._suspects.pop(record.partition, None)
        self._write(Note())

    def _is_suspect(self, record: Any) -> bool:
        first, last = self._suspects.get(record.partition, (0, -1))
        return bool(first <= record.offset <= last)

    def _read(self) -> Note:
        content = os.pread(self._file, os.fstat(self._file).st_size, 0)
        try:
            return msgspec.json.decode(content.rstrip(b" \0") or b"{}", type=Note)
        except msgspec.MsgspecError:
            return Note()  # killed while it was written: nothing was in flight yet, or all was done

    def _write(self, note: Note) -> None:
        content = msgspec.json.encode(note)
        # Padded and not truncated: one call, so that no death leaves half a note.
        os.pwrite(self._file, content.ljust(os.fstat(self._file).st_size), 0)
