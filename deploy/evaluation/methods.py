"""The methods that can be measured, and how each is made from a log.

A method is anything that gives a `Ranker`: for every click the best items with their scores. To add one, put
it into ``METHODS``.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from deploy.progress import ProgressLine
from index.build import build_index
from index.exact import ExactIndex
from model.blend import BlendedRanking
from model.blend_memory import ItemMemory
from model.blend_ranker import BlendRanker
from model.encoder import EncoderConfig, SessionEncoder
from model.encoder_protocol import Encoder
from model.memory_update import go_on
from model.peers.links import (
    ItemLinks,
    LinksRanker,
    association_rules,
    item_neighbours,
    sequential_rules,
)
from model.peers.neighbours import SKNN, STAN, V_SKNN, VSTAN, NeighbourRanker, NeighbourWeights
from model.peers.popularity import SessionPopularRanker
from model.ranking import EncoderRanker, PopularRanker, Ranker, sample_queries
from model.sequences import UNKNOWN, Sequences
from model.training import Progress, TrainingConfig, continue_training, train
from model.vocabulary import Vocabulary
from model.warm_start import with_new_items
from streams.learning import learn_order
from streams.session import STATE_DTYPE


@dataclass(slots=True)
class Fitting:
    """What a method is made from, and what it says about its making.

    Attributes:
        sequences: sessions in the order in which they ended, in rows of the vocabulary.
        ends_ms: when each ended; (n_sessions,)
        vocabulary: the catalogue, by falling popularity.
        seed: of weights, dropout and samples.
        line: where progress is shown.
        n_new: how many of the newest sessions a method that learns on has not seen.
        rows_before: of each item the row that it had before, -1 for a new one; None at the first fit.
        training: figures of the training, for those who ask for them.
        made: what was made already from the same log, by seed: nextclick stands on lstm.
        encoder_config: the network that is trained.
        training_config: how it is trained, with another seed.
    """

    sequences: Sequences
    ends_ms: NDArray[np.int64]
    vocabulary: Vocabulary
    seed: int
    line: ProgressLine
    n_new: int = 0
    rows_before: NDArray[np.int64] | None = None
    training: dict[str, float] = field(default_factory=dict)
    made: dict[int, EncoderRanker] = field(default_factory=dict)
    encoder_config: EncoderConfig = field(default_factory=EncoderConfig)
    training_config: TrainingConfig = field(default_factory=TrainingConfig)

    def seeded_training(self) -> TrainingConfig:
        """How to train with this seed."""
        return replace(self.training_config, seed=self.seed)


Fit = Callable[[Fitting], Ranker]
Learn = Callable[[Ranker, Fitting], Ranker]


@dataclass(frozen=True, slots=True)
class Method:
    """How a ranking is made.

    Attributes:
        fit: from a log.
        learn: from what it was and the newest sessions; None where making it again costs little.
        seeded: whether the seed changes it; others are made once, however many seeds are asked for.
    """

    fit: Fit
    learn: Learn | None = None
    seeded: bool = False


def fit_nextclick(fitting: Fitting) -> Ranker:
    """The ranking as it is served: the LSTM's nearest items and what the links bring, in a learnt order."""
    encoded = fit_lstm(fitting)
    sessions = fitting.sequences.drop_short(2)  # as a trainer does
    order = learn_order(
        sessions,
        len(fitting.vocabulary),
        fitting.encoder_config,
        fitting.seeded_training(),
        on_training=lambda progress: _show(fitting, "training without the newest", progress),
        on_order=lambda: fitting.line.show("learning the order"),
    )
    ranking = order.ranking(sessions)
    return encoded if ranking is None else _blended(encoded, ranking, fitting)


def learn_nextclick(ranker: Ranker, fitting: Fitting) -> Ranker:
    """Go on as a trainer's refresh does: network, new items and links; the order stays."""
    if not isinstance(ranker, BlendRanker):
        return learn_lstm(ranker, fitting)
    memory = _links_counted_on(ranker.ranking.memory, fitting)
    encoded = _continued(ranker.encoder, fitting)
    return _blended(encoded, BlendedRanking(memory, ranker.ranking.blend), fitting)


def _links_counted_on(memory: ItemMemory, fitting: Fitting) -> ItemMemory:
    rows_before = _rows_before(fitting)
    older, newest = _split(fitting.sequences, fitting.n_new)
    counts = np.bincount(older.rows[older.rows != UNKNOWN], minlength=len(fitting.vocabulary))
    known = rows_before >= 0
    counts_before = np.zeros(memory.n_items, dtype=np.int64)
    counts_before[rows_before[known]] = counts[known]
    return go_on(memory, rows_before, counts_before, newest)


def _rows_before(fitting: Fitting) -> NDArray[np.int64]:
    return np.arange(len(fitting.vocabulary)) if fitting.rows_before is None else fitting.rows_before


