"""The command evaluate: what it measures, what it prints, and what it says of bad input."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from deploy.cli.evaluate import parse_gap, parse_methods, parse_seeds
from deploy.cli.main import run
from deploy.evaluation import methods
from index.exact import ExactIndex
from model.arrays import Float32Array, Int64Array
from model.sequences import Sequences
from tests.model.markov import markov_sessions

HEADER = "SessionId\tItemId\tTime\n"
SMALL = ("--units", "24", "--epochs", "2", "--learning-rate", "0.03")


def write_clicks(path: Path, sequences: Sequences, begin_s: int = 1_400_000_000) -> Path:
    lines = [
        f"s{i}\titem-{row}\t{begin_s + 100 * i + place}\n"
        for i in range(len(sequences))
        for place, row in enumerate(sequences.session(i))
    ]
    with gzip.open(path, "wt") as file:
        file.write(HEADER + "".join(lines))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("clicks")
    train = write_clicks(folder / "train.tsv.gz", markov_sessions(300, 60, 0.2, length=5))
    heldout = markov_sessions(40, 60, 0.2, length=5, seed=1)
    rows = heldout.rows.copy()
    rows[::25] = 999  # eight clicks on an item that nobody trained on
    test = write_clicks(folder / "test.tsv.gz", Sequences(rows, heldout.starts))
    return str(train), str(test)


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = run(["evaluate", *arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert printed.out.count("\n") == 1
    found: dict[str, Any] = json.loads(printed.out)
    return found


def test_measures_the_methods_and_prints_one_object(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(capsys, "--train", files[0], "--test", files[1], *SMALL)
    assert {"targets", "sessions", "items", "methods", "comparisons", "training"} <= set(result)
    assert result["targets"] == 40 * 5 - 8 - 40
    lstm, popular = result["methods"]["lstm"], result["methods"]["popular"]
    assert lstm["recall@20"] > 0.6 > popular["recall@20"]
    assert 0 < lstm["mrr@20"] < lstm["recall@20"]
    assert set(lstm["repeat_items"]) == {"all", "not-last", "none"}
    assert lstm["repeat_items"]["all"] == {name: lstm[name] for name in ("recall@20", "mrr@20", "ndcg@20")}
    assert set(result["training"]) == {"clicks_per_s", "seconds"}


def test_what_the_index_loses_is_told_where_it_is_asked_for(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--train", files[0], "--test", files[1], "--methods", "lstm,popular", *SMALL)
    exact = evaluate(capsys, *arguments, "--exact")["methods"]["lstm"]["exact"]
    assert exact["loss"] == {
        "recall@20": 0.0,
        "mrr@20": 0.0,
        "ndcg@20": 0.0,
    }  # so small a catalogue is scored
    # An index that finds the farthest items in place of the nearest:
    monkeypatch.setattr(methods, "build_index", lambda vectors, queries: ExactIndex(-vectors))
    found = evaluate(capsys, *arguments, "--exact")["methods"]
    assert {name: found["lstm"]["exact"][name] for name in exact if name != "loss"} == {
        name: exact[name] for name in exact if name != "loss"
    }
    assert found["lstm"]["exact"]["loss"]["recall@20"] > 0.5
    assert "exact" not in found["popular"]
    assert run(["evaluate", *arguments, "--exact"]) == 0
    assert "the share of it that the index loses\nlstm  " in capsys.readouterr().out


class HastyIndex(ExactIndex):
    """Finds something useful only where it is asked for more than a worker that leaves out one item."""

    def search(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        return super().search(queries if k > 21 else -queries, k)


def test_the_index_is_asked_for_what_a_worker_asks_for(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An approximate index looks the farther the more items it is asked for."""
    monkeypatch.setattr(methods, "build_index", lambda vectors, queries: HastyIndex(vectors))
    arguments = ("--train", files[0], "--test", files[1], "--methods", "lstm", *SMALL)
    for rule in ("all", "not-last"):
        lstm = evaluate(capsys, *arguments, "--repeat-items", rule)["methods"]["lstm"]
        of_rules = {name: found["recall@20"] for name, found in lstm["repeat_items"].items()}
        assert lstm["recall@20"] == of_rules[rule] < 0.3
        assert of_rules["none"] > 0.4
        replayed = evaluate(capsys, *arguments, "--repeat-items", rule, "--prequential", "2")
        assert replayed["methods"]["lstm"]["frozen"]["recall@20"] < 0.3


