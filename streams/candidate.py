"""What a training cycle makes before anybody may serve it, and the clicks that it is made of."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from index.protocol import ItemIndex
from model.blend import BlendedRanking
from model.blend_memory import ItemMemory
from model.encoder import SessionEncoder
from model.sequences import Sequences
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns
from streams.gate import Ground, Trial, choose_ground
from streams.manifest import TrainingWindow
from streams.sequencing import cut_places, in_rows_of
from streams.snapshot import Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """Clicks that were read, cut into sessions of two clicks or more, in the order in which these ended.

    Attributes:
        clicks: in order of arrival.
        arrival_ms: of each click; 0 of those from files, which are older than any of the topic.
        places: the sessions' clicks as places in the columns.
    """

    clicks: ClickColumns
    arrival_ms: NDArray[np.int64]
    places: Sequences

    @classmethod
    def cut(cls, clicks: ClickColumns, arrival_ms: NDArray[np.int64], gap_ms: int) -> Self:
        """Cut them where a worker would."""
        return cls(clicks, arrival_ms, cut_places(clicks, gap_ms).drop_short(2))

    @property
    def ended_ms(self) -> NDArray[np.int64]:
        """Arrival of each session's last click, rising; (n_sessions,)"""
        return self.arrival_ms[self.places.rows[self.places.starts[1:] - 1]]

    def n_ended(self, until_ms: int) -> int:
        """How many sessions had ended by then."""
        return int(np.searchsorted(self.ended_ms, until_ms, side="right"))

    def items_since(self, serving: Snapshot) -> NDArray[np.object_]:
        """Items of the clicks that have come since a snapshot was made; of all where it does not say when."""
        until_ms = serving.manifest.provenance.window.until_ms
        return self.clicks.item_ids if until_ms is None else self.clicks.item_ids[self.arrival_ms > until_ms]

    def ground(self, serving: TrainingWindow | None) -> Ground:
        """On which sessions a candidate made of this log is compared with what serves."""
        began_ms = self.arrival_ms[self.places.rows[self.places.starts[:-1]]]
        return choose_ground(began_ms, self.ended_ms, self.places.lengths - 1, serving)

    def rows_for(self, snapshot: Snapshot, sessions: NDArray[np.int64]) -> Sequences:
        """Some sessions as a snapshot sees them."""
        coder = snapshot.encoder.context_coder()
        return in_rows_of(snapshot.vocabulary, self.clicks, self.places.take(sessions), coder)

    def trial(
        self, candidate: Snapshot, serving: Snapshot, ground: Ground, blind: ItemMemory | None
    ) -> Trial | None:
        """What the gate compares by; None where there is no session for it."""
        if len(ground.chosen) == 0:
            return None
        theirs, ours = self.rows_for(serving, ground.chosen), self.rows_for(candidate, ground.chosen)
        return Trial(serving, ours, theirs, ground.seen, blind)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """The parts of a snapshot to be.

    Attributes:
        encoder, vocabulary, index, ranking: see ``Snapshot``.
        sessions: all of the log in its rows.
        blind: its links before they counted the sessions that the gate compares by; None where it learnt
            from these, or has no links.
    """

    encoder: SessionEncoder
    vocabulary: Vocabulary
    index: ItemIndex
    ranking: BlendedRanking | None
    sessions: Sequences
    blind: ItemMemory | None
