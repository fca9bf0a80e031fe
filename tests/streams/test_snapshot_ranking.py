"""The ranking in a snapshot: there or not, complete or refused with the bundle."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pytest

from model.blend import BlendedRanking
from streams.events import Click
from streams.manifest import BUNDLE_FILES, MANIFEST_FILE, RANKING_FILE
from streams.ranking import Ranking
from streams.recommender import Arrival, Recommender
from streams.snapshot import Provenance, Snapshot, SnapshotError, load_snapshot, save_snapshot
from tests.damage import flip, promise, promised_garbage, promised_half, remove, truncate
from tests.tiny import ITEMS, tiny_parts, tiny_ranking

GOLDEN = Path(__file__).parent / "golden" / "snapshot-v1-ranking"
CREATED_MS = 1_763_784_900_123


def save(location: Path | str, ranking: BlendedRanking | None = None) -> Snapshot:
    ranking = ranking or tiny_ranking()
    return save_snapshot(str(location), *tiny_parts(), Provenance(), ranking=ranking, created_ms=CREATED_MS)


def answers(snapshot: Snapshot, ranking: Ranking = Ranking.NEXTCLICK) -> list[str]:
    recommender = Recommender(snapshot, top_k=4, ranking=ranking)
    clicks = [Arrival(Click("s", item), 0, n, CREATED_MS) for n, item in enumerate(ITEMS[3:6])]
    return [item.item_id for item in recommender.answer(clicks, {}, created_ms=0).recommendations[-1].items]


def test_golden_ranking_of_format_1(tmp_path: Path) -> None:
    """A ranking that was ever published must stay loadable. REWRITE_GOLDEN=1 writes it anew."""
    if os.environ.get("REWRITE_GOLDEN"):
        saved = save(tmp_path)
        shutil.rmtree(GOLDEN, ignore_errors=True)
        shutil.copytree(saved.location, GOLDEN)
    golden = load_snapshot(str(GOLDEN))
    assert golden.ranking is not None
    assert golden.ranking.memory.n_items == len(ITEMS)
    assert answers(golden) == ["item-02", "item-04", "item-10", "item-06"]
    assert answers(golden, Ranking.LSTM) == ["item-11", "item-09", "item-08", "item-01"]


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    saved = save(tmp_path)
    loaded = load_snapshot(saved.location, manifest_sha256=saved.manifest_sha256)
    assert loaded.ranking is not None
    np.testing.assert_array_equal(loaded.ranking.blend.first, tiny_ranking().blend.first)
    np.testing.assert_array_equal(loaded.ranking.memory.targets, tiny_ranking().memory.targets)
    assert answers(loaded) == answers(saved)
    files = {path.name for path in Path(saved.location).iterdir()}
    assert files == {*BUNDLE_FILES, RANKING_FILE, MANIFEST_FILE}
    assert set(loaded.manifest.files) == {*BUNDLE_FILES, RANKING_FILE}


def test_another_ranking_is_another_version(tmp_path: Path) -> None:
    one, other = save(tmp_path), save(tmp_path, tiny_ranking(seed=1))
    plain = save_snapshot(str(tmp_path), *tiny_parts(), Provenance(), created_ms=CREATED_MS)
    assert len({one.version, other.version, plain.version}) == 3
    assert plain.ranking is None


def test_a_ranking_travels_to_any_place_that_fsspec_opens() -> None:
    memory = fsspec.filesystem("memory")
    location = "memory://ranked"
    try:
        loaded = load_snapshot(save(location).location)
        assert loaded.ranking is not None
        memory.rm_file(f"/ranked/{loaded.version}/{RANKING_FILE}")
        with pytest.raises(SnapshotError, match=f"{RANKING_FILE} is missing"):
            load_snapshot(loaded.location)
    finally:
        memory.rm("/ranked", recursive=True)


def other_catalogue(folder: Path) -> None:
    tiny_ranking(n_items=len(ITEMS) - 1).save(folder / RANKING_FILE)
    promise(folder)


def overflowing(folder: Path) -> None:
    ranking = tiny_ranking()
    ranking.blend.linear.fill(np.float32(3e38))
    ranking.save(folder / RANKING_FILE)
    promise(folder)


DAMAGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("missing", remove(RANKING_FILE), f"{RANKING_FILE} is missing"),
    ("truncated", truncate(RANKING_FILE), f"{RANKING_FILE} has .* bytes, its manifest says"),
    ("flipped", flip(RANKING_FILE), f"SHA-256 of {RANKING_FILE} is not the one"),
    ("garbage", promised_garbage(RANKING_FILE), "not a readable ranking"),
    ("half", promised_half(RANKING_FILE), "not a readable ranking"),
    ("empty", promised_garbage(RANKING_FILE, b""), "not a readable ranking"),
    ("of another catalogue", other_catalogue, "differ in their number of items"),
    ("overflow", overflowing, "its ranking gives numbers that are not finite"),
]


@pytest.mark.parametrize(("damage", "reason"), [one[1:] for one in DAMAGES], ids=[one[0] for one in DAMAGES])
def test_damage_is_refused_with_its_reason(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(GOLDEN, folder)
    damage(folder)
    with pytest.raises(SnapshotError, match=f"snapshot {folder} is refused: .*{reason}"):
        load_snapshot(str(folder))
