"""Sharing a machine with workers: what computes for long waits passively, is nice and leaves a core free.

Imports nothing heavy: the waiting must be set before torch and FAISS are loaded.
"""

import os
from contextlib import suppress
from typing import Final

NICENESS: Final = 10


def be_considerate() -> int:
    """Wait passively, give way, leave a core free; gives the number of threads to use.

    OpenMP reads its environment when it is loaded, with torch or FAISS: to be called before. Being nice is
    not enough where a worker shares the cores: a nice process still finishes its time slice, 3 ms each time
    that a click passes from process to process. An idle-class one gives way at once.
    """
    os.environ["OMP_WAIT_POLICY"] = "passive"
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        give_way()
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, n_cores - 1)


def give_way() -> None:
    """Be nice."""
    os.nice(max(0, NICENESS - os.nice(0)))
