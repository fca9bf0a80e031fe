import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest

from streams.clickfile import ClickColumns
from streams.shop_catalogue import make_catalogue
from streams.shoppers import Habits, drifting, generate_clicks, generate_columns


def test_the_same_seed_gives_the_same_clicks() -> None:
    first = list(itertools.islice(generate_clicks(7), 500))
    assert first == list(itertools.islice(generate_clicks(7), 500))
    assert first != list(itertools.islice(generate_clicks(8), 500))


def test_columns_hold_the_same_clicks_as_the_endless_stream() -> None:
    columns = generate_columns(3, 5_000, session_prefix="p", start_ms=1_700_000_000_000)
    stream = itertools.islice(generate_clicks(3, session_prefix="p", start_ms=1_700_000_000_000), 5_000)
    assert list(zip(columns.time_ms, columns.session_ids, columns.item_ids, strict=True)) == list(stream)


def test_clicks_come_in_order_of_time_at_the_rate_asked_for() -> None:
    columns = generate_columns(1, 60_000, n_shoppers=400, clicks_per_s=50.0)
    assert np.all(np.diff(columns.time_ms) >= 0)
    seconds = (columns.time_ms[-1] - columns.time_ms[0]) / 1000
    assert len(columns) / seconds == pytest.approx(50.0, rel=0.1)


def test_as_many_shoppers_are_in_the_shop_as_asked_for() -> None:
    columns = generate_columns(1, 30_000, n_shoppers=300, clicks_per_s=30.0)
    start, stop = np.searchsorted(columns.time_ms, [500_000, 530_000])  # three of a shopper's gaps
    assert 150 < len(set(columns.session_ids[start:stop])) < 600


@pytest.mark.parametrize("n_items", [2, 3, 60, 61, 500, 12_345])
def test_a_catalogue_has_as_many_different_names_as_asked_for(n_items: int) -> None:
    catalogue = make_catalogue(n_items, np.random.default_rng(0))
    assert len(set(catalogue.item_ids)) == n_items
    assert catalogue.kind.shape == (n_items,)


def test_item_names_can_be_read() -> None:
    names = make_catalogue(500, np.random.default_rng(0)).item_ids
    assert "red-running-shoes" in names
    assert all(name.replace("-", "").isalnum() and len(name) < 60 for name in names)


def test_a_catalogue_of_one_item_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        make_catalogue(1, np.random.default_rng(0))


def test_the_next_click_can_be_learnt_and_popularity_is_of_some_use() -> None:
    columns = generate_columns(5, 40_000, n_items=300)
    n_train = 32_000
    popular = {item for item, _ in Counter(columns.item_ids[:n_train]).most_common(20)}
    following: dict[str, Counter[str]] = defaultdict(Counter)
    last: dict[str, str] = {}
    n_targets = by_popularity = by_last_item = 0
    for n, (session_id, item_id) in enumerate(zip(columns.session_ids, columns.item_ids, strict=True)):
        before = last.get(session_id)
        last[session_id] = item_id
        if before is None:
            continue
        if n < n_train:
            following[before][item_id] += 1
            continue
        n_targets += 1
        by_popularity += item_id in popular
        by_last_item += item_id in {item for item, _ in following[before].most_common(20)}
    assert 0.15 < by_popularity / n_targets < 0.45
    assert by_last_item / n_targets > 2 * by_popularity / n_targets


def test_what_is_popular_drifts() -> None:
    habits = Habits(fashion=1.5, fashion_period_ms=1_000_000)
    columns = generate_columns(2, 40_000, n_items=200, habits=habits)

    def most_popular(first: int) -> set[str]:
        ranked = Counter(columns.item_ids[first : first + 8_000]).most_common(20)
        return {item for item, _ in ranked}

    assert len(most_popular(0) & most_popular(9_000)) < 15  # half a period later


def test_nobody_can_be_right_always() -> None:
    columns = generate_columns(5, 20_000, n_items=300)
    pairs = Counter(zip(columns.item_ids[:-1], columns.item_ids[1:], strict=True))
    assert len(pairs) > 5_000


def test_new_items_appear_one_after_the_other_and_are_soon_clicked() -> None:
    habits = Habits(n_new_items=20, launch_every_ms=20_000)
    columns = generate_columns(3, 20_000, n_items=120, clicks_per_s=40.0, habits=habits)
    there = set(make_catalogue(120, np.random.default_rng(3)).item_ids)
    first_ms: dict[str, int] = {}
    for item_id, time_ms in zip(columns.item_ids.tolist(), columns.time_ms.tolist(), strict=True):
        if item_id not in there:
            first_ms.setdefault(item_id, time_ms)
    assert len(first_ms) == 20
    waited_s = (np.sort(list(first_ms.values())) - 20_000 * np.arange(1, 21)) / 1000
    assert waited_s.min() >= 0
    assert np.median(waited_s) < 20
    newest = columns.item_ids[-5_000:]
    assert 0.1 < sum(item_id in first_ms for item_id in newest) / len(newest) < 0.6


def test_new_items_leave_the_rest_of_the_shop_as_it_was() -> None:
    later = Habits(n_new_items=5, launch_every_ms=10_000_000)
    plain, with_later = (generate_columns(4, 3_000, habits=habits) for habits in (Habits(), later))
    assert with_later.item_ids.tolist() == plain.item_ids.tolist()


def following(columns: ClickColumns, clicks: slice) -> set[tuple[str, str]]:
    """The hundred most frequent pairs of kinds clicked one after the other."""
    last: dict[str, str] = {}
    pairs: Counter[tuple[str, str]] = Counter()
    for session_id, item_id in zip(columns.session_ids[clicks], columns.item_ids[clicks], strict=True):
        kind = item_id.partition("-")[2]
        if session_id in last and last[session_id] != kind:
            pairs[last[session_id], kind] += 1
        last[session_id] = kind
    return {pair for pair, _ in pairs.most_common(100)}


def test_what_follows_turns_where_that_is_asked_for() -> None:
    steady, turning = (
        generate_columns(6, 60_000, n_items=300, clicks_per_s=50.0, habits=habits)
        for habits in (Habits(), drifting(Habits(), 600_000))
    )
    early, late = slice(0, 15_000), slice(45_000, 60_000)  # late begins after 900 s
    assert len(following(steady, early) & following(steady, late)) > 80
    assert len(following(turning, early) & following(turning, late)) < 50
