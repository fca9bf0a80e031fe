"""Where an archive is kept, a folder or an object store: listing, writing, reading and removing its files.

A write goes to a temporary name, is read back and compared, and only then gets its name: who lists the files
never meets half of one, whenever a writer is killed.
"""

import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from streams.archive import (
    CODED_COLUMNS,
    FORMAT,
    FORMAT_KEY,
    SCHEMA,
    ArchiveChanged,
    ArchivedFile,
    ArchiveError,
)
from streams.snapshot_store import error_text, is_local, sync

ROWS_IN_GROUP: Final = 250_000
DICTIONARY_BYTES: Final = 64 << 20
"""Parquet gives up a dictionary that grows past this: with the usual megabyte, that of the sessions."""
TEMPORARY_PREFIX: Final = ".unfinished-"
LEFT_OVER_S: Final = 3_600.0
"""A temporary file as old as this has no writer any more."""


class ArchiveStore:
    """The archive of one topic at a path, or at any URL that fsspec opens."""

    def __init__(self, location: str, topic: str) -> None:
        """Raise ``ArchiveError`` where nothing can be kept at such a place."""
        try:
            self._fs, root = fsspec.core.url_to_fs(location)
        except Exception as error:  # each kind of file system has its own for keys and hosts that are wrong
            raise ArchiveError(f"archive {location!r} cannot be opened: {error_text(error)}") from error
        self.location = location
        self._topic = topic
        self._root = f"{str(root).rstrip('/')}/{topic}"
        self._local = is_local(self._fs)

    def files(self) -> list[ArchivedFile]:
        """All files that stand in the archive, sorted."""
        with self._complaining("listed"):
            return sorted(file for path in self._paths() if (file := ArchivedFile.parse(path)) is not None)

    def write(self, file: ArchivedFile, rows: Any) -> None:
        """Keep a table of ``SCHEMA`` under the file's name, in the place of one that has it already."""
        target = self._path(file)
        folder, _, name = target.rpartition("/")
        temporary = f"{folder}/{TEMPORARY_PREFIX}{secrets.token_hex(4)}-{name}"
        with self._complaining("written"):
            self._fs.makedirs(folder, exist_ok=True)
            try:
                self._put(rows, temporary)
                self._publish(temporary, target)
            except Exception:
                with suppress(Exception):
                    self._fs.rm_file(temporary)
                raise

    def row_groups(self, file: ArchivedFile, columns: Sequence[str], from_ms: int = 0) -> Iterator[Any]:
        """Parts of the file that hold arrivals from ``from_ms`` on, each a table of one chunk for a column.

        Raises ``ArchiveChanged`` where the file is gone.
        """
        with self._complaining("read", file.path), self._open(self._path(file)) as source:
            parquet = pq.ParquetFile(
                source,
                read_dictionary=CODED_COLUMNS,
                pre_buffer=not self._local,
                page_checksum_verification=True,
            )
            check_format(parquet.schema_arrow, file.path)
            place = parquet.schema_arrow.get_field_index("arrival_ms")
            for number in range(parquet.num_row_groups):
                statistics = parquet.metadata.row_group(number).column(place).statistics
                if statistics is not None and statistics.has_min_max and statistics.max < from_ms:
                    continue
                table = parquet.read_row_group(number, columns=list(columns))
                table.validate(full=True)  # pages have checksums, what names and counts them has none
                if table.num_rows:
                    yield table.unify_dictionaries().combine_chunks()

    def n_bytes(self, file: ArchivedFile) -> int:
        """How large a file is; 0 where it is gone."""
        with self._complaining("listed"), suppress(FileNotFoundError):
            return int(self._fs.size(self._path(file)))
        return 0

    def unpacked_bytes(self, file: ArchivedFile) -> int:
        """How large what is in a file is before compression; raises ``ArchiveChanged`` where it is gone."""
        with self._complaining("read", file.path), self._open(self._path(file)) as source:
            metadata = pq.ParquetFile(source).metadata
            return sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))

    def remove(self, file: ArchivedFile) -> None:
        """Remove a file; nothing happens where it is gone."""
        with self._complaining("tidied"), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(file))

    def remove_left_over(self, older_than_s: float = LEFT_OVER_S) -> int:
        """Remove what writers that were killed have left; gives how many files there were."""
        n_removed = 0
        with self._complaining("tidied"):
            for path in self._paths():
                name = path.rpartition("/")[2]
                if name.startswith(TEMPORARY_PREFIX) and self._age_s(f"{self._root}/{path}") > older_than_s:
                    with suppress(FileNotFoundError):
                        self._fs.rm_file(f"{self._root}/{path}")
                        n_removed += 1
        return n_removed

    def _path(self, file: ArchivedFile) -> str:
        return f"{self._root}/{file.path}"

    def _paths(self) -> list[str]:
        """Every file below the topic's folder, by its path there."""
        self._fs.invalidate_cache()  # other archivers write there too
        if not self._fs.exists(self._root):
            return []
        # Each file system has its own way to write the root; a file is topic id, day and name below.
        return ["/".join(str(path).split("/")[-3:]) for path in self._fs.find(self._root)]

    def _age_s(self, path: str) -> float:
        try:
            return time.time() - float(self._fs.modified(path).timestamp())
        except (NotImplementedError, FileNotFoundError):
            return 0.0

    def _put(self, rows: Any, temporary: str) -> None:
        """Write and verify: here where the archive is, or here first and then there."""
        if self._local:
            _write_verified(rows, Path(temporary))
            return
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder:
            path = Path(folder) / "rows.parquet"
            _write_verified(rows, path)
            self._fs.put_file(str(path), temporary)
            self._fs.invalidate_cache()
            arrived, sent = int(self._fs.size(temporary)), path.stat().st_size
            if arrived != sent:
                raise ArchiveError(f"archive {self.location}: {arrived} bytes arrived of {sent} sent")

    def _publish(self, temporary: str, target: str) -> None:
        if self._local:
            Path(temporary).replace(target)
            sync(Path(target).parent)
        else:
            self._fs.mv(temporary, target)

    @contextmanager
    def _open(self, path: str) -> Iterator[Any]:
        if self._local:
            with pa.OSFile(path) as source:
                yield source
        else:
            with self._fs.open(path, "rb") as source:
                yield source

    @contextmanager
    def _complaining(self, done: str, path: str = "") -> Iterator[None]:
        """Turn what file systems and Parquet raise into one line, which names the file if it is one."""
        try:
            yield
        except ArchiveError:
            raise
        except FileNotFoundError as error:
            raise ArchiveChanged(f"archive {self.location} has changed: {error_text(error)}") from error
        except Exception as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else None
            place = f"{self.location.rstrip('/')}/{self._topic}/{path}" if path else self.location
            text = reason or error_text(error).splitlines()[0]
            raise ArchiveError(f"archive {place} cannot be {done}: {text}") from error


def check_format(schema: Any, name: str) -> None:
    """Raise ``ArchiveError`` unless this is a file of the archive that this version can read."""
    found = (schema.metadata or {}).get(FORMAT_KEY, b"none").decode()
    if found != FORMAT:
        raise ArchiveError(f"{name} is of archive format {found}, this nextclick reads {FORMAT}")
    if not schema.equals(SCHEMA):
        raise ArchiveError(f"{name} is damaged: its columns are not those of archive format {FORMAT}")


def _write_verified(rows: Any, path: Path) -> None:
    pq.write_table(
        rows,
        path,
        compression="zstd",
        row_group_size=ROWS_IN_GROUP,
        use_dictionary=CODED_COLUMNS,
        dictionary_pagesize_limit=DICTIONARY_BYTES,
        write_page_checksum=True,
    )
    path.chmod(0o644)
    sync(path)
    stored = pq.ParquetFile(path).read()
    for name in SCHEMA.names:
        if not _plain(stored[name]).equals(_plain(rows[name])):
            raise ArchiveError(f"{path}: column {name} reads otherwise than it was written")


def _plain(column: Any) -> Any:
    return column.cast(pa.string()).combine_chunks() if pa.types.is_dictionary(column.type) else column
