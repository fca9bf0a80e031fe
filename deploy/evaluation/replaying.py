"""Predict, then learn: the test file replayed in slices, with and without learning from it.

Every slice is foretold twice, by the method as it was first made and by the method that has learnt from all
sessions that ended before the slice. What lies between the two curves is what learning on is worth.
"""

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.evaluation.comparing import Means, add_certainty, fit, mean
from deploy.evaluation.methods import METHODS, Fitting, Method
from deploy.evaluation.terms import EvaluationError, Terms, Unknown
from deploy.progress import ProgressLine
from model.encoder_config import EncoderConfig
from model.evaluation import Measurement, measure
from model.metrics import Accuracy
from model.prequential import Catalogue, Slice, Stream
from model.ranking import EncoderRanker, Ranker
from model.sequences import Sequences
from model.training import TrainingError
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns
from streams.sequencing import cut_with_ends, cut_with_times

LEARNING, FROZEN = "learning", "frozen"


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """All that happens, in rows of a vocabulary of all items; more of it is known at every slice."""

    items: Vocabulary
    encoder: EncoderConfig
    past: Sequences
    past_ends_ms: NDArray[np.int64]
    stream: Stream

    @classmethod
    def read(cls, train_clicks: ClickColumns, test_clicks: ClickColumns, terms: Terms) -> "History":
        """Cut both files; items outside the train file are dropped, or kept until they are learnt."""
        ids = train_clicks.item_ids
        if terms.unknown is Unknown.MISS:
            ids = np.concatenate([ids, test_clicks.item_ids])
        items = Vocabulary.from_clicks(ids)
        coder = terms.coder(train_clicks)
        past, past_ends_ms = cut_with_ends(train_clicks, items, terms.gap_ms, coder)
        whole = Stream.of(*cut_with_times(test_clicks, items, terms.gap_ms, coder))
        stream = whole.drop_unknown().drop_short(2)
        if stream.sequences.n_targets == 0:
            raise EvaluationError("the test file holds no session with two clicks on items of the train file")
        return cls(items, terms.encoder_for(coder), past, past_ends_ms, stream)

    def until(self, n_ended: int) -> tuple[Sequences, NDArray[np.int64]]:
        """The past and the first sessions of the stream, and when each ended."""
        newer = self.stream.sequences.select(0, n_ended)
        ends_ms = np.concatenate([self.past_ends_ms, self.stream.ends_ms[:n_ended]])
        return Sequences.concatenate(self.past, newer), ends_ms


@dataclass(slots=True)
class Way:
    """What one way of going on achieved: slice by slice, and all together."""

    total: Measurement
    curve: list[Accuracy] = field(default_factory=list)

    def add(self, part: Slice, found: Measurement) -> None:
        """Count a slice."""
        self.curve.append(found.accuracy())
        self.total.targets[part.sessions] += found.targets
        self.total.sums[part.sessions] += found.sums


def replay(
    train_clicks: ClickColumns,
    test_clicks: ClickColumns,
    methods: list[str],
    terms: Terms,
    n_slices: int,
    line: ProgressLine,
) -> dict[str, Any]:
    """Replay the test file; the command's JSON object."""
    history = History.read(train_clicks, test_clicks, terms)
    slices = list(history.stream.slices(n_slices))
    measured: dict[str, Any] = {}
    n_items: list[int] = []
    for name in methods:
        run = _Replay(name, METHODS[name], history, terms, line)
        for number, part in enumerate(slices, start=1):
            run.learn(part, f"{number} of {len(slices)}")
            run.foretell(part)
        measured[name], n_items = run.figures(), run.n_items
    return {
        "targets": history.stream.sequences.n_targets,
        "sessions": len(history.stream.sequences),
        "k": terms.k,
        "seeds": list(terms.seeds),
        "slices": [
            {"begin_ms": part.begin_ms, "targets": part.n_targets, "ended": part.n_ended, "items": n}
            for part, n in zip(slices, n_items, strict=True)
        ],
        "methods": measured,
        "training": next((found["training"] for found in measured.values() if found["training"]), {}),
    }


