"""Clicks on items that the model has never seen, replayed in order through the recommender itself.

Two ways to get such clicks from a public log: train on its older part and replay what comes after, as in a
shop that is retrained too seldom; or take every tenth item out of training, however popular, as if all of
these had just been launched.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from index.build import build_index
from model.encoder import EncoderConfig
from model.ranking import sample_queries
from model.training import TrainingConfig, train
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns, read_click_file
from streams.events import Click
from streams.fresh import FreshItems, FreshRules
from streams.learning import learn_order
from streams.ranking import Ranking
from streams.recommender import Arrival, Recommender, RepeatItems, SessionRef
from streams.sequencing import cut_sessions
from streams.session import Session
from streams.shoppers import Habits, generate_columns
from streams.snapshot import Provenance, Snapshot, save_snapshot

SEED: Final = 20_261_122
BATCH: Final = 20
LEFT_OUT: Final = 0.1

Parts = tuple[ClickColumns, ClickColumns]
"""Clicks to train on, and to replay."""


def part(clicks: ClickColumns, chosen: Any) -> ClickColumns:
    """Some of the clicks."""
    return ClickColumns(clicks.session_ids[chosen], clicks.item_ids[chosen], clicks.time_ms[chosen])


def later(clicks: ClickColumns, share: float) -> Parts:
    """The older share of the clicks, and those that come after."""
    cut = round(len(clicks) * share)
    return part(clicks, slice(0, cut)), part(clicks, slice(cut, None))


def launched(older: ClickColumns, newer: ClickColumns) -> Parts:
    """The older clicks without those on a tenth of all items, and all newer ones."""
    names = np.unique(np.concatenate([older.item_ids, newer.item_ids]).astype(str))
    rng = np.random.default_rng(SEED)
    left_out = set(rng.choice(names, round(len(names) * LEFT_OUT), replace=False).tolist())
    known = np.array([item_id not in left_out for item_id in older.item_ids])
    return part(older, known), newer


def _file(folder: Path, log: str, name: str) -> ClickColumns:
    return read_click_file(folder / log / f"{name}.tsv.gz")


def _shoppers(folder: Path) -> Parts:
    habits = Habits(n_new_items=100, launch_every_ms=60_000)  # one a minute
    return later(generate_columns(SEED, 80_000, n_items=1_000, clicks_per_s=10.0, habits=habits), 0.5)


LOGS: Final[Mapping[str, Callable[[Path], Parts]]] = {
    "serenade, the last fifth": lambda folder: later(_file(folder, "serenade", "train"), 0.8),
    "yoochoose100k, the last third": lambda folder: later(_file(folder, "yoochoose100k", "train"), 2 / 3),
    "yoochoose100k, a tenth of the items left out": lambda folder: launched(
        _file(folder, "yoochoose100k", "train"), _file(folder, "yoochoose100k", "test")
    ),
    "shoppers, a new item every minute": _shoppers,
}
"""By name; the training files only where one will do."""


def snapshot_of(clicks: ClickColumns, folder: Path, training: TrainingConfig) -> Snapshot:
    """A snapshot as the trainer makes it."""
    vocabulary = Vocabulary.from_clicks(clicks.item_ids)
    sessions = cut_sessions(clicks, vocabulary, None).drop_short(2)
    order = learn_order(sessions, len(vocabulary), EncoderConfig(), training)
    encoder = train(sessions, len(vocabulary), EncoderConfig(), training)
    index = build_index(encoder.item_vectors(), sample_queries(encoder, sessions))
    ranking = order.ranking(sessions)
    return save_snapshot(str(folder.absolute()), encoder, vocabulary, index, Provenance(), ranking=ranking)


@dataclass
class Hits:
    """Targets of one kind: how many, how many in the first 20, and the sum of 1 / rank."""

    targets: int = 0
    hits: int = 0
    reciprocal_ranks: float = 0.0

    def note(self, items: list[str], target: str) -> None:
        """Count one."""
        self.targets += 1
        if target in items:
            self.hits += 1
            self.reciprocal_ranks += 1 / (items.index(target) + 1)

    @property
    def recall(self) -> float:
        """Share of the targets in the first 20."""
        return self.hits / max(1, self.targets)

    @property
    def mrr(self) -> float:
        """Mean of 1 / rank, 0 past 20."""
        return self.reciprocal_ranks / max(1, self.targets)


@dataclass
class Replayed:
    """What a replay came to."""

    known: Hits = field(default_factory=Hits)
    new: Hits = field(default_factory=Hits)
    new_to_session: Hits = field(default_factory=Hits)  # new items that the session has not clicked itself
    n_shown: int = 0  # places of lists
    n_fresh: int = 0  # of these with an item that the snapshot does not know

    @property
    def all(self) -> Hits:
        """Every target."""
        return Hits(
            self.known.targets + self.new.targets,
            self.known.hits + self.new.hits,
            self.known.reciprocal_ranks + self.new.reciprocal_ranks,
        )


def replay(
    snapshot: Snapshot,
    clicks: ClickColumns,
    ranking: Ranking = Ranking.NEXTCLICK,
    rules: FreshRules | None = None,
) -> Replayed:
    """Answer the clicks in order, in small batches, learning from each batch before the next; count targets.

    Without ``rules`` no fresh items are recommended. Every click but a session's first is a target of the
    list before it; repeats are allowed.
    """
    fresh = None if rules is None else FreshItems(snapshot, rules)
    recommender = Recommender(
        snapshot, ranking=ranking, repeat_items=RepeatItems.ALL, gap_ms=10**15, fresh=fresh
    )
    found, sessions = Replayed(), dict[SessionRef, Session]()
    lists: dict[str, list[str]] = {}
    clicked: dict[str, set[str]] = defaultdict(set)
    known = snapshot.vocabulary
    for batch in _arrivals(clicks):
        answers = recommender.answer(batch, sessions, created_ms=0)
        sessions |= answers.sessions
        if fresh is not None:
            fresh.learn(answers.folded)
        for answer in answers.recommendations:
            session_id, target = answer.session_id, answer.click.item_id
            if (items := lists.get(session_id)) is not None:
                (found.known if target in known else found.new).note(items, target)
                if target not in known and target not in clicked[session_id]:
                    found.new_to_session.note(items, target)
            clicked[session_id].add(target)
            lists[session_id] = items = [item.item_id for item in answer.items]
            found.n_shown += len(items)
            found.n_fresh += sum(item not in known for item in items)
    return found


def _arrivals(clicks: ClickColumns) -> list[list[Arrival]]:
    times: NDArray[np.int64] = np.arange(1, len(clicks) + 1)  # some logs have no real ones
    arrivals = [
        Arrival(Click(session_id, item_id, time_ms), 0, time_ms, time_ms)
        for session_id, item_id, time_ms in zip(
            clicks.session_ids.tolist(), clicks.item_ids.tolist(), times.tolist(), strict=True
        )
    ]
    return [arrivals[begin : begin + BATCH] for begin in range(0, len(arrivals), BATCH)]
