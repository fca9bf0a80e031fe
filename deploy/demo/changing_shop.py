"""The shop of the lifecycle demo: steady before the first snapshot, changing from the first live click on.

What is popular drifts, what people look at next turns into something else kind by kind, and every few seconds
a new item appears that was never there before.
"""

from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np

from deploy.demo.plan import SEED, THINKING_S, Plan
from streams.clickfile import ClickColumns, write_click_file
from streams.shoppers import Habits, drifting, generate_columns

N_ITEMS: Final = 600
N_HISTORY: Final = 12_000
N_NEW: Final = 24
LAUNCH_EVERY_S: Final = 6.0
TURNS_WITHIN: Final = 2.0  # times the stream's length: so much of the shop is another at its end
SPARE: Final = 4.0  # the stream ends when every act is done: there are clicks for so many times as long
START_MS: Final = 1_767_225_600_000  # any moment in the past


def changing_shop(folder: Path, seconds: float, clicks_per_s: float) -> Plan:
    """The history in ``folder``, and a stream of the seconds, and spare clicks behind it."""
    steady_ms = round(1000 * N_HISTORY / clicks_per_s)
    new_items = Habits(n_new_items=N_NEW, launch_every_ms=round(1000 * LAUNCH_EVERY_S), steady_ms=steady_ms)
    habits = drifting(new_items, round(1000 * TURNS_WITHIN * seconds))
    clicks = generate_columns(
        SEED,
        N_HISTORY + round(SPARE * seconds * clicks_per_s),
        n_items=N_ITEMS,
        n_shoppers=max(1, round(clicks_per_s * THINKING_S)),
        clicks_per_s=clicks_per_s,
        start_ms=START_MS,
        habits=habits,
    )
    before = int(np.searchsorted(clicks.time_ms, START_MS + steady_ms))
    history = folder / "history.tsv.gz"
    write_click_file(history, _part(clicks, slice(0, before)))
    now = _part(clicks, slice(before, None))
    due_s = (now.time_ms - START_MS - steady_ms) / 1000
    names = (f"shopper-{session}" for session in now.session_ids)
    return Plan(
        title=f"a changing shop, {N_ITEMS} items and a new one every {LAUNCH_EVERY_S:.0f} s",
        history=history,
        counts=dict(Counter(clicks.item_ids[:before].tolist())),
        stream=list(zip(due_s.tolist(), names, now.item_ids.tolist(), strict=True)),
        seconds=seconds,
        repeat_items="not-last",
        session_gap_minutes=30,
        epochs=4,
        made_up=True,
    )


def _part(clicks: ClickColumns, chosen: slice) -> ClickColumns:
    return ClickColumns(clicks.session_ids[chosen], clicks.item_ids[chosen], clicks.time_ms[chosen])
