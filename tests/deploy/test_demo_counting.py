"""What the demo counts and judges, and the clicks that it plans."""

import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.plan import make_up, replay_real, squeeze
from deploy.demo.tally import Deliveries, HitRates, Popularity, percentile


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60))
def test_the_popular_items_are_those_clicked_most(items: list[str]) -> None:
    popularity = Popularity({"a": 2, "b": 1}, n_kept=4)
    for item in items:
        popularity.add(item)
    counts = Counter({"a": 2, "b": 1}) + Counter(items)
    best = popularity.best(k=3)
    assert [counts[item] for item in best] == [n for _, n in counts.most_common(3)]
    assert popularity.best(without=best[0], k=3)[:2] == best[1:]


def test_a_target_is_a_known_item_after_a_known_item_of_its_session() -> None:
    rates = HitRates(frozenset("ab"), Popularity({"a": 2, "b": 1}), repeat_all=True)
    assert rates.judge("s", "new", []) is None  # unknown
    assert rates.judge("s", "a", ["a"]) is None  # the first known one of its session
    assert rates.judge("s", "new", ["new"]) is None  # unknown again
    assert rates.judge("s", "b", ["x", "b"]) is True  # the unknown one between them does not matter
    assert rates.judge("s", "a", ["b"]) is False
    assert rates.judge("t", "a", ["a"]) is None  # another session
    assert (rates.n_targets, rates.n_hits, rates.n_popular_hits) == (2, 1, 2)


def test_only_twenty_items_count() -> None:
    rates = HitRates(frozenset("ab"), Popularity({"a": 1}), repeat_all=True)
    rates.judge("s", "a", [])
    assert rates.judge("s", "b", [*"0123456789ABCDEFGHIJ", "b"]) is False


def test_popularity_leaves_out_what_the_worker_leaves_out() -> None:
    for repeat_all, n_hits in ((True, 1), (False, 0)):
        rates = HitRates(frozenset("ab"), Popularity({"a": 2, "b": 1}), repeat_all)
        rates.judge("s", "a", [])
        rates.judge("s", "a", [])
        assert rates.n_popular_hits == n_hits


def test_every_acknowledged_click_is_answered_rejected_or_missing() -> None:
    deliveries = Deliveries()
    deliveries.answer((0, 1), "v1", now_s=5.010)  # before its own acknowledgement
    for offset in range(4):
        deliveries.acknowledge((0, offset), due_s=5.0)
    deliveries.answer((0, 0), "v1", now_s=5.030)
    deliveries.answer((0, 0), "v2", now_s=9.0)  # once more: at least once is allowed
    deliveries.answer((1, 7), "v2", now_s=9.0)  # nobody's click
    deliveries.reject((0, 2))
    assert (deliveries.n_clicks, deliveries.n_answered, deliveries.n_rejected) == (4, 2, 1)
    assert deliveries.n_missing == 1
    assert sorted(deliveries.latencies_s) == pytest.approx([0.010, 0.030])
    assert list(deliveries.versions) == ["v1", "v2"]
    assert len(deliveries.recent_latencies_s(8.0)) == 2
    assert deliveries.recent_latencies_s(20.0) == []


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1.0)) == (50, 99, 100)
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([], 0.5) is None


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_squeezed_sessions_keep_their_order_and_fill_the_time(lengths: list[int]) -> None:
    sessions = [(f"{n}", [f"{n}-{place}" for place in range(length)]) for n, length in enumerate(lengths)]
    clicks = squeeze(sessions, 60.0)
    due_s = [click[0] for click in clicks]
    assert due_s == sorted(due_s)
    assert due_s[0] >= 0
    assert due_s[-1] < 60
    found: dict[str, list[str]] = defaultdict(list)
    for _, session, item in clicks:
        found[session].append(item)
    assert found == {f"now-{session}": items for session, items in sessions}


def test_an_answer_has_time_to_arrive_before_the_next_click() -> None:
    lengths = [2 + n % 7 + (40 if n % 50 == 0 else 0) for n in range(2_000)]
    clicks = squeeze([(f"{n}", ["i"] * length) for n, length in enumerate(lengths)], 60.0)
    latest: dict[str, float] = {}
    gaps = []
    for due_s, session, _ in clicks:
        gaps += [due_s - latest[session]] if session in latest else []
        latest[session] = due_s
    assert min(gaps) > 0.2


def test_made_up_shoppers_come_at_the_rate_asked_for(tmp_path: Path) -> None:
    plan = make_up(tmp_path, 20.0, 50.0)
    assert len(plan.stream) == 1_000
    assert plan.stream[-1][0] == pytest.approx(20.0, rel=0.2)
    assert plan.history.is_file()
    assert {item for _, _, item in plan.stream} <= plan.counts.keys()


def test_real_clicks_are_thinned_out_by_sessions_where_there_are_too_many(tmp_path: Path) -> None:
    rows = [f"{session}\titem-{session % 7}\t{1_600_000_000 + session}" for session in range(9_000)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.tsv").write_text("SessionId\tItemId\tTime\n" + "\n".join(rows) + "\n")
        subprocess.run(["gzip", str(tmp_path / f"{name}.tsv")], check=True)
    plan = replay_real(tmp_path, 6.0)
    assert len(plan.stream) == 3_000
    assert plan.note == "the stream is one in 3 of the 9,000 test sessions"
    assert plan.repeat_items == "all"
