"""How many threads torch may use: a choice of the process, not of the model."""

import torch


def set_threads(n_threads: int) -> None:
    """Let torch compute with this many threads from now on, and flush denormal numbers to zero.

    A trained LSTM's gates saturate; without the flush an epoch on a CPU can take many times as long.
    """
    torch.set_num_threads(n_threads)
    torch.set_flush_denormal(True)
