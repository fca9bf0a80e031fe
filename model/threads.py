"""How many threads the encoder computes with."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_limits


def set_threads(n_threads: int) -> None:
    """Threads that torch and NumPy use inside an operation, in the whole process; a server wants 1."""
    torch.set_num_threads(n_threads)
    # NumPy has no call for it. Its products' idle threads spin for what comes next: half a core for nothing.
    threadpool_limits(n_threads, user_api="blas")