def _blended(encoded: EncoderRanker, ranking: BlendedRanking, fitting: Fitting) -> Ranker:
    return BlendRanker(encoded.encoder, encoded.search, fitting.vocabulary.counts, ranking, STATE_DTYPE)


def fit_lstm(fitting: Fitting) -> EncoderRanker:
    """The LSTM alone as it is served: index, popular items until one of a session's is known."""
    if (made := fitting.made.get(fitting.seed)) is not None:
        return made
    began = time.perf_counter()
    speed = 0.0

    def show(progress: Progress) -> None:
        nonlocal speed
        speed = progress.clicks_per_s
        _show(fitting, "training lstm", progress)

    encoder = train(
        fitting.sequences,
        len(fitting.vocabulary),
        fitting.encoder_config,
        fitting.seeded_training(),
        on_progress=show,
    )
    seconds = round(time.perf_counter() - began, 2)
    fitting.training |= {"clicks_per_s": round(speed, 1), "seconds": seconds}
    fitting.made[fitting.seed] = _served(encoder, fitting)
    return fitting.made[fitting.seed]


def learn_lstm(ranker: Ranker, fitting: Fitting) -> Ranker:
    """Go through the newest sessions with older ones among them, as a trainer's refresh does."""
    if not isinstance(ranker, EncoderRanker):
        raise TypeError(f"a {type(ranker).__name__} has no weights to go on from")
    return _continued(ranker.encoder, fitting)


def _continued(before: Encoder, fitting: Fitting) -> EncoderRanker:
    if not isinstance(before, SessionEncoder):
        raise TypeError(f"a {type(before).__name__} has no weights to go on from")
    older, newest = _split(fitting.sequences, fitting.n_new)
    # A copy: the ranker that was given may still be asked.
    encoder = with_new_items(before, _rows_before(fitting), newest, fitting.seed)
    config = fitting.seeded_training()
    encoder = continue_training(
        encoder,
        newest,
        config,
        older=older,
        on_progress=lambda progress: _show(fitting, "lstm learns", progress),
    )
    return _served(encoder, fitting)


def _served(encoder: SessionEncoder, fitting: Fitting) -> EncoderRanker:
    fitting.line.show("building the index")
    index = build_index(encoder.item_vectors(), sample_queries(encoder, fitting.sequences))
    return EncoderRanker(encoder, index.search, fitting.vocabulary.counts, STATE_DTYPE)


def scoring_all(ranker: Ranker) -> Ranker | None:
    """The same ranking with every item scored in place of the index; None of a method that has no index."""
    if not isinstance(ranker, EncoderRanker):
        return None
    exact = copy.copy(ranker)
    exact.search = ExactIndex(ranker.encoder.item_vectors()).search
    return exact


def _show(fitting: Fitting, what: str, progress: Progress) -> None:
    note = (
        f"epoch {progress.epoch}/{progress.n_epochs}, loss {progress.loss:.3f}, "
        f"{progress.clicks_per_s:,.0f} clicks/s"
    )
    fitting.line.show(what, progress.clicks_done, progress.clicks_total, note)


def _split(sequences: Sequences, n_new: int) -> tuple[Sequences, Sequences]:
    cut = len(sequences) - n_new
    return sequences.select(0, cut), sequences.select(cut, len(sequences))


def fit_popular(fitting: Fitting) -> Ranker:
    """The most clicked items for everybody."""
    return PopularRanker(fitting.vocabulary.counts)


def fit_session_popular(fitting: Fitting) -> Ranker:
    """What the session itself clicked most often, then what all click most."""
    return SessionPopularRanker(fitting.vocabulary.counts)


def _links(weigh: Callable[[Sequences, int], ItemLinks]) -> Method:
    return Method(lambda fitting: LinksRanker(weigh(fitting.sequences, len(fitting.vocabulary))))


def _neighbours(weights: NeighbourWeights) -> Method:
    def fit(fitting: Fitting) -> Ranker:
        ends_s = fitting.ends_ms / 1000
        return NeighbourRanker(fitting.sequences, ends_s, len(fitting.vocabulary), weights)

    return Method(fit)


METHODS: dict[str, Method] = {
    "nextclick": Method(fit_nextclick, learn_nextclick, seeded=True),
    "lstm": Method(fit_lstm, learn_lstm, seeded=True),
    "popular": Method(fit_popular),
    "session-popular": Method(fit_session_popular),
    "item-knn": _links(item_neighbours),
    "association-rules": _links(association_rules),
    "sequential-rules": _links(sequential_rules),
    "sknn": _neighbours(SKNN),
    "v-sknn": _neighbours(V_SKNN),
    "stan": _neighbours(STAN),
    "vstan": _neighbours(VSTAN),
}
