"""``nextclick tune``: search settings of the training that suit a log, and write them to a settings file.

Optuna comes with the extra ``tune``; it is imported only here, after it was found to be there.
"""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.click_files import ClickFiles, reads_click_files
from deploy.cli.options import Output, takes_settings
from deploy.progress import ProgressLine, show_seconds
from deploy.settings import FILE_NAME, Settings
from deploy.stopping import stop_on_signals
from streams.errors import NextclickError

if TYPE_CHECKING:
    from deploy.tuning import Found, Trial
    from model.training import Progress


@takes_settings(
    "session_gap_minutes", "layers", "click_context", "click_context_at", "loss", "negatives", "seed"
)
@reads_click_files()
def command(
    settings: Settings,
    output: Output,
    click_files: ClickFiles,
    train: Annotated[
        Path, typer.Option(help="Clicks to search on: a table (TSV, CSV, Parquet) or a public log.")
    ],
    minutes: Annotated[
        float, typer.Option(min=0.0, help="How long to search; the settings in force are tried in any case.")
    ] = 30.0,
    out: Annotated[Path, typer.Option(help="The settings file to write; other settings in it stay.")] = Path(
        FILE_NAME
    ),
    threads: Annotated[int, typer.Option(min=1, help="Threads to compute with.")] = 1,
) -> None:
    """Search settings of the training that suit a log, within a time budget; Ctrl-C keeps the best so far."""
    if find_spec("optuna") is None:
        raise NextclickError("nextclick tune needs Optuna: pip install 'nextclick[tune]'")
    if not out.absolute().parent.is_dir():
        raise NextclickError(f"--out is {out}: there is no folder {out.parent}")
    from deploy.training_settings import encoder_config, unread_kinds
    from deploy.tuning import search, split_by_time, write_settings
    from index.approximate import set_threads as set_index_threads
    from model.encoder_context import ContextCoder
    from model.threads import set_threads as set_model_threads
    from model.vocabulary import Vocabulary
    from streams.sequencing import cut_sessions

    encoder = encoder_config(settings)
    set_model_threads(threads)
    set_index_threads(threads)
    with stop_on_signals() as stop, ProgressLine() as line:
        line.show("reading clicks")
        clicks = click_files.read(train)
        if warning := unread_kinds(encoder, clicks):
            output.warn(warning)
        vocabulary = Vocabulary.from_clicks(clicks.item_ids)
        gap_ms = int(settings.session_gap_minutes * 60_000)
        coder = ContextCoder.fit(clicks.each_kind()) if encoder.context else None
        sessions = cut_sessions(clicks, vocabulary, gap_ms, coder)
        split = split_by_time(sessions, () if coder is None else coder.kinds)
        shown = _Shown(line, minutes * 60)
        found = search(split, settings, minutes * 60, stop, shown.show)
    if found.first is None or found.best is None:
        raise NextclickError("stopped before the settings in force were measured; nothing was written")
    note = f"{_figures(found.best)} on the newest sessions, {_figures(found.first)} before"
    write_settings(out, found.best.values, note)
    _report(output, found, found.first, found.best, out, split.newest.n_targets)


class _Shown:
    """Shows the trial in hand, the best so far and the time left."""

    def __init__(self, line: ProgressLine, seconds: float) -> None:
        self._line = line
        self._deadline = time.monotonic() + seconds

    def show(self, number: int, progress: "Progress", found: "Found") -> None:
        """Called several times a second."""
        best = "none yet" if found.best is None else _figures(found.best)
        left = show_seconds(self._deadline - time.monotonic())
        what = f"trial {number + 1}" + (" (settings in force)" if number == 0 else "")
        self._line.show(what, progress.clicks_done, progress.clicks_total, f"best {best}, budget {left}")


def _figures(trial: "Trial") -> str:
    return f"Recall@20 {trial.accuracy.recall:.4f}, MRR@20 {trial.accuracy.mrr:.4f}"


def _report(output: Output, found: "Found", first: "Trial", best: "Trial", out: Path, n_targets: int) -> None:
    ended = "stopped" if found.stopped else "the time is over"
    trials = "1 trial" if found.n_trials == 1 else f"{found.n_trials} trials"
    output.say(f"{ended}: {trials}, {found.n_pruned} given up early, {n_targets:,} targets")
    output.say(f"settings in force: {_figures(first)}")
    if best is not first:
        output.say(f"best (trial {best.number + 1}): {_figures(best)}")
    elif found.n_trials > 1:
        output.say("nothing better was found")
    else:
        long = show_seconds(found.first_seconds)
        output.say(f"nothing else was tried to its end: a trial takes about {long}, give more --minutes")
    output.say(f"written to {out}: " + ", ".join(f"{name} = {value}" for name, value in best.values.items()))
    output.result(
        {
            "file": str(out),
            "trials": found.n_trials,
            "pruned": found.n_pruned,
            "stopped": found.stopped,
            "targets": n_targets,
            "best_trial": best.number + 1,
            "settings": best.values,
            "best": best.accuracy.as_metrics(),
            "before": first.accuracy.as_metrics(),
        }
    )
