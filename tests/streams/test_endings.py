"""How a worker ended is told by the one that comes after."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from streams.endings import EXIT_PAUSED, EXIT_STUCK, Ending, end_process, noted_ending


def ending_noted_by_the_next(folder: Path) -> Ending | None:
    with noted_ending(folder) as last:
        return last


def test_the_first_worker_of_a_folder_has_none_before_it(tmp_path: Path) -> None:
    assert ending_noted_by_the_next(tmp_path) is None


def test_a_clean_end_and_a_crash(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), noted_ending(tmp_path):
        raise ZeroDivisionError
    assert ending_noted_by_the_next(tmp_path) is Ending.CRASHED
    assert ending_noted_by_the_next(tmp_path) is Ending.CLEAN


def _end_by(folder: Path, code: int) -> None:
    with noted_ending(folder):
        if code < 0:
            os.kill(os.getpid(), -code)
        end_process(folder, code)


@pytest.mark.parametrize(
    ("code", "ending"),
    [(EXIT_STUCK, Ending.STUCK), (EXIT_PAUSED, Ending.PAUSED), (-signal.SIGKILL, Ending.KILLED)],
)
def test_a_process_that_cannot_report_it_any_more(tmp_path: Path, code: int, ending: Ending) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_end_by, args=(tmp_path, code))
    process.start()
    process.join()
    assert process.exitcode == code
    assert ending_noted_by_the_next(tmp_path) is ending


@pytest.mark.parametrize("content", [b"", b"\xff", b"half a wo"])
def test_a_damaged_note_counts_as_killed_or_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ending").write_bytes(content)
    assert ending_noted_by_the_next(tmp_path) in (None, Ending.KILLED)
