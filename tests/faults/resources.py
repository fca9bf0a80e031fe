"""What a process takes of the machine, as the kernel counts it (Linux)."""

import os
from pathlib import Path


def cpu_s(pid: int) -> float:
    """CPU time of all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files(pid: int) -> tuple[int, int]:
    """How many descriptors are open of databases, and how many of all else: sockets, logs, pipes."""
    of_databases = others = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue  # closed meanwhile
        if ".db/" in target:
            of_databases += 1
        else:
            others += 1
    return of_databases, others
