"""Search settings of the training within a time budget, measured on the newest sessions of the given clicks.

The settings in force are the first trial and always run to their end, so that what is found is never worse
than they are on these sessions. What is compared is the network's own order, over the full catalogue.
"""

import re
import threading
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import optuna

from deploy.settings import MAX_UNITS_IN_ALL, Settings
from deploy.training_settings import encoder_config, training_config
from index.exact import ExactIndex
from model.encoder import SessionEncoder
from model.evaluation import evaluate_next_items
from model.metrics import Accuracy
from model.ranking import EncoderRanker
from model.sequences import UNKNOWN, Sequences
from model.training import Progress, TrainingError, train
from streams.errors import NextclickError
from streams.session import STATE_DTYPE

VALIDATION_SHARE: Final = 0.1
MAX_TARGETS: Final = 20_000
"""More would make the measuring dearer than the differences that it can tell apart."""
QUARTERS: Final = 4
"""A trial is measured after each quarter of its passes: at equal shares the falling rates are comparable."""
UNPRUNED_TRIALS: Final = 4
MARK: Final = "# nextclick tune: "


class TuningError(NextclickError):
    """A search that cannot be made; the text says why."""


class _Ended(Exception):
    """The time is over, or somebody asked to stop."""


class _Pruned(Exception):
    """Others were better after as many passes."""


