"""``nextclick evaluate``: measure accuracy on files of clicks, through the path that a worker serves.

A method is trained on one file and foretells every next item of the other's sessions. Accuracy is over
the full catalogue, ties against the method. The states are rounded as in a session record, the answers
come from the index, and what repeats are allowed is the worker's rule.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.click_files import ClickFiles, reads_click_files
from deploy.cli.options import TRAINED, Output, takes_settings
from deploy.evaluation.comparing import evaluate
from deploy.evaluation.methods import METHODS
from deploy.evaluation.picture import check_can_draw, draw_comparison, draw_replay
from deploy.evaluation.replaying import replay
from deploy.evaluation.table import replay_table, table
from deploy.evaluation.terms import Terms, Ties, Unknown
from deploy.progress import ProgressLine
from deploy.settings import Settings
from deploy.training_settings import encoder_config, training_config, unread_kinds
from index.approximate import set_threads as set_index_threads
from model.threads import set_threads as set_model_threads
from streams.recommender import RepeatItems

DEFAULT_METHODS = "lstm,nextclick,popular"


@takes_settings(*TRAINED)
@reads_click_files()
def command(
    settings: Settings,
    output: Output,
    click_files: ClickFiles,
    train: Annotated[
        Path, typer.Option(help="Clicks to train on: a table (TSV, CSV, Parquet) or a public log.")
    ],
    test: Annotated[Path, typer.Option(help="Clicks to foretell.")],
    methods: Annotated[
        str, typer.Option(help=f"What to measure, with commas between: {', '.join(METHODS)}; or all.")
    ] = DEFAULT_METHODS,
    k: Annotated[int, typer.Option("--k", min=1, max=1_000, help="Length of the lists.")] = 20,
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
    seed: Annotated[int, typer.Option(min=0, help="Of weights, dropout and samples.")] = 0,
    seeds: Annotated[
        str, typer.Option(help="Several seeds, with commas between: shows their mean and the worst.")
    ] = "",
    prequential: Annotated[
        int | None,
        typer.Option(
            min=2, metavar="N", help="Foretell the test file in N slices, learning from each before the next."
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Also score every item, which tells what the index loses.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Also draw the figures into this file: .png, .svg or .pdf.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads to compute with.")] = 1,
) -> None:
    """Measure Recall, MRR, NDCG and more on files of clicks, through the path that a worker serves."""
    chosen = parse_methods(methods)
    terms = Terms(k, unknown, repeat_items, ties, parse_gap(gap), parse_seeds(seeds) or (seed,))
    terms = replace(terms, encoder=encoder_config(settings), training=training_config(settings), exact=exact)
    if prequential is not None and len(terms.seeds) > 1:
        raise typer.BadParameter("--prequential goes with one --seed, not with --seeds")
    if prequential is not None and exact:
        raise typer.BadParameter("--exact goes without --prequential")
    if picture is not None:
        check_can_draw(picture)
    set_model_threads(threads)
    set_index_threads(threads)
    with ProgressLine() as line:
        line.show("reading clicks")
        train_clicks, test_clicks = click_files.read(train), click_files.read(test)
        if warning := unread_kinds(terms.encoder, train_clicks):
            output.warn(warning)
        if prequential is None:
            result = evaluate(train_clicks, test_clicks, chosen, terms, line)
        else:
            result = replay(train_clicks, test_clicks, chosen, terms, prequential, line)
    if picture is not None:
        (draw_comparison if prequential is None else draw_replay)(result, picture)
    output.result(result)
    if not output.json:
        for text in (table if prequential is None else replay_table)(result, terms):
            output.say(text)


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


def parse_seeds(text: str) -> tuple[int, ...]:
    """Whole numbers from 0, each once; none of an empty text."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"--seeds is {text!r}, it must be whole numbers with commas between: 1,2,3")
    return tuple(dict.fromkeys(int(part) for part in parts))


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
