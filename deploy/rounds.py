"""What goes on for ever, round after round: one that fails is told in a line, and the next one comes."""

import logging
import sys

from streams.errors import NextclickError

_log = logging.getLogger(__name__)


def complain(line: str) -> None:
    """One line on stderr, as of a command that failed."""
    print(f"nextclick: {' '.join(line.split())}", file=sys.stderr, flush=True)


def tell_failed(error: Exception) -> None:
    """Tell why a round came to nothing; to be called where the error is handled."""
    if isinstance(error, NextclickError):
        complain(f"this round failed: {error}")
        return
    _log.debug("a round failed", exc_info=True)
    complain(f"this round failed: unexpected {type(error).__name__}: {error}")
