"""Ask the C library to keep freed memory, or to give it back.

Training frees and takes the same large blocks at every step. glibc gives blocks from 128 KB on back to the
kernel at once, and the kernel then clears each page again when it is next touched; with a softmax over some
thousand items that was most of a step's time. Kept memory is bounded by the training's own peak.

Serving frees a whole snapshot at a swap, in pieces that lie between others: those glibc would keep.
Elsewhere than on glibc nothing is done.
"""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_KEEP_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Stop this process from giving freed memory back; returns whether that could be arranged."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES))


def return_freed_memory() -> bool:
    """Give memory that is free back to the system, wherever it lies; returns whether any was."""
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).malloc_trim(0))
