"""The command tune: never worse than the settings in force, stoppable, and its file is read by the others."""

from __future__ import annotations

import json
import threading
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import deploy.cli.tune as cli
from deploy import tuning
from deploy.cli import trainer
from deploy.cli.main import run
from deploy.settings import Settings
from deploy.settings_sources import load_settings
from deploy.tuning import Found, TuningError, in_force, search, split_by_time, with_values, write_settings
from model.sequences import Sequences
from model.training import Progress
from streams.training_plan import TrainerPlan
from tests.deploy.test_evaluate import write_clicks
from tests.model.markov import markov_sessions

pytest.importorskip("optuna")


def nothing(number: int, progress: Progress, found: Found) -> None:
    pass


def tune(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = run(["tune", *arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    result: dict[str, Any] = json.loads(printed.out)
    return result


def test_the_newest_sessions_are_held_out_with_items_the_others_know() -> None:
    sessions = [[0, 1], [2, 1]] * 9 + [[1, 2, 5], [5, 0]]
    split = split_by_time(Sequences.from_lists(sessions))
    assert (len(split.older), split.n_items) == (18, 3)
    assert split.newest.rows.tolist() == [0, 2]  # item 1 is the most clicked; 5 is new, and so left out


def test_a_log_without_common_items_is_refused() -> None:
    with pytest.raises(TuningError, match="too few clicks"):
        split_by_time(Sequences.from_lists([[0, 1]] * 9 + [[2, 3]]))


def test_what_is_found_is_written_and_read_and_never_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nextclick.toml").write_text('alias = "mine"\nepochs = 1\nunits = 8\n')
    file = write_clicks(tmp_path / "clicks.tsv.gz", markov_sessions(100, 40, 0.2, length=5))
    stop = threading.Event()  # after three trials, however long they take on this machine
    monkeypatch.setattr(cli, "stop_on_signals", lambda: nullcontext(stop))
    monkeypatch.setattr(cli._Shown, "show", lambda shown, number, *more: stop.set() if number == 3 else None)
    result = tune(capsys, "--train", str(file), "--minutes", "10")
    assert (result["trials"], result["stopped"]) == (3, True)
    score = [sum(result[name][metric] for metric in ("recall@20", "mrr@20")) for name in ("before", "best")]
    assert score[1] >= score[0]
    settings = load_settings(folder=tmp_path)
    assert settings.alias == "mine"
    assert in_force(settings) == result["settings"]


def test_evaluate_and_trainer_take_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train = write_clicks(tmp_path / "train.tsv.gz", markov_sessions(100, 40, 0.2, length=5))
    test = write_clicks(tmp_path / "test.tsv.gz", markov_sessions(40, 40, 0.2, length=5, seed=1))
    found = {"cell": "gru", "units": 12, "dropout_embedding": 0.1, "dropout_hidden": 0.0, "epochs": 3}
    found |= {"batch_size": 16, "learning_rate": 0.02}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in found.items()]
    measured = []
    for given in (flags, []):
        assert run(["evaluate", "--train", str(train), "--test", str(test), "--json", *given]) == 0
        methods = json.loads(capsys.readouterr().out)["methods"]
        measured.append(methods["lstm"]["repeat_items"])
        write_settings(tmp_path / "nextclick.toml", found, "a note")
    assert measured[0] == measured[1]
    plans: list[TrainerPlan] = []
    monkeypatch.setattr(trainer, "be_considerate", lambda: 1)
    monkeypatch.setattr(trainer, "_lease", lambda settings: nullcontext())
    monkeypatch.setattr(trainer, "_train_once", lambda plan, *others: plans.append(plan))
    assert run(["trainer", "--once"]) == 0
    assert (plans[0].encoder.cell, plans[0].encoder.n_units) == ("gru", 12)
    assert (plans[0].training.n_epochs, plans[0].training.n_lanes) == (3, 16)
    assert (plans[0].encoder.dropout_hidden, plans[0].training.learning_rate) == (0.0, 0.02)


def test_without_time_the_settings_in_force_are_what_is_found() -> None:
    split = split_by_time(markov_sessions(40, 20, 0.2, length=5))
    settings = Settings(epochs=1, units=8)
    found = search(split, settings, 0.0, threading.Event(), nothing)
    assert found.best is not None
    assert (found.n_trials, found.best.values) == (1, in_force(settings))


def test_a_budget_too_small_for_a_second_trial_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_clicks(tmp_path / "clicks.tsv.gz", markov_sessions(40, 20, 0.2, length=5))
    out = str(tmp_path / "nextclick.toml")
    assert run(["tune", "--train", str(file), "--minutes", "0", "--out", out]) == 0
    said = capsys.readouterr().out
    assert said.startswith("the time is over: 1 trial, 0 given up early")
    assert "a trial takes about" in said
    assert "best (trial" not in said


def test_a_stop_keeps_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.PROGRESS_EVERY_S", 0.0)  # told of every update, on any machine
    split = split_by_time(markov_sessions(40, 20, 0.2, length=5))
    stop = threading.Event()

    def stop_in_the_third(number: int, progress: Progress, found: Found) -> None:
        if number == 2:
            stop.set()

    found = search(split, Settings(epochs=1, units=8), 600.0, stop, stop_in_the_third)
    assert found.stopped
    assert found.best is not None
    assert found.n_trials == 2  # the third one was not made


def test_poor_trials_are_given_up_and_the_same_seed_tries_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "UNPRUNED_TRIALS", 2)
    monkeypatch.setattr("model.training.PROGRESS_EVERY_S", 0.0)  # told of every update, on any machine
    split = split_by_time(markov_sessions(50, 15, 0.2, length=5))

    def until_one_is_pruned() -> tuple[int, list[float]]:
        stop, scores = threading.Event(), []

        def look(number: int, progress: Progress, found: Found) -> None:
            if found.best is not None and progress.clicks_done == progress.clicks_total:
                scores.append(found.best.score)
            if found.n_pruned or number == 12:
                stop.set()

        return search(split, Settings(units=8, epochs=4), 600.0, stop, look).n_pruned, scores

    once, again = until_one_is_pruned(), until_one_is_pruned()
    assert once[0] > 0
    assert once == again


def test_a_file_keeps_its_other_lines_and_old_notes_go(tmp_path: Path) -> None:
    path = tmp_path / "nextclick.toml"
    path.write_text('# mine\nunits = 8\nalias = "x"\n')
    write_settings(path, {"units": 64, "cell": "gru"}, "first")
    write_settings(path, {"units": 100, "cell": "lstm"}, "second")
    text = path.read_text()
    assert tomllib.loads(text) == {"alias": "x", "units": 100, "cell": "lstm"}
    assert text.startswith("# mine\n")
    assert "first" not in text
    assert "second" in text


def test_a_file_that_cannot_be_changed_by_lines_stays(tmp_path: Path) -> None:
    path = tmp_path / "nextclick.toml"
    path.write_text('alias = """\nunits = 8\n"""\n')
    with pytest.raises(TuningError, match="cannot be changed"):
        write_settings(path, {"units": 64}, "")
    assert "units = 8" in path.read_text()
    assert with_values("", {"units": 1}, "n") == "# nextclick tune: n\nunits = 1\n"


def test_without_optuna_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert run(["tune", "--train", str(tmp_path / "none.tsv")]) == 1
    assert (
        capsys.readouterr().err == "nextclick: nextclick tune needs Optuna: pip install 'nextclick[tune]'\n"
    )
