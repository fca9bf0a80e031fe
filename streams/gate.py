"""The gate: whether a candidate may serve, by what it and the serving snapshot answer to the same sessions.

A fair comparison needs sessions that neither has seen. They are there as soon as clicks have come since the
serving snapshot was made: of these the newest are kept from the candidate's network (its links count them
only after the comparison). Where too few have come, both answer sessions that both have learnt from: that
cannot tell which of two sound models is better, and it finds a broken one as surely.

Refused is what is worse both beyond chance and by more than does not matter, and what breaks a bound. That a
bundle's parts belong together is checked before, when it is read back.
"""

import time
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from index.exact import ExactIndex
from index.recall import recall_against_exact
from model.blend import BlendedRanking
from model.blend_memory import ItemMemory
from model.blend_ranker import BlendRanker
from model.bootstrap import Comparison, compare, draw_means
from model.evaluation import LENGTHS, Measurement, measure
from model.ranking import EncoderRanker, Ranker, sample_queries
from model.sequences import Sequences
from streams.manifest import LengthFigures, TrainingWindow, Verdict
from streams.session import STATE_DTYPE
from streams.snapshot import Snapshot

K: Final = 20
FEWEST_TARGETS: Final = 400
"""With fewer in the clicks since the serving snapshot, sessions are taken that both have learnt from."""
MOST_TARGETS: Final = 2_000
"""A difference of .02 shows in so many, and no more are kept from the candidate."""
FEWEST_SESSIONS: Final = 30
"""Sessions are what chance draws: of fewer a paired bootstrap says little, however many clicks they hold."""
LONG_SESSION: Final = 40
"""A session with more targets does not decide, where that is unusual: a robot's would be most of them."""
TIMES_USUAL: Final = 4
"""Where sessions are long, one is too long that has so many times the targets of the one in the middle."""
TIMED_CLICKS: Final = 40
_RULE: Final = "all"
NETWORK: Final = "network recall@20"
"""Recall of the network's own order: links and blend make good much of what a broken network spoils."""
_COLUMNS: Final = {"recall@20": 0, "mrr@20": 1}  # in a measurement's sums
_TITLES: Final = {"recall@20": "Recall@20", "mrr@20": "MRR@20", NETWORK: "Recall@20 of its network alone"}
UNSEEN: Final = "the newest sessions, which neither has seen"
SEEN: Final = "sessions that both have learnt from: too few clicks have come since"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a candidate must keep to.

    Attributes:
        max_loss: share of the serving snapshot's Recall@20 and MRR@20 that it may lack.
        max_loss_of_length: the same for the sessions of one length, of which there are fewer.
        max_loss_of_network: the same for Recall@20 of the network's own order.
        significance: what is more probable than this by chance alone refuses nothing.
        min_coverage: share of the number of different items that the serving snapshot recommends.
        min_index_recall: share of the exact best 20 that the saved index must find.
        max_megabytes: size of the bundle.
        max_latency_ms: CPU time of one recommendation.
    """

    max_loss: float = 0.02
    max_loss_of_length: float = 0.1
    max_loss_of_network: float = 0.1
    significance: float = 0.01
    min_coverage: float = 0.5
    min_index_recall: float = 0.99
    max_megabytes: float = 4_000.0
    max_latency_ms: float = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Which sessions decide.

    Attributes:
        n_learnt: the candidate learns from the sessions before this number; its links count the others, too.
        chosen: numbers of the sessions that both answer; (n,)
        seen: whether both have learnt from them.
        n_new: clicks to foretell in sessions that began after the serving snapshot was made, without those of
            sessions that are too long to decide.
    """

    n_learnt: int
    chosen: NDArray[np.int64]
    seen: bool
    n_new: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """The chosen sessions in the rows of both, and the links of the candidate before it counted these.

    ``blind`` is None where the candidate has learnt from them, or has no links.
    """

    serving: Snapshot
    for_candidate: Sequences
    for_serving: Sequences
    seen: bool
    blind: ItemMemory | None = None


