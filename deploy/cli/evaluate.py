"""``nextclick evaluate``: measure accuracy on files of clicks, through the path that a worker serves.

A method is trained on one file and foretells every next item of the other's sessions. Accuracy is over
the full catalogue, ties against the method. The states are rounded as in a session record, the answers
come from the index, and what repeats are allowed is the worker's rule.
"""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli.options import Output, takes_settings
from deploy.evaluation.methods import METHODS, Fitting
from deploy.progress import ProgressLine
from index.approximate import set_threads as set_index_threads
from model.evaluation import measure
from model.metrics import Accuracy, ranks_against_us, ranks_for_us
from model.threads import set_threads as set_model_threads
from model.training import TrainingError
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns, Columns, read_click_file
from streams.errors import NextclickError
from streams.recommender import RepeatItems
from streams.sequencing import cut_sessions, cut_with_ends

TOP_K = 20


class EvaluationError(NextclickError):
    """Files that nothing can be measured on."""


class Ties(StrEnum):
    """For whom an item counts that scores as high as the target."""

    AGAINST = "against"
    FOR = "for"


class Unknown(StrEnum):
    """What becomes of test items that were never trained on."""

    DROP = "drop"
    MISS = "miss"


DEFAULT_METHODS = "lstm,popular"


@takes_settings()
def command(
    output: Output,
    train: Annotated[Path, typer.Option(help="Clicks to train on: TSV, CSV, also gzipped, or Parquet.")],
    test: Annotated[Path, typer.Option(help="Clicks to foretell.")],
    methods: Annotated[
        str, typer.Option(help=f"What to measure, with commas between: {', '.join(METHODS)}; or all.")
    ] = DEFAULT_METHODS,
    unknown: Annotated[
        Unknown,
        typer.Option(
            help="Test items never trained on: drop them, and sessions then of one click; or count misses."
        ),
    ] = Unknown.DROP,
    repeat_items: Annotated[
        RepeatItems, typer.Option(help="What may be recommended again in its session.")
    ] = RepeatItems.ALL,
    ties: Annotated[
        Ties, typer.Option(help="Whether items that score as high as the target count against the method.")
    ] = Ties.AGAINST,
    gap: Annotated[str, typer.Option(help="Minutes of pause that end a session, or none.")] = "none",
    seed: Annotated[int, typer.Option(help="Of weights, dropout and samples.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads to compute with.")] = 1,
    session_column: Annotated[str, typer.Option(help="Column of the session id.")] = "SessionId",
    item_column: Annotated[str, typer.Option(help="Column of the item id.")] = "ItemId",
    time_column: Annotated[str, typer.Option(help="Column of the time.")] = "Time",
) -> None:
    """Measure Recall@20 and MRR@20 on files of clicks, through the path that a worker serves."""
    chosen = parse_methods(methods)
    gap_ms = parse_gap(gap)
    columns = Columns(session_column, item_column, time_column)
    set_model_threads(threads)
    set_index_threads(threads)
    with ProgressLine() as line:
        line.show("reading clicks")
        train_clicks, test_clicks = read_click_file(train, columns), read_click_file(test, columns)
        result = evaluate(train_clicks, test_clicks, chosen, unknown, repeat_items, gap_ms, seed, line, ties)
    output.result(result)
    if not output.json:
        for text in summary(result, repeat_items):
            output.say(text)


def evaluate(
    train_clicks: ClickColumns,
    test_clicks: ClickColumns,
    methods: list[str],
    unknown: Unknown,
    repeat_items: RepeatItems,
    gap_ms: int | None,
    seed: int,
    line: ProgressLine,
    ties: Ties = Ties.AGAINST,
) -> dict[str, Any]:
    """Fit the methods on one log and measure them on the other; the command's JSON object."""
    vocabulary = Vocabulary.from_clicks(train_clicks.item_ids)
    fitting = Fitting(*cut_with_ends(train_clicks, vocabulary, gap_ms), vocabulary, seed, line)
    heldout = cut_sessions(test_clicks, vocabulary, gap_ms)
    heldout = heldout.drop_unknown(min_length=2) if unknown is Unknown.DROP else heldout.drop_short(2)
    if heldout.n_targets == 0:
        raise EvaluationError("the test file holds no session with two clicks on items of the train file")
    ranks_of = ranks_for_us if ties is Ties.FOR else ranks_against_us
    measured: dict[str, Any] = {}
    for name in methods:
        try:
            ranker = METHODS[name].fit(fitting)
        except TrainingError as error:
            raise EvaluationError(f"{name} cannot be trained: {error}") from error
        line.show(f"evaluating {name}")
        began = time.perf_counter()
        measurements = measure(ranker, heldout, TOP_K, ranks_of=ranks_of)
        accuracies = {rule: found.accuracy() for rule, found in measurements.items()}
        measured[name] = _figures(accuracies, repeat_items, time.perf_counter() - began)
    return {"targets": heldout.n_targets, "methods": measured, "training": fitting.training}


def _figures(accuracies: dict[str, Accuracy], repeat_items: RepeatItems, seconds: float) -> dict[str, Any]:
    rounded = {
        rule: {name: round(value, 5) for name, value in accuracy.as_metrics().items()}
        for rule, accuracy in accuracies.items()
    }
    return rounded[repeat_items] | {"repeat_items": rounded, "seconds": round(seconds, 2)}


def parse_methods(text: str) -> list[str]:
    """Names of methods, each once."""
    if text.strip() == "all":
        return list(METHODS)
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    wrong = [name for name in names if name not in METHODS]
    if wrong or not names:
        shown = ", ".join(wrong) or "empty"
        raise typer.BadParameter(f"--methods is {shown}, it may be any of {', '.join(METHODS)}")
    return names


def parse_gap(text: str) -> int | None:
    """Milliseconds of a number of minutes, None of ``none``."""
    if text == "none":
        return None
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < 1e6:
        raise typer.BadParameter(f"--gap is {text!r}, it must be none or a number of minutes above 0")
    return round(minutes * 60_000)


def summary(result: dict[str, Any], repeat_items: RepeatItems) -> list[str]:
    """The result as lines of a table."""
    rules = [repeat_items.value, *(rule.value for rule in RepeatItems if rule is not repeat_items)]
    lines = [
        f"{result['targets']:,} targets; Recall@{TOP_K} / MRR@{TOP_K} by what may repeat:",
        f"{'':18}" + "".join(f"{rule:>18}" for rule in rules),
    ]
    for name, figures in result["methods"].items():
        cells = [figures["repeat_items"][rule] for rule in rules]
        shown = (f"{cell[f'recall@{TOP_K}']:.4f} / {cell[f'mrr@{TOP_K}']:.4f}" for cell in cells)
        lines.append(f"{name:18}" + "".join(f"{text:>18}" for text in shown))
    if training := result["training"]:
        lines.append(f"trained in {training['seconds']:.1f} s, {training['clicks_per_s']:,.0f} clicks/s")
    return lines
