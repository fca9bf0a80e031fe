"""How many threads the encoder computes with."""

from __future__ import annotations

import torch


def set_threads(n_threads: int) -> None:
    """Threads that torch uses inside an operation, in the whole process; a server wants 1."""
    torch.set_num_threads(n_threads)