class Split(NamedTuple):
    """The older sessions and the newest, in rows of the older ones' items; the kinds that have a code."""

    older: Sequences
    newest: Sequences
    n_items: int
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings that were tried to the end, and what they achieved."""

    number: int
    values: dict[str, Any]
    accuracy: Accuracy

    @property
    def score(self) -> float:
        """What is maximised: the mean of Recall@20 and MRR@20."""
        return (self.accuracy.recall + self.accuracy.mrr) / 2


@dataclass(slots=True)
class Found:
    """How the search stands: the first trial and its seconds, the best one, and how many there were."""

    first: Trial | None = None
    first_seconds: float = 0.0
    best: Trial | None = None
    n_trials: int = 0
    n_pruned: int = 0
    stopped: bool = False

    def add(self, trial: Trial) -> None:
        """Count a trial that ran to its end; the earlier of two equals stays the best."""
        self.first = self.first or trial
        if self.best is None or trial.score > self.best.score:
            self.best = trial


OnTrial = Callable[[int, Progress, Found], None]


def split_by_time(sequences: Sequences, kinds: tuple[str, ...] = ()) -> Split:
    """Hold out the newest tenth of the sessions; their items that the others never clicked are dropped.

    Where the newest hold more than ``MAX_TARGETS`` clicks to foretell, every n-th session stands for them.
    Raises TuningError where nothing is left to train on or to measure on.
    """
    older, newest = sequences.split_newest(VALIDATION_SHARE)
    counts = np.bincount(older.rows, minlength=int(sequences.rows.max(initial=0)) + 1)
    n_items = int((counts > 0).sum())
    new_rows = np.full(len(counts), UNKNOWN, dtype=np.int64)
    new_rows[np.argsort(-counts, kind="stable")[:n_items]] = np.arange(n_items)
    older = replace(older, rows=new_rows[older.rows])
    newest = replace(newest, rows=new_rows[newest.rows]).drop_unknown(min_length=2)
    every = -(-newest.n_targets // MAX_TARGETS)
    if every > 1:
        newest = newest.take(np.arange(0, len(newest), every))
    if older.n_targets == 0 or newest.n_targets == 0:
        raise TuningError("too few clicks: older and newest sessions must hold two clicks on common items")
    return Split(older, newest, n_items, kinds)


def search(
    split: Split, settings: Settings, seconds: float, stop: threading.Event, on_trial: OnTrial
) -> Found:
    """Try settings until the time is over or ``stop`` is set; gives what was found until then."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = settings.seed or 0
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS),
    )
    start = in_force(settings)
    study.enqueue_trial(start)
    began = time.monotonic()
    deadline = began + seconds
    found = Found()
    while not found.stopped and (found.first is None or time.monotonic() < deadline):
        trial = study.ask()
        suggested = suggest(trial, start, settings)
        values = start if trial.number == 0 else suggested
        attempt = _Attempt(trial, values, deadline, stop, found, on_trial)
        found.n_trials += 1
        try:
            found.add(done := attempt.run(split, settings))
            found.first_seconds = found.first_seconds or time.monotonic() - began
            study.tell(trial, done.score)
        except _Pruned:
            found.n_pruned += 1
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except TrainingError as error:  # a rate too high: the loss is no longer finite
            if found.first is None:
                raise TuningError(f"the settings in force cannot be trained: {error}") from error
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        except _Ended:
            found.n_trials -= 1
            break
    found.stopped = stop.is_set()
    return found


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One trial: trained, measured after each quarter, given up where it is poor."""

    trial: optuna.Trial
    values: dict[str, Any]
    deadline: float
    stop: threading.Event
    found: Found
    on_trial: OnTrial

    def run(self, split: Split, settings: Settings) -> Trial:
        """Train and measure; raises _Pruned, _Ended or TrainingError."""
        own = settings.model_copy(update=self.values)
        config = training_config(own)
        accuracy: Accuracy | None = None

        def measure(epoch: int, encoder: SessionEncoder) -> None:
            nonlocal accuracy
            quarter = QUARTERS * epoch // config.n_epochs
            if quarter == QUARTERS * (epoch - 1) // config.n_epochs:
                return
            search_all = ExactIndex(encoder.item_vectors()).search
            counts = np.bincount(split.older.rows, minlength=split.n_items)
            ranker = EncoderRanker(encoder, search_all, counts, STATE_DTYPE)
            accuracy = evaluate_next_items(ranker, split.newest)
            self.trial.report((accuracy.recall + accuracy.mrr) / 2, quarter)
            if epoch < config.n_epochs and self.trial.number > 0 and self.trial.should_prune():
                raise _Pruned

        train(
            split.older,
            split.n_items,
            replace(encoder_config(own), kinds=split.kinds),
            config,
            on_progress=self._go_on,
            on_epoch=measure,
        )
        if accuracy is None:
            raise RuntimeError("training ended without its last measurement")
        return Trial(self.trial.number, self.values, accuracy)

    def _go_on(self, progress: Progress) -> None:
        # The last report comes after the last measurement: a trial that is done counts.
        if progress.clicks_done < progress.clicks_total:
            is_late = self.trial.number > 0 and time.monotonic() >= self.deadline
            if is_late or self.stop.is_set():
                raise _Ended
        self.on_trial(self.trial.number, progress, self.found)


def in_force(settings: Settings) -> dict[str, Any]:
    """The values of the searched settings that a trainer would use now."""
    encoder, training = encoder_config(settings), training_config(settings)
    return {
        "cell": encoder.cell,
        "units": encoder.n_units,
        "dropout_embedding": encoder.dropout_embedding,
        "dropout_hidden": encoder.dropout_hidden,
        "epochs": training.n_epochs,
        "batch_size": training.n_lanes,
        "learning_rate": training.learning_rate,
    }


def suggest(trial: optuna.Trial, start: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Values to try; every range is wide enough to hold those in force."""

    def between(name: str, low: float, high: float, log: bool = False) -> float:
        value = trial.suggest_float(name, min(low, start[name]), max(high, start[name]), log=log)
        return float(f"{value:.3g}")  # what is written is what was tried

    def one_of(name: str, *choices: Any) -> Any:
        return trial.suggest_categorical(name, sorted({*choices, start[name]}))

    widest = MAX_UNITS_IN_ALL // (settings.layers or 1)
    return {
        "cell": one_of("cell", "lstm", "gru"),
        "units": one_of("units", *(n for n in (64, 100, 150, 200) if n <= widest)),
        "dropout_embedding": between("dropout_embedding", 0.0, 0.6),
        "dropout_hidden": between("dropout_hidden", 0.0, 0.6),
        "epochs": trial.suggest_int("epochs", min(4, start["epochs"]), max(16, start["epochs"])),
        "batch_size": one_of("batch_size", 16, 32, 64, 128),
        "learning_rate": between("learning_rate", 1e-3, 3e-2, log=True),
    }


def with_values(text: str, values: dict[str, Any], note: str) -> str:
    """A settings file's text with these values in it; its other lines stay."""
    ours = re.compile(rf"\s*({'|'.join(values)})\s*=")
    kept = [line for line in text.splitlines() if not ours.match(line) and not line.startswith(MARK)]
    new = [
        f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
        for name, value in values.items()
    ]
    return "\n".join([*kept, MARK + note, *new]) + "\n"


def write_settings(path: Path, values: dict[str, Any], note: str) -> None:
    """Put the values into a settings file, which is replaced whole or not at all; raises TuningError."""
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        text = with_values(before, values, note)
        if tomllib.loads(text) != tomllib.loads(before) | values:
            raise TuningError(f"{path} cannot be changed line by line; give another file with --out")
        beside = path.with_name(f"{path.name}.new")
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TuningError(f"{path} cannot be written: {error}") from error
