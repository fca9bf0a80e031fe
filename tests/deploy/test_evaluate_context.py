"""Context is measured from a file: where the kind of a click decides the next item, it is worth much."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deploy.cli.main import run
from tests.deploy.test_evaluate import evaluate

N_ITEMS = 20
STEPS = {"view": 1, "buy": 7}
TRAINING = {"units": 32, "epochs": 1, "batch-size": 32, "learning-rate": 0.06}
SMALL = (*(text for name, value in TRAINING.items() for text in (f"--{name}", str(value))), "--k", "5")


def write_clicks_with_kinds(path: Path, n_sessions: int, seed: int) -> str:
    """Sessions of six clicks; the next item is some items further on, how many is said by the kind."""
    random = np.random.default_rng(seed)
    lines = ["SessionId\tItemId\tTime\tAction\n"]
    for session in range(n_sessions):
        item = int(random.integers(N_ITEMS))
        for place in range(6):
            kind = str(random.choice(list(STEPS)))
            lines.append(f"s{session}\titem-{item}\t{1_400_000_000 + 100 * session + place}\t{kind}\n")
            item = (item + STEPS[kind]) % N_ITEMS
    path.write_text("".join(lines))
    return str(path)


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("clicks")
    train = write_clicks_with_kinds(folder / "train.tsv", 1_500, 0)
    return ("--train", train, "--test", write_clicks_with_kinds(folder / "test.tsv", 40, 1), *SMALL)


def test_the_kind_is_measured_where_a_variable_asks_for_it(
    flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (*flags, "--methods", "lstm", "--kind-column", "Action")
    without = evaluate(capsys, *flags)["methods"]["lstm"]
    monkeypatch.setenv("NEXTCLICK_CLICK_CONTEXT", "kind")
    by_variable = evaluate(capsys, *flags)["methods"]["lstm"]
    assert without["shorter"]["1"]["recall@1"] < 0.65  # a guess between two
    assert by_variable["shorter"]["1"]["recall@1"] > 0.8


@pytest.mark.parametrize("command", ["evaluate", "tune"])
def test_kinds_that_are_not_read_are_told_of(
    flags: tuple[str, ...],
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NEXTCLICK_UNITS", "8")
    monkeypatch.setenv("NEXTCLICK_EPOCHS", "1")
    test = flags[3]  # the smaller file, for nothing has to be learnt
    rest = (
        ("--test", test) if command == "evaluate" else ("--minutes", "0", "--out", str(tmp_path / "a.toml"))
    )
    arguments = (command, "--train", test, *rest, "--click-context", "kind,gap")
    small = ("--methods", "lstm") if command == "evaluate" else ()
    for column, n_warnings in (((), 1), (("--kind-column", "Action"), 0)):
        assert run([*arguments, *small, *column]) == 0
        assert capsys.readouterr().err.count("without --kind-column all are of one kind") == n_warnings


def test_a_search_trains_with_context(
    flags: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in TRAINING.items():
        monkeypatch.setenv(f"NEXTCLICK_{name.upper().replace('-', '_')}", str(value))
    out, found = str(tmp_path / "nextclick.toml"), []
    for context in ((), ("--click-context", "kind", "--kind-column", "Action")):
        assert run(["tune", "--train", flags[1], "--minutes", "0", "--out", out, *context, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["before"]["mrr@20"])
    assert found[1] > found[0] + 0.1


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_the_served_ranking_stands_on_any_cell_with_context(
    flags: tuple[str, ...], cell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    context = ("--click-context", "kind,gap", "--click-context-at", "product,output", "--cell", cell)
    flags = (*flags, *context, "--methods", "nextclick,lstm", "--kind-column", "Action")
    found = evaluate(capsys, *flags)["methods"]
    biases = [found[method]["popularity_bias@5"] for method in ("nextclick", "lstm")]
    assert biases[0] != biases[1]  # an order was learnt
    assert found["nextclick"]["shorter"]["1"]["recall@1"] > 0.8


def test_what_learns_on_uses_context_too(flags: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    context = ("--click-context", "kind", "--kind-column", "Action", "--prequential", "2")
    figures = evaluate(capsys, *flags, *context, "--methods", "lstm")["methods"]["lstm"]
    assert figures["learning"]["mrr@5"] > 0.8