class _Replay:
    """One method on its way through the stream."""

    def __init__(self, name: str, method: Method, history: History, terms: Terms, line: ProgressLine) -> None:
        n_sessions = len(history.stream.sequences)
        self.n_items: list[int] = []
        self._name, self._method = name, method
        self._history, self._terms, self._line = history, terms, line
        self._ways = {way: Way(Measurement.nothing(n_sessions, terms.k)) for way in (LEARNING, FROZEN)}
        self._rankers: dict[str, tuple[Ranker, Catalogue]] = {}
        self._learn_seconds: list[float] = []
        self._training: dict[str, float] = {}
        self._n_learnt = 0

    def learn(self, part: Slice, where: str) -> None:
        """Bring the method to where it may be before the slice; the first time it is made."""
        began = time.perf_counter()
        history = self._history
        # At the first slice nothing but the train file is known.
        n_ended = part.n_ended if self._rankers else 0
        sequences, ends_ms = history.until(n_ended)
        catalogue = Catalogue.of(sequences, len(history.items))
        vocabulary = Vocabulary(
            [history.items.item_id(i) for i in catalogue.items.tolist()], catalogue.counts
        )
        fitting = Fitting(
            catalogue.encode(sequences), ends_ms, vocabulary, self._terms.seeds[0], self._line, training={}
        )
        fitting.encoder_config, fitting.training_config = history.encoder, self._terms.training
        self._line.show(f"{self._name}, slice {where}")
        if not self._rankers:
            first = (fit(self._name, self._method, fitting), catalogue)
            self._rankers = {LEARNING: first, FROZEN: first}
            self._training = fitting.training
        else:
            self._rankers[LEARNING] = (self._go_on(fitting, catalogue, n_ended), catalogue)
            self._learn_seconds.append(round(time.perf_counter() - began, 2))
        self._n_learnt = n_ended
        self.n_items.append(len(vocabulary))

    def _go_on(self, fitting: Fitting, catalogue: Catalogue, n_ended: int) -> Ranker:
        if self._method.learn is None:
            return fit(self._name, self._method, fitting)
        ranker, before = self._rankers[LEARNING]
        fitting.n_new = n_ended - self._n_learnt
        fitting.rows_before = before.row_of[catalogue.items]
        try:
            return self._method.learn(ranker, fitting)
        except TrainingError as error:
            raise EvaluationError(f"{self._name} cannot learn on: {error}") from error

    def foretell(self, part: Slice) -> None:
        """Measure both ways on the slice."""
        sessions = self._history.stream.sequences.take(part.sessions)
        rule = self._terms.repeat_items.value
        found: dict[int, Measurement] = {}  # both ways are one ranker until something was learnt
        for way, (ranker, catalogue) in self._rankers.items():
            if id(ranker) not in found:
                encoded = catalogue.encode(sessions)
                what = f"foretelling slice {len(self.n_items)}"
                measured = measure(
                    ranker,
                    encoded,
                    self._terms.k,
                    (rule,),
                    self._terms.ties.ranks,
                    as_served=isinstance(ranker, EncoderRanker),
                    counted=part.counted,
                    on_progress=partial(self._line.show, what, total=encoded.n_targets),
                )
                found[id(ranker)] = measured[rule]
            self._ways[way].add(part, found[id(ranker)])

    def figures(self) -> dict[str, Any]:
        """What the command tells of the method."""
        targets = self._ways[LEARNING].total.targets
        means = [Means(way, of.total.sums) for way, of in self._ways.items()]
        told: dict[str, Any] = {
            way: mean([of.total.accuracy()]) | {"curve": [mean([own]) for own in of.curve]}
            for way, of in self._ways.items()
        }
        (gain,) = add_certainty(told, means, targets, self._terms.k)
        return told | {
            "gain": {name: gain[name] for name in gain if "@" in name},
            "learn_seconds": self._learn_seconds,
            "training": self._training,
        }
