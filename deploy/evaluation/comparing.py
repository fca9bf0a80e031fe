"""Make the methods from one log, measure them on another, and tell how sure the differences are.

A method that draws by chance is made once for every seed; its figures are means over the seeds, with the
worst seed beside them. Intervals and tests resample the test sessions, which says how other shoppers of the
same days might have come out, and not how other days would.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.evaluation.methods import METHODS, Fitting, Method, scoring_all
from deploy.evaluation.terms import EvaluationError, Terms, Unknown
from deploy.progress import ProgressLine
from model.bootstrap import compare, draw_means, interval
from model.evaluation import REPEAT_RULES, Measurement, by_session_length, measure
from model.metrics import METRICS, Accuracy
from model.ranking import EncoderRanker, Ranker
from model.sequences import UNKNOWN, Sequences
from model.spread import coverage, popularity_bias
from model.training import TrainingError
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns
from streams.sequencing import cut_sessions, cut_with_ends

SHORTER = (1, 5, 10)
"""Figures are told for these shorter lists, too."""
DRAWS_SEED = 0
DIGITS = 5


@dataclass(frozen=True, slots=True)
class Run:
    """One method made with one seed, and what it achieved under every rule of repeats.

    ``exact`` is what it would have with every item scored, where that was asked for and it has an index.
    """

    seed: int
    found: dict[str, Measurement]
    exact: Measurement | None
    training: dict[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Means:
    """A method's sums by session, means over its runs."""

    name: str
    sums: NDArray[np.float64]  # (n_sessions, 3)


def evaluate(
    train_clicks: ClickColumns,
    test_clicks: ClickColumns,
    methods: list[str],
    terms: Terms,
    line: ProgressLine,
) -> dict[str, Any]:
    """Make and measure the methods; the command's JSON object."""
    vocabulary = Vocabulary.from_clicks(train_clicks.item_ids)
    coder = terms.coder(train_clicks)
    fitting = Fitting(*cut_with_ends(train_clicks, vocabulary, terms.gap_ms, coder), vocabulary, 0, line)
    fitting.encoder_config, fitting.training_config = terms.encoder_for(coder), terms.training
    heldout = cut_sessions(test_clicks, vocabulary, terms.gap_ms, coder)
    heldout = heldout.drop_unknown(min_length=2) if terms.unknown is Unknown.DROP else heldout.drop_short(2)
    if heldout.n_targets == 0:
        raise EvaluationError("the test file holds no session with two clicks on items of the train file")
    measured: dict[str, Any] = {}
    means = []
    for name in methods:
        runs = _runs(name, fitting, heldout, terms)
        rule = terms.repeat_items.value
        means.append(Means(name, np.mean([run.found[rule].sums for run in runs], axis=0)))
        measured[name] = _figures(runs, heldout, vocabulary, terms)
    line.show("drawing sessions")
    comparisons = add_certainty(measured, means, heldout.lengths - 1, terms.k)
    return {
        "targets": heldout.n_targets,
        "sessions": len(heldout),
        "items": len(vocabulary),
        "k": terms.k,
        "seeds": list(terms.seeds),
        "methods": measured,
        "comparisons": comparisons,
        "training": next((found["training"] for found in measured.values() if "training" in found), {}),
    }


def fit(name: str, method: Method, fitting: Fitting) -> Ranker:
    """Make a method; raises ``EvaluationError`` where the log does not suffice."""
    try:
        return method.fit(fitting)
    except TrainingError as error:
        raise EvaluationError(f"{name} cannot be trained: {error}") from error


def _runs(name: str, fitting: Fitting, heldout: Sequences, terms: Terms) -> list[Run]:
    method = METHODS[name]
    runs = []
    for seed in terms.seeds if method.seeded else terms.seeds[:1]:
        own = replace(fitting, seed=seed, training={})
        ranker = fit(name, method, own)
        what = f"evaluating {name}" + (f", seed {seed}" if len(terms.seeds) > 1 and method.seeded else "")
        fitting.line.show(what, 0, heldout.n_targets)
        show = partial(fitting.line.show, what, total=heldout.n_targets)
        found, seconds = _measure_rules(ranker, heldout, terms, len(fitting.vocabulary), show)
        exact = _measure_exactly(ranker, heldout, terms, fitting.line) if terms.exact else None
        runs.append(Run(seed, found, exact, own.training, seconds))
    return runs


def _measure_rules(
    ranker: Ranker, heldout: Sequences, terms: Terms, n_items: int, show: Callable[[int], None]
) -> tuple[dict[str, Measurement], float]:
    """What the ranker achieves under every rule of repeats, and the seconds that all answers took once.

    What has an index goes through it once for each rule, asking for as many items as a worker with that rule:
    asked for those of all three rules together it would look twice as far. The others would give the same.
    """
    chosen = terms.repeat_items.value
    served = isinstance(ranker, EncoderRanker)
    others = [(rule,) for rule in REPEAT_RULES if rule != chosen]
    passes = [(chosen,), *others] if served else [tuple(REPEAT_RULES)]
    found: dict[str, Measurement] = {}
    seconds = []
    for rules in passes:
        began = time.perf_counter()
        found |= measure(
            ranker,
            heldout,
            terms.k,
            rules,
            terms.ties.ranks,
            n_items=n_items,
            as_served=served,
            on_progress=show,
        )
        seconds.append(time.perf_counter() - began)
    return {rule: found[rule] for rule in REPEAT_RULES}, seconds[0]