def choose_ground(
    began_ms: NDArray[np.int64],
    ended_ms: NDArray[np.int64],
    n_targets: NDArray[np.int64],
    serving: TrainingWindow | None,
) -> Ground:
    """Choose by when sessions began and ended, in the order of their ends, and what each has to foretell.

    ``serving`` is what the serving snapshot was trained on, None where none serves.
    """
    n_sessions, none = len(ended_ms), np.empty(0, dtype=np.int64)
    if serving is None:
        return Ground(n_sessions, none, seen=False)
    n_new = 0
    if serving.until_ms is not None:
        new = _usual(np.flatnonzero(began_ms > serving.until_ms), n_targets)
        n_new = int(n_targets[new].sum())
        if n_new >= FEWEST_TARGETS and len(new) >= 2 * FEWEST_SESSIONS:
            chosen = _newest(new, n_targets, min(MOST_TARGETS, n_new // 2))
            return Ground(int(chosen[0]), chosen, seen=False, n_new=n_new)
    known = np.arange(n_sessions)
    if serving.learnt_until_ms is not None:
        known = np.flatnonzero(ended_ms <= serving.learnt_until_ms)
    chosen = _newest(_usual(known, n_targets), n_targets, MOST_TARGETS)
    return Ground(n_sessions, chosen, seen=True, n_new=n_new)


def _usual(sessions: NDArray[np.int64], n_targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the sessions that are not so long that a few of them would decide."""
    if len(sessions) == 0:
        return sessions
    longest = max(LONG_SESSION, TIMES_USUAL * float(np.median(n_targets[sessions])))
    return sessions[n_targets[sessions] <= longest]


def _newest(
    sessions: NDArray[np.int64], n_targets: NDArray[np.int64], most_targets: int
) -> NDArray[np.int64]:
    """The last of the sessions, as many as have that many targets, and no fewer than decide if there are."""
    from_the_end = np.cumsum(n_targets[sessions][::-1])
    n_taken = int(np.searchsorted(from_the_end, most_targets, side="right"))
    return sessions[len(sessions) - max(n_taken, min(FEWEST_SESSIONS, len(sessions))) :]


def judge(candidate: Snapshot, trial: Trial | None, queries_from: Sequences, bounds: Bounds) -> Verdict:
    """Find what speaks against a candidate as it was read back; nothing to compare it with is no reason.

    ``queries_from`` are sessions in the candidate's rows, for queries as they come in service.
    """
    reasons = []
    queries = sample_queries(candidate.encoder, queries_from)
    exact = ExactIndex(candidate.encoder.item_vectors())
    index_recall = recall_against_exact(candidate.index, exact, queries, K)
    del exact
    if index_recall < bounds.min_index_recall:
        reasons.append(
            f"its index finds {index_recall:.3f} of the exact best {K}, it must be {bounds.min_index_recall}"
        )
    megabytes = candidate.manifest.megabytes
    if megabytes > bounds.max_megabytes:
        reasons.append(f"it has {megabytes:,.0f} MB, at most {bounds.max_megabytes:,.0f} are allowed")
    latency_ms = _latency_ms(candidate)
    if latency_ms > bounds.max_latency_ms:
        reasons.append(
            f"one recommendation takes {latency_ms:.1f} ms of CPU,"
            f" at most {bounds.max_latency_ms:g} are allowed"
        )
    verdict = Verdict(
        accepted=not reasons,
        reasons=reasons,
        index_recall=round(index_recall, 4),
        megabytes=round(megabytes, 3),
        latency_ms=round(latency_ms, 3),
    )
    return verdict if trial is None else _compared(verdict, candidate, trial, bounds)


def _compared(verdict: Verdict, candidate: Snapshot, trial: Trial, bounds: Bounds) -> Verdict:
    """Add to the verdict what the trial tells."""
    serving, ranking = trial.serving, candidate.ranking
    if ranking is not None and trial.blind is not None:
        ranking = BlendedRanking(trial.blind, ranking.blend)
    ours = _measure(candidate, trial.for_candidate, ranking)
    theirs = _measure(serving, trial.for_serving, serving.ranking)
    alone = _measure(candidate, trial.for_candidate, None), _measure(serving, trial.for_serving, None)
    tests = _differences(ours, theirs) | {NETWORK: _differences(*alone)["recall@20"]}
    figures, served = _figures(ours, alone[0]), _figures(theirs, alone[1])
    reasons = list(verdict.reasons)
    for name, test in tests.items():
        allowed = bounds.max_loss_of_network if name == NETWORK else bounds.max_loss
        if test.p < bounds.significance and test.difference < -allowed * served[name]:
            reasons.append(
                f"{_TITLES[name]} is {figures[name]:.3f} and that of {serving.version} {served[name]:.3f}"
                f" (95 % interval of the difference {test.low:+.3f} to {test.high:+.3f})"
            )
    if figures["coverage"] < bounds.min_coverage * served["coverage"]:
        reasons.append(
            f"it recommends {figures['coverage']:,.0f} different items where {serving.version}"
            f" recommends {served['coverage']:,.0f}"
        )
    if trial.blind is not None:
        whole = _measure(candidate, trial.for_candidate, candidate.ranking).accuracy().recall
        if whole < (1 - bounds.max_loss) * figures["recall@20"]:
            reasons.append(f"counting the newest links brings Recall@20 down to {whole:.3f}")
    groups, of_groups = _by_length(ours, theirs, trial.for_candidate.lengths, bounds)
    return msgspec.structs.replace(
        verdict,
        accepted=not (reasons or of_groups),
        reasons=reasons + of_groups,
        serving=serving.version,
        compared_on=SEEN if trial.seen else UNSEEN,
        targets=int(ours.targets.sum()),
        candidate=figures,
        served=served,
        difference={
            name: (round(test.difference, 4), round(test.low, 4), round(test.high, 4))
            for name, test in tests.items()
        },
        by_length=groups,
    )


def _by_length(
    ours: Measurement, theirs: Measurement, lengths: NDArray[np.int64], bounds: Bounds
) -> tuple[list[LengthFigures], list[str]]:
    """Figures for the sessions of each length, and what in them speaks against the candidate."""
    groups: list[LengthFigures] = []
    reasons: list[str] = []
    for begin, after in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
        chosen = (lengths >= begin) & (lengths < after) if after is not None else lengths >= begin
        if not ours.targets[chosen].any():
            continue
        name = f"{begin}+" if after is None else str(begin) if after == begin + 1 else f"{begin}-{after - 1}"
        test = _differences(ours, theirs, chosen)["recall@20"]
        have, had = ours.accuracy(chosen).recall, theirs.accuracy(chosen).recall
        groups.append(
            LengthFigures(
                name,
                int(ours.targets[chosen].sum()),
                *(round(figure, 4) for figure in (have, had, test.low, test.high)),
            )
        )
        # As many tests as there are lengths: each must be so much surer.
        if test.p < bounds.significance / len(LENGTHS) and test.difference < -bounds.max_loss_of_length * had:
            reasons.append(f"Recall@20 in sessions of {name} clicks is {have:.3f} instead of {had:.3f}")
    return groups, reasons


def _differences(
    ours: Measurement, theirs: Measurement, chosen: NDArray[np.bool_] | None = None
) -> dict[str, Comparison]:
    """Paired tests over all or the chosen sessions; the same seed draws the same ones for every figure."""
    among = slice(None) if chosen is None else chosen
    targets, sums = ours.targets[among], np.hstack([ours.sums[among], theirs.sums[among]])
    draws = draw_means(sums, targets, seed=0)
    n_figures = ours.sums.shape[1]
    means = sums.sum(axis=0) / max(int(targets.sum()), 1)
    return {
        name: compare(draws[:, at], draws[:, n_figures + at], float(means[at] - means[n_figures + at]))
        for name, at in _COLUMNS.items()
    }


def _measure(snapshot: Snapshot, sessions: Sequences, ranking: BlendedRanking | None) -> Measurement:
    """As a worker serves it with that ranking, or with none."""
    parts = (snapshot.encoder, snapshot.index.search, snapshot.vocabulary.counts)
    ranker: Ranker = EncoderRanker(*parts, STATE_DTYPE)
    if ranking is not None:
        ranker = BlendRanker(*parts, ranking, STATE_DTYPE)
    return measure(ranker, sessions, K, (_RULE,), n_items=len(snapshot.vocabulary))[_RULE]


def _figures(served: Measurement, alone: Measurement) -> dict[str, float]:
    accuracy = served.accuracy().as_metrics()
    return {name: round(accuracy[name], 4) for name in _COLUMNS} | {
        NETWORK: round(alone.accuracy().recall, 4),
        "coverage": float(np.count_nonzero(served.listed)),
    }


def _latency_ms(snapshot: Snapshot) -> float:
    """CPU time of one recommendation: a trainer gives way to all else, so that other time tells nothing."""
    rows = np.linspace(0, snapshot.encoder.n_items - 1, TIMED_CLICKS).astype(np.int64)
    encoder, taken = snapshot.encoder.serving(), []
    for row in rows:
        recent = np.full((1, K), -1, dtype=np.int64)
        recent[0, 0] = row
        began = time.process_time()
        states = encoder.advance(snapshot.encoder.initial_states(1), row[None])
        queries = encoder.queries(states)
        if snapshot.ranking is None:
            snapshot.index.search(queries, min(K, snapshot.index.n_items))
        else:
            snapshot.ranking.find(snapshot.index.search, queries, recent, min(K, snapshot.index.n_items))
        taken.append(time.process_time() - began)
    return 1000 * float(np.median(taken))
