"""What bench-fresh counts, on clicks whose figures are known."""

import numpy as np
import pytest

from benchmarks.fresh import delays
from benchmarks.fresh_replay import later, launched, replay
from streams.clickfile import ClickColumns
from streams.fresh import FreshRules
from tests.tiny import ITEMS, tiny_snapshot


def columns(*clicks: tuple[str, str]) -> ClickColumns:
    sessions, items = zip(*clicks, strict=True)
    return ClickColumns(
        np.array(sessions, dtype=object),
        np.array(items, dtype=object),
        np.arange(len(clicks), dtype=np.int64),
    )


def test_delays_are_from_the_first_click_to_the_first_answer() -> None:
    clicks = [
        (2_000, {"session_id": "s", "item_id": "new-a"}),
        (1_000, {"session_id": "r", "item_id": "new-a"}),
        (1_500, {"session_id": "s", "item_id": "new-b"}),
        (62_000, {"session_id": "s", "item_id": "old"}),
        (2_001, {"session_id": "s", "item_id": "new-c"}),
    ]
    answers = [
        (9_000, {"session_id": "r", "items": [{"item_id": "new-a"}]}),
        (1_500, {"session_id": "r", "items": [{"item_id": "old"}, {"item_id": "new-a"}]}),
        (4_000, {"session_id": "s", "items": [{"item_id": "new-a"}, {"item_id": "new-b"}]}),
    ]
    found = delays(clicks, answers, {"old"})
    assert (found["items_clicked"], found["recommended"]) == (2, 2)
    assert (found["median_s"], found["longest_s"]) == (pytest.approx(1.5), 2.5)
    assert (found["to_other_sessions"], found["others_median_s"]) == (1, 3.0)


def test_an_item_that_is_never_recommended_is_missing() -> None:
    clicks = [
        (n * 60_000, {"session_id": "s", "item_id": item_id}) for n, item_id in enumerate(("new", "old"))
    ]
    found = delays(clicks, [], {"old"})
    assert (found["items_clicked"], found["recommended"], found["median_s"]) == (1, 0, None)


def test_a_replay_counts_targets_by_what_the_snapshot_knows() -> None:
    snapshot = tiny_snapshot(seed=1, blended=True)
    clicks = columns(*[(f"s-{n % 7}", "new" if n % 3 == 2 else ITEMS[n % 11]) for n in range(300)])
    plain, found = (replay(snapshot, clicks, rules=rules) for rules in (None, FreshRules()))
    n_new = sum(item_id == "new" for item_id in clicks.item_ids[7:])
    for one in (plain, found):
        assert one.all.targets == 300 - 7
        assert one.new.targets == n_new
        assert one.new_to_session.targets < one.new.targets
    assert plain.new.hits == plain.n_fresh == 0
    assert found.new.hits > 0
    assert found.n_fresh > 0


def test_logs_are_cut_by_place_and_by_item() -> None:
    clicks = columns(*[("s", f"item-{n % 20}") for n in range(40)])
    older, newer = later(clicks, 0.75)
    assert (len(older), len(newer)) == (30, 10)
    known, replayed = launched(older, newer)
    assert len(set(older.item_ids) - set(known.item_ids)) == 2
    assert replayed is newer
