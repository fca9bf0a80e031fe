"""The prequential mode of evaluate, and the pictures of both modes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.cli.main import run
from deploy.evaluation.methods import METHODS, Fitting, Method, fit_popular
from model.ranking import Ranker
from model.sequences import Sequences
from tests.deploy.test_evaluate import evaluate, write_clicks
from tests.model.markov import markov_sessions

OLD_ITEMS, NEW_ITEMS = 40, 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A shop whose whole assortment changes when the test file begins."""
    folder = tmp_path_factory.mktemp("clicks")
    train = write_clicks(folder / "train.tsv.gz", markov_sessions(250, OLD_ITEMS, 0.1, length=4))
    new = markov_sessions(250, NEW_ITEMS, 0.1, length=4, seed=1)
    begin_s = 1_400_000_000 + 100 * 250
    test = write_clicks(folder / "test.tsv.gz", Sequences(new.rows + OLD_ITEMS, new.starts), begin_s)
    return str(train), str(test)


def arguments(files: tuple[str, str], methods: str) -> tuple[str, ...]:
    flags = ("--methods", methods, "--unknown", "miss", "--prequential", "5")
    return ("--train", files[0], "--test", files[1], *flags)


def test_what_is_learnt_is_foretold_from_then_on(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(capsys, *arguments(files, "sequential-rules,lstm"))
    assert result["targets"] == sum(part["targets"] for part in result["slices"]) == 750
    n_items = [part["items"] for part in result["slices"]]
    assert (n_items[0], n_items[-1], sorted(n_items)) == (40, 80, n_items)
    for name, reached in (("sequential-rules", 0.8), ("lstm", 0.55)):
        figures = result["methods"][name]
        learning = [own["recall@20"] for own in figures["learning"]["curve"]]
        # Nobody can know an item before it was ever clicked; who never learns on never does.
        assert learning[0] == 0.0
        assert learning[-1] > reached
        assert not any(own["recall@20"] for own in figures["frozen"]["curve"])
        assert figures["gain"]["recall@20"]["low"] > 0
        assert len(figures["learn_seconds"]) == 4
        assert figures["learning"]["recall@20"] == pytest.approx(np.mean(learning), abs=0.01)


def test_without_a_change_there_is_little_to_learn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_clicks(tmp_path / "train.tsv.gz", markov_sessions(300, 40, 0.2, length=4))
    test = write_clicks(tmp_path / "test.tsv.gz", markov_sessions(100, 40, 0.2, length=4, seed=1))
    result = evaluate(capsys, *arguments((str(train), str(test)), "sequential-rules"))
    assert abs(result["methods"]["sequential-rules"]["gain"]["recall@20"]["difference"]) < 0.05


def test_both_modes_are_drawn(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="only of the extra [pictures]")
    given = arguments(files, "popular,sequential-rules")
    for name, flags in (("replay.png", given), ("comparison.png", given[:-2])):
        picture = tmp_path / name
        assert run(["evaluate", *flags, "--picture", str(picture)]) == 0
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size > 10_000
    assert "popular, never again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "reason"), [("a.jpg", "must end in one of .png"), ("no/a.png", "no folder")]
)
def test_a_picture_that_cannot_be_is_told_before_the_work(
    files: tuple[str, str], tmp_path: Path, name: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (*arguments(files, "popular"), "--picture", str(tmp_path / name))
    assert run(["evaluate", *given]) == 1
    told = capsys.readouterr().err
    assert reason in told
    assert "reading clicks" not in told


def test_a_method_learns_every_session_once(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    n_new: list[int] = []

    def learn(ranker: Ranker, fitting: Fitting) -> Ranker:
        n_new.append(fitting.n_new)
        return fit_popular(fitting)

    monkeypatch.setitem(METHODS, "popular", Method(fit_popular, learn))
    slices = evaluate(capsys, *arguments(files, "popular"))["slices"]
    ended = [part["ended"] for part in slices]
    assert n_new == np.diff(ended).tolist()
    assert min(n_new) > 0
