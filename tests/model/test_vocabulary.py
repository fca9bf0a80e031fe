from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.vocabulary import Vocabulary, VocabularyError

CLICKS = ["tea", "cup", "tea", "pot", "tea", "cup"]


def test_rows_follow_popularity() -> None:
    vocabulary = Vocabulary.from_clicks(CLICKS)
    assert vocabulary.item_ids == ("tea", "cup", "pot")
    assert vocabulary.counts.tolist() == [3, 2, 1]
    assert [vocabulary.row(item_id) for item_id in ("tea", "cup", "pot", "jug")] == [0, 1, 2, None]
    assert vocabulary.rows(["pot", "jug", "tea"]).tolist() == [2, -1, 0]
    assert vocabulary.item_id(1) == "cup"
    assert len(vocabulary) == 3
    assert "tea" in vocabulary
    assert "jug" not in vocabulary


def test_rare_items_stay_unknown() -> None:
    assert Vocabulary.from_clicks(CLICKS, min_count=2).item_ids == ("tea", "cup")


def test_no_clicks() -> None:
    assert len(Vocabulary.from_clicks([])) == 0


@given(st.lists(st.text(max_size=3)), st.randoms(use_true_random=False))
def test_rows_depend_on_the_clicks_not_on_their_order(clicks: list[str], random: object) -> None:
    shuffled = sorted(clicks, reverse=True)
    assert Vocabulary.from_clicks(clicks).item_ids == Vocabulary.from_clicks(shuffled).item_ids


@given(st.lists(st.text(max_size=5), min_size=1))
def test_every_clicked_item_comes_back(clicks: list[str]) -> None:
    vocabulary = Vocabulary.from_clicks(np.array(clicks, dtype=object))
    assert [vocabulary.item_id(row) for row in vocabulary.rows(clicks)] == clicks
    assert vocabulary.counts.sum() == len(clicks)


def test_finds_its_items_in_another() -> None:
    older = Vocabulary.from_clicks(["a", "a", "b"])
    newer = Vocabulary.from_clicks(["b", "b", "c", "a"])
    assert newer.item_ids == ("b", "a", "c")
    assert newer.rows_in(older).tolist() == [1, 0, -1]


def test_is_stored_and_read(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    Vocabulary.from_clicks(CLICKS).save(path)
    stored = Vocabulary.load(path)
    assert stored.item_ids == ("tea", "cup", "pot")
    assert stored.counts.tolist() == [3, 2, 1]
    assert pq.read_table(path).column_names == ["item_id", "row", "count"]


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_pieces_come_together(at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "items.parquet"
    monkeypatch.setattr("model.vocabulary.ITEMS_AT_ONCE", at_once)
    Vocabulary.from_clicks(CLICKS).save(path)
    stored = Vocabulary.load(path)
    assert stored.item_ids == ("tea", "cup", "pot")
    assert stored.rows(["pot", "cup", "tea"]).tolist() == [2, 1, 0]


@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_goes_in_pieces(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.vocabulary.ITEMS_AT_ONCE", at_once)
    vocabulary = Vocabulary.from_clicks(CLICKS)
    handed_out, rows, item_ids = vocabulary.item_ids, vocabulary._rows, vocabulary._item_ids
    del vocabulary
    assert (rows, item_ids) == ({}, [])
    assert handed_out == ("tea", "cup", "pot")


def test_counts_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Vocabulary.from_clicks(CLICKS).counts[0] = 9


def test_refuses_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(VocabularyError, match=r"items\.parquet is not a readable vocabulary"):
        Vocabulary.load(path)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"item_id": ["a", "b"], "row": [0, 2], "count": [2, 1]}, "number"),
        ({"item_id": ["a", None], "row": [0, 1], "count": [2, 1]}, "number"),
        ({"item_id": ["a", "a"], "row": [0, 1], "count": [2, 1]}, "twice"),
        ({"item_id": ["a", "b"], "row": [0, 1], "count": [1, 2]}, "falling"),
        ({"item_id": ["a", "b"], "count": [2, 1]}, "readable"),
    ],
)
def test_refuses_what_is_no_vocabulary(tmp_path: Path, columns: dict[str, list[object]], reason: str) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(VocabularyError, match=reason):
        Vocabulary.load(path)
