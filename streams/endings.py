"""How the worker before this one ended: a word in its folder, told as a metric by the one that comes after.

A process that ends itself, or is killed, cannot report it any more.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

EXIT_STUCK: Final = 70
EXIT_PAUSED: Final = 71

_FILE: Final = "ending"
_RUNNING: Final = "running"
_log = logging.getLogger(__name__)


class Ending(StrEnum):
    """How a worker ended."""

    CLEAN = "clean"  # as asked
    CRASHED = "crashed"  # an unexpected error, or it could not start
    STUCK = "stuck"  # it stood still, its topic was made anew, or Kafka did not let it stop
    PAUSED = "paused"  # it was stopped for so long that its partitions may be another's
    KILLED = "killed"  # it could not say: kill -9, out of memory, a crash of a library, of the host


_BY_CODE: Final = {EXIT_STUCK: Ending.STUCK, EXIT_PAUSED: Ending.PAUSED}


@contextmanager
def noted_ending(folder: Path) -> Iterator[Ending | None]:
    """Give how the last worker of this folder ended, None if it is the first, and note how the body does."""
    try:
        word = (folder / _FILE).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        last = None
    else:
        last = Ending(word) if word in set(Ending) else Ending.KILLED
    _note(folder, _RUNNING)
    try:
        yield last
    except BaseException:
        _note(folder, Ending.CRASHED)
        raise
    _note(folder, Ending.CLEAN)


def end_process(folder: Path, code: int) -> None:
    """End the process at once, with this exit code and a note of why; for a worker that must not go on."""
    _note(folder, _BY_CODE[code])
    logging.shutdown()
    os._exit(code)


def _note(folder: Path, word: str) -> None:
    try:
        (folder / _FILE).write_text(word, encoding="ascii")
    except OSError as error:  # a full disk is no reason not to end
        _log.debug("how this worker ends could not be noted: %s", error)