def _measure_exactly(
    ranker: Ranker, heldout: Sequences, terms: Terms, line: ProgressLine
) -> Measurement | None:
    exact, rule = scoring_all(ranker), terms.repeat_items.value
    if exact is None:
        return None
    show = partial(line.show, "scoring every item", total=heldout.n_targets)
    return measure(exact, heldout, terms.k, (rule,), terms.ties.ranks, on_progress=show)[rule]


def _figures(runs: list[Run], heldout: Sequences, vocabulary: Vocabulary, terms: Terms) -> dict[str, Any]:
    """What the command tells of one method."""
    k, rule = terms.k, terms.repeat_items.value
    chosen = [run.found[rule] for run in runs]
    of_runs = [found.accuracy() for found in chosen]
    figures: dict[str, Any] = mean(of_runs)
    if len(runs) > 1:
        worst = {name: min(accuracy.as_metrics()[name] for accuracy in of_runs) for name in figures}
        figures["worst"] = _rounded(worst)
        figures["seeds"] = {
            str(run.seed): _rounded(own.as_metrics()) for run, own in zip(runs, of_runs, strict=True)
        }
    clicked = _clicked(heldout, len(vocabulary))
    biases = [popularity_bias(found.listed, clicked, vocabulary.counts) for found in chosen]
    figures[f"coverage@{k}"] = _round(np.mean([coverage(found.listed) for found in chosen]))
    figures[f"popularity_bias@{k}"] = _round(np.mean(biases))
    figures["shorter"] = {str(n): mean([found.accuracy_at(n) for found in chosen]) for n in SHORTER if n < k}
    figures["by_session_length"] = _by_length(chosen, heldout.lengths)
    figures["repeat_items"] = {
        rule: mean([run.found[rule].accuracy() for run in runs]) for rule in runs[0].found
    }
    exact = [run.exact.accuracy() for run in runs if run.exact is not None]
    if exact:
        figures["exact"] = _beside_exact(figures, mean(exact))
    figures["seconds"] = round(float(np.mean([run.seconds for run in runs])), 2)
    if runs[0].training:
        figures["training"] = {
            name: round(float(np.mean([run.training[name] for run in runs])), 2) for name in runs[0].training
        }
    return figures


def _beside_exact(served: dict[str, float], exact: dict[str, float]) -> dict[str, Any]:
    """What scoring every item gives, and which share of it the index loses."""
    loss = {name: 1 - served[name] / value if value else 0.0 for name, value in exact.items()}
    return {**exact, "loss": _rounded(loss)}


def add_certainty(
    measured: dict[str, Any], means: list[Means], targets: NDArray[np.int64], k: int
) -> list[dict[str, Any]]:
    """Give every method's figures their intervals, and compare each two methods on the same draws."""
    draws = draw_means(np.hstack([of.sums for of in means]), targets, DRAWS_SEED)
    by_method = dict(
        zip((of.name for of in means), np.split(draws, len(means), axis=1), strict=True)
    )  # (n_draws, 3) each
    for name, own in by_method.items():
        measured[name]["intervals"] = {
            f"{metric}@{k}": [_round(end) for end in interval(own[:, i])] for i, metric in enumerate(METRICS)
        }
    comparisons = []
    for first, second in combinations(means, 2):
        comparison: dict[str, Any] = {"method": first.name, "against": second.name}
        difference = (first.sums - second.sums).sum(axis=0) / max(int(targets.sum()), 1)
        for i, metric in enumerate(METRICS):
            of_first, of_second = by_method[first.name][:, i], by_method[second.name][:, i]
            tested = compare(of_first, of_second, difference[i])
            comparison[f"{metric}@{k}"] = {
                "difference": _round(tested.difference),
                "low": _round(tested.low),
                "high": _round(tested.high),
                "p": _round(tested.p),
            }
        comparisons.append(comparison)
    return comparisons


def mean(accuracies: Iterable[Accuracy]) -> dict[str, float]:
    """Mean of each metric, rounded, by its usual name."""
    metrics = [accuracy.as_metrics() for accuracy in accuracies]
    return _rounded({name: float(np.mean([own[name] for own in metrics])) for name in metrics[0]})


def _by_length(runs: list[Measurement], lengths: NDArray[np.int64]) -> dict[str, Any]:
    groups = zip(*(by_session_length(found, lengths) for found in runs), strict=True)
    return {
        group[0][0]: {"sessions": group[0][1], "targets": group[0][2].targets}
        | mean(accuracy for _, _, accuracy in group)
        for group in groups
    }


def _clicked(heldout: Sequences, n_items: int) -> NDArray[np.int64]:
    """How often each item is the click to foretell; (n_items,)."""
    is_target = np.ones(heldout.n_clicks, dtype=np.bool_)
    is_target[heldout.starts[:-1]] = False
    rows = heldout.rows[is_target & (heldout.rows != UNKNOWN)]
    return np.bincount(rows, minlength=n_items)


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: _round(figure) for name, figure in figures.items()}


def _round(figure: float | np.floating[Any]) -> float:
    return round(float(figure), DIGITS)
