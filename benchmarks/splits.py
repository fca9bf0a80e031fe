"""Logs cut in an older part to train on and a newer one to measure on, for choosing among ways to train.

Only training files are cut; the test files are for `nextclick evaluate`. Sessions that end last are the newer
part. Made-up shoppers stand beside the public logs: another size, another length of session.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.encoder_context import ContextCoder
from model.sequences import Sequences
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns, Columns, read_click_file
from streams.sequencing import cut_sessions
from streams.shoppers import generate_columns

TRIVAGO: Final = Columns("session_id", "item_id", "timestamp", "event_type")
SEED: Final = 20_261_122

Parts = tuple[ClickColumns, ClickColumns]


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a log, in rows of the older part's items; of the newer, what it can foretell."""

    vocabulary: Vocabulary
    coder: ContextCoder
    older: Sequences
    newer: Sequences

    @classmethod
    def read(cls, log: str, folder: Path) -> "Split":
        """One of ``LOGS``, from the folder of the public ones."""
        older, newer = LOGS[log](folder)
        vocabulary = Vocabulary.from_clicks(older.item_ids)
        coder = ContextCoder.fit(older.each_kind())
        sessions, held_out = (cut_sessions(part, vocabulary, None, coder) for part in (older, newer))
        return cls(vocabulary, coder, sessions.drop_short(2), held_out.drop_unknown(min_length=2))


def newest_apart(clicks: ClickColumns, share: float) -> Parts:
    """The older clicks, and those of the share of the sessions that ends last."""
    ends = {session_id: place for place, session_id in enumerate(clicks.session_ids)}
    by_end = sorted(ends, key=ends.__getitem__)
    newest = set(by_end[len(by_end) - round(len(by_end) * share) :])
    is_newest = np.array([session_id in newest for session_id in clicks.session_ids])
    return _part(clicks, ~is_newest), _part(clicks, is_newest)


def _part(clicks: ClickColumns, chosen: Any) -> ClickColumns:
    kinds = None if clicks.kinds is None else clicks.kinds[chosen]
    return ClickColumns(clicks.session_ids[chosen], clicks.item_ids[chosen], clicks.time_ms[chosen], kinds)


def _yoochoose100k(folder: Path) -> Parts:
    log = folder / "yoochoose100k"
    return read_click_file(log / "train_tr.tsv.gz"), read_click_file(log / "train_valid.tsv.gz")


def _training_file(name: str, newest: float = 1.0) -> Callable[[Path], Parts]:
    """The newest tenth of a training file's sessions apart, or of its newest sessions."""

    def read(folder: Path) -> Parts:
        clicks = read_click_file(folder / name / "train.tsv.gz")
        return newest_apart(clicks if newest == 1.0 else newest_apart(clicks, newest)[1], 0.1)

    return read


def _trivago(folder: Path) -> Parts:
    return newest_apart(read_click_file(folder / "trivago" / "events.csv.gz", TRIVAGO), 0.2)


def _shoppers(n_clicks: int, n_items: int) -> Callable[[Path], Parts]:
    # As many shoppers as make the clicks a day's, so that some fashion passes and nobody goes through it all.
    def read(folder: Path) -> Parts:
        n_shoppers = max(n_clicks // 500, 20)
        shop = generate_columns(
            SEED, n_clicks, n_items=n_items, n_shoppers=n_shoppers, clicks_per_s=n_clicks / 86_400
        )
        return newest_apart(shop, 0.1)

    return read


LOGS: Final[Mapping[str, Callable[[Path], Parts]]] = {
    "yoochoose100k": _yoochoose100k,
    "serenade": _training_file("serenade"),
    "yoochoose64": _training_file("yoochoose64"),
    "yoochoose64, newest quarter": _training_file("yoochoose64", 0.25),
    "trivago": _trivago,
    "shoppers, 10,000 clicks": _shoppers(10_000, 500),
    "shoppers, 60,000 clicks": _shoppers(60_000, 2_000),
    "shoppers, 100,000 items": _shoppers(600_000, 120_000),
}
"""By name; each gives the older and the newer clicks."""
