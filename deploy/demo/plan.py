"""What a demo shows: the clicks before it, the clicks during it, and the rules that both are judged by.

Either shoppers are made up, or a folder of real clicks is replayed: ``train.tsv.gz`` is what happened
before, the sessions of ``test.tsv.gz`` happen now, squeezed into the time there is.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from streams.clickfile import ClickColumns, read_click_file, write_click_file
from streams.shoppers import generate_columns

N_ITEMS: Final = 600  # ten colours of sixty kinds
N_HISTORY: Final = 40_000
THINKING_S: Final = 3.0  # between two clicks of a shopper; real sessions are squeezed to at most this
SEED: Final = 7
MOST_CLICKS_PER_S: Final = 500.0
CLICK_PASSES: Final = 420_000  # clicks times epochs that a first training may take: some 25 s
LEAST_EPOCHS: Final = 4  # fewer cost .02 of Recall@20 and more

Click = tuple[float, str, str]  # seconds after the start, session, item


@dataclass(frozen=True, slots=True)
class Plan:
    """The clicks of a demo, and the rules that go with them."""

    title: str
    history: Path  # what the trainer starts from
    counts: dict[str, int]  # clicks per item of the history
    stream: list[Click]  # in order of time
    seconds: float  # how long it is meant to last
    repeat_items: str
    session_gap_minutes: float
    epochs: int
    made_up: bool  # item ids are words, and there is no end of clicks
    note: str = ""  # what the summary has to say about the stream

    def write_for_front_end(self, folder: Path, seconds: float) -> None:
        """Write the stream, to last ``seconds``, and what the front end has to know of the history."""
        folder.mkdir(exist_ok=True)
        factor = seconds / self.seconds
        lines = (f"{due_s * factor:.4f}\t{session}\t{item}\n" for due_s, session, item in self.stream)
        with (folder / "stream.tsv").open("w", encoding="utf-8") as out:
            out.writelines(lines)
        (folder / "counts.json").write_text(json.dumps(self.counts), encoding="utf-8")


def make_up(folder: Path, seconds: float, clicks_per_s: float) -> Plan:
    """Shoppers of a made-up shop: the history in ``folder``, and a stream of ``seconds``."""
    n_stream = max(2, round(seconds * clicks_per_s))
    clicks = generate_columns(
        SEED,
        N_HISTORY + n_stream,
        n_items=N_ITEMS,
        n_shoppers=max(1, round(clicks_per_s * THINKING_S)),
        clicks_per_s=clicks_per_s,
        start_ms=1_767_225_600_000,  # any moment in the past: histories are trained on whatever their age
    )
    before = ClickColumns(*(column[:N_HISTORY] for column in _columns(clicks)))
    sessions, items, time_ms = (column[N_HISTORY:] for column in _columns(clicks))
    history = folder / "history.tsv.gz"
    write_click_file(history, before)
    # Shoppers who are in the shop when the demo begins come as new sessions: what they did before is history.
    names = (f"shopper-{session}" for session in sessions)
    due_s = (time_ms - time_ms[0]) / 1000
    return Plan(
        title=f"made-up shoppers, {N_ITEMS} items",
        history=history,
        counts=dict(Counter(before.item_ids.tolist())),
        stream=list(zip(due_s.tolist(), names, items.tolist(), strict=True)),
        seconds=seconds,
        repeat_items="not-last",
        session_gap_minutes=30,
        epochs=4,
        made_up=True,
    )


def _columns(clicks: ClickColumns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return clicks.session_ids, clicks.item_ids, clicks.time_ms


def replay_real(data: Path, seconds: float) -> Plan:
    """Real clicks of a folder, by the rules of ``nextclick evaluate``: all repeats, no gap cuts a session.

    Where the test file has more clicks than 500 a second, every n-th of its sessions is taken.
    """
    history = read_click_file(data / "train.tsv.gz")
    test = read_click_file(data / "test.tsv.gz")
    sessions = _sessions(test)
    every = max(1, int(np.ceil(len(test) / (seconds * MOST_CLICKS_PER_S))))
    taken = sessions[::every]
    note = f"the stream is one in {every} of the {len(sessions):,} test sessions" if every > 1 else ""
    return Plan(
        title=f"{data.resolve().name}: {sum(len(items) for _, items in taken):,} real clicks",
        history=(data / "train.tsv.gz").resolve(),
        counts=dict(Counter(history.item_ids.tolist())),
        stream=squeeze(taken, seconds),
        seconds=seconds,
        repeat_items="all",
        session_gap_minutes=1e9,
        epochs=int(np.clip(CLICK_PASSES // len(history), LEAST_EPOCHS, 8)),
        made_up=False,
        note=note,
    )


def _sessions(clicks: ClickColumns) -> list[tuple[str, list[str]]]:
    """Each session's items, sessions in the order in which they begin."""
    items: dict[str, list[str]] = {}
    for session, item in zip(clicks.session_ids, clicks.item_ids, strict=True):
        items.setdefault(session, []).append(item)
    return list(items.items())


def squeeze(sessions: list[tuple[str, list[str]]], seconds: float) -> list[Click]:
    """Give sessions new times that fit into ``seconds``: begun in their order, clicks at a steady rate.

    A session's clicks are about as far apart as shoppers think, closer where it has many: its own order
    stays, and an answer has time to arrive before the next click. Ids get a prefix, because the same id
    may stand in the history and would be the same session.
    """
    clicks: list[Click] = []
    for n, (session, items) in enumerate(sessions):
        gap_s = min(THINKING_S, seconds / len(items))
        start_s = n / len(sessions) * (seconds - (len(items) - 1) * gap_s)
        clicks += [(start_s + place * gap_s, f"now-{session}", item) for place, item in enumerate(items)]
    clicks.sort(key=lambda click: click[0])
    between_s = seconds / len(clicks)
    return [(n * between_s, session, item) for n, (_, session, item) in enumerate(clicks)]