def test_unknown_items_stay_as_misses(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--train", files[0], "--test", files[1], "--methods", "popular")
    dropped, missed = (evaluate(capsys, *arguments, "--unknown", what) for what in ("drop", "miss"))
    assert missed["targets"] == 40 * 4
    assert dropped["targets"] < missed["targets"]
    assert "lstm" not in missed["methods"]
    assert missed["training"] == {}


def test_rule_of_repeats_chooses_the_figures(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--train", files[0], "--test", files[1], "--methods", "popular", "--repeat-items", "none")
    popular = evaluate(capsys, *arguments)["methods"]["popular"]
    assert popular["recall@20"] == popular["repeat_items"]["none"]["recall@20"]


def test_a_gap_cuts_sessions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clicks.tsv"
    times = [0, 60, 60 + 31 * 60, 60 + 32 * 60]
    path.write_text(
        HEADER + "".join(f"a\t{item}\t{1_400_000_000 + t}\n" for item, t in zip("xyxy", times, strict=True))
    )
    arguments = ("--train", str(path), "--test", str(path), "--methods", "popular")
    assert evaluate(capsys, *arguments)["targets"] == 3
    assert evaluate(capsys, *arguments, "--gap", "30")["targets"] == 2


def test_table_for_people(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "--train", files[0], "--test", files[1], "--methods", "popular"]) == 0
    printed = capsys.readouterr()
    assert "152 targets in 40 sessions, 60 items; best 20" in printed.out
    assert "popular" in printed.out
    assert "reading clicks" in printed.err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file"),
        ("", "is empty"),
        (HEADER, "holds no clicks"),
        ("session,item,time\na,b,1\n", "has no column 'SessionId'"),
        (HEADER + "a\tb\tyesterday\n", "neither numbers nor ISO dates"),
        (
            HEADER + "a\tnever-seen\t1400000000\na\tnor-this\t1400000001\n",
            "no session with two clicks on items of",
        ),
    ],
)
def test_bad_files_are_one_line(
    files: tuple[str, str],
    tmp_path: Path,
    content: str | None,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "test.tsv"
    if content is not None:
        path.write_text(content)
    code = run(["evaluate", "--train", files[0], "--test", str(path), "--methods", "popular", "--json"])
    printed = capsys.readouterr()
    assert code == 1
    assert printed.out == ""
    assert reason in printed.err.splitlines()[-1]
    assert "Traceback" not in printed.err


def test_nothing_to_train_on(
    tmp_path: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_clicks(tmp_path / "single.tsv.gz", Sequences(np.arange(9), np.arange(10)))
    assert run(["evaluate", "--train", str(train), "--test", files[1], "--unknown", "miss"]) == 1
    assert "lstm cannot be trained: no session has two clicks" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--methods", "lstm,knn"],
        ["--methods", ""],
        ["--gap", "0"],
        ["--unknown", "keep"],
        ["--k", "0"],
        ["--seeds", "1,two"],
        ["--prequential", "1"],
        ["--prequential", "3", "--seeds", "1,2"],
    ],
)
def test_wrong_usage_is_2(
    files: tuple[str, str], wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "--train", files[0], "--test", files[1], *wrong]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_methods_gap_and_seeds_as_text() -> None:
    assert (parse_seeds(""), parse_seeds("3"), parse_seeds("1, 2,1")) == ((), (3,), (1, 2))
    assert parse_methods("popular, lstm,popular") == ["popular", "lstm"]
    assert (parse_gap("none"), parse_gap("30"), parse_gap("0.5")) == (None, 1_800_000, 30_000)
    for wrong in ("", "-1", "nan", "soon"):
        with pytest.raises(typer.BadParameter):
            parse_gap(wrong)


def test_figures_come_with_intervals_and_a_paired_test(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    methods = "sequential-rules,popular"
    result = evaluate(capsys, "--train", files[0], "--test", files[1], "--methods", methods, "--k", "10")
    for figures in result["methods"].values():
        for metric in ("recall@10", "mrr@10", "ndcg@10"):
            low, high = figures["intervals"][metric]
            assert low <= figures[metric] <= high
        assert figures["shorter"]["1"]["recall@1"] <= figures["recall@10"]
        lengths = figures["by_session_length"].values()
        assert sum(group["targets"] for group in lengths) == result["targets"]
    (comparison,) = result["comparisons"]
    assert (comparison["method"], comparison["against"]) == ("sequential-rules", "popular")
    assert comparison["recall@10"]["low"] > 0
    assert comparison["recall@10"]["p"] < 0.01
    rules, popular = (result["methods"][name] for name in methods.split(","))
    assert rules["coverage@10"] > 0.9
    assert popular["coverage@10"] == pytest.approx(10 / 60, abs=1e-5)
    assert popular["popularity_bias@10"] > rules["popularity_bias@10"]


def test_seeds_give_mean_and_worst(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments: tuple[str, ...] = ("--train", files[0], "--test", files[1], "--methods", "lstm,popular")
    arguments = (*arguments, "--units", "8", "--epochs", "1")  # nothing here is about what they learn
    several = evaluate(capsys, *arguments, "--seeds", "1,2")["methods"]
    one = evaluate(capsys, *arguments, "--seed", "2")["methods"]
    lstm = several["lstm"]
    assert lstm["seeds"]["2"]["mrr@20"] == one["lstm"]["mrr@20"]
    both = [lstm["seeds"][seed]["mrr@20"] for seed in ("1", "2")]
    assert lstm["worst"]["mrr@20"] == min(both)
    assert lstm["mrr@20"] == pytest.approx(sum(both) / 2, abs=1e-5)
    assert "worst" not in several["popular"]  # has no chance in it
    assert run(["evaluate", *arguments, "--seeds", "1,2"]) == 0
    assert "mean of seeds 1, 2" in capsys.readouterr().out
