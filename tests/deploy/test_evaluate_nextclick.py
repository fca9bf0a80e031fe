"""The served ranking as a method of evaluate, beside the LSTM that it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.test_evaluate import SMALL, evaluate, write_clicks
from tests.model.markov import markov_sessions


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("clicks")
    train = write_clicks(folder / "train.tsv.gz", markov_sessions(500, 80, 0.2, length=6))
    test = write_clicks(folder / "test.tsv.gz", markov_sessions(60, 80, 0.2, length=6, seed=1))
    return str(train), str(test)


def test_the_order_is_learnt_and_the_lstm_is_the_same_one(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--train", files[0], "--test", files[1], *SMALL)
    both = evaluate(capsys, *flags, "--methods", "nextclick,lstm")["methods"]
    alone = evaluate(capsys, *flags, "--methods", "lstm")["methods"]
    assert both["lstm"]["repeat_items"] == alone["lstm"]["repeat_items"]
    assert both["nextclick"]["mrr@20"] > 0.7
    assert both["nextclick"]["repeat_items"] != both["lstm"]["repeat_items"]
    assert both["nextclick"]["recall@20"] > 0.8


def test_noise_is_not_learnt(
    tmp_path: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_clicks(tmp_path / "train.tsv.gz", markov_sessions(500, 80, 1.0, length=6))
    test = write_clicks(tmp_path / "test.tsv.gz", markov_sessions(100, 80, 1.0, length=6, seed=1))
    found = evaluate(capsys, "--train", str(train), "--test", str(test), "--methods", "nextclick", *SMALL)
    assert found["methods"]["nextclick"]["recall@20"] == pytest.approx(20 / 80, abs=0.06)


def test_where_no_order_can_be_learnt_the_lstm_s_is_served(
    tmp_path: Path, files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    small = write_clicks(tmp_path / "small.tsv.gz", markov_sessions(100, 80, 0.2, length=6))
    flags = ("--train", str(small), "--test", files[1], "--methods", "nextclick,lstm", *SMALL)
    found = evaluate(capsys, *flags)["methods"]
    assert found["nextclick"]["repeat_items"] == found["lstm"]["repeat_items"]


def test_links_and_encoder_learn_on_in_a_replay(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "--train",
        files[0],
        "--test",
        files[1],
        "--methods",
        "nextclick",
        "--prequential",
        "3",
        *SMALL,
    )
    figures = evaluate(capsys, *arguments)["methods"]["nextclick"]
    assert len(figures["learn_seconds"]) == 2
    assert figures["learning"]["recall@20"] > 0.8
