"""Both rankings from a worker process through Apache Kafka: the answers are those that are measured."""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from deploy.cli.main import run
from index.build import EXACT_UP_TO
from model.blend_ranker import BlendRanker
from model.ranking import EncoderRanker, Ranker
from model.sequences import Sequences
from streams.clickfile import ClickColumns, write_click_file
from streams.ranking import Ranking
from streams.shoppers import generate_columns
from streams.snapshot import Snapshot
from tests.integration.harness import Position, click_value, produce, wait_until_answered
from tests.integration.site import Site
from tests.integration.test_worker import make_clicks

pytestmark = pytest.mark.kafka

TOP_K = 20


def ranker_of(snapshot: Snapshot, ranking: Ranking) -> Ranker:
    parts = (snapshot.encoder, snapshot.index.search, snapshot.vocabulary.counts)
    if ranking is Ranking.LSTM:
        return EncoderRanker(*parts)
    assert snapshot.ranking is not None
    return BlendRanker(*parts, snapshot.ranking)


@pytest.mark.parametrize("ranking", list(Ranking))
def test_a_worker_serves_what_is_measured(site: Site, ranking: Ranking) -> None:
    snapshot = site.announce(seed=1, ranked=True)
    only_known = ("--repeat-items", "all", "--fresh-items", "0")
    worker = site.worker("w1", "--ranking", ranking, *only_known).start().wait_ready()
    clicks = [
        (key, json.dumps({**json.loads(value or b""), "event_id": f"e{n}"}).encode())
        for n, (key, value) in enumerate(make_clicks(800, n_sessions=60))
    ]
    positions = produce(site.servers, site.topics.clicks, clicks, rate=800)
    answers = wait_until_answered(site.servers, site.topics.recommendations, positions)
    assert worker.stop() == 0

    of_session: dict[str, list[Position]] = defaultdict(list)
    rows: dict[Position, int] = {}
    for position, (_, value) in zip(positions, clicks, strict=True):
        click = json.loads(value)
        of_session[click["session_id"]].append(position)
        row = snapshot.vocabulary.row(click["item_id"])
        rows[position] = -1 if row is None else row
    places = [sorted(of_session[session]) for session in sorted(of_session)]
    in_order = [position for session in places for position in session]
    sequences = Sequences.from_lists([[rows[position] for position in session] for session in places])
    n_compared = n_equal = 0
    for at, scores, best in ranker_of(snapshot, ranking).answers(sequences, TOP_K):
        for click_at, own_scores, own_rows in zip(at.tolist(), scores, best, strict=True):
            (answer,) = answers[in_order[click_at]]
            if answer["source"] == "popular":
                continue
            served = [item["item_id"] for item in answer["items"]]
            np.testing.assert_allclose([item["score"] for item in answer["items"]], own_scores, atol=0.02)
            n_compared += 1
            n_equal += served == [snapshot.vocabulary.item_id(row) for row in own_rows.tolist()]
    assert n_compared > 600
    assert n_equal > 0.99 * n_compared  # two items of nearly one score may change places


N_TRAIN, N_CLICKS = 8_000, 10_000
N_ITEMS = 1_500
"""So many that the index is approximate."""
SMALL = ("--units", "32", "--epochs", "3")


def write_shoppers(folder: Path) -> tuple[Path, Path, ClickColumns]:
    """A file to train on; and one of the sessions that began after it, with its clicks."""
    shop = generate_columns(3, N_CLICKS, n_items=N_ITEMS, n_shoppers=60, start_ms=1_700_000_000_000)
    before = set(shop.session_ids[:N_TRAIN])
    later = np.array([session_id not in before for session_id in shop.session_ids])
    earlier = np.arange(N_CLICKS) < N_TRAIN
    older, newer = (
        ClickColumns(shop.session_ids[part], shop.item_ids[part], shop.time_ms[part])
        for part in (earlier, later)
    )
    write_click_file(folder / "train.tsv", older)
    write_click_file(folder / "test.tsv", newer)
    return folder / "train.tsv", folder / "test.tsv", newer


def accuracy(found: list[list[str]], clicked: list[str]) -> tuple[float, float]:
    """Recall and MRR of lists of items, each with the item that was clicked next."""
    ranks = [
        items.index(item) + 1 if item in items else 0 for items, item in zip(found, clicked, strict=True)
    ]
    return sum(rank > 0 for rank in ranks) / len(ranks), sum(1 / rank for rank in ranks if rank) / len(ranks)


def test_a_replayed_log_has_the_accuracy_that_evaluate_tells(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trainer makes of a file what evaluate makes of it, and the worker serves it: recall, MRR alike."""
    train, test, newer = write_shoppers(tmp_path)
    terms = ("--gap", "30", "--unknown", "miss", "--methods", "nextclick,lstm")
    assert run(["evaluate", "--train", str(train), "--test", str(test), *terms, *SMALL, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    monkeypatch.setattr("deploy.cli.trainer.be_considerate", lambda: 1)  # pytest is not to become nice
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NEXTCLICK_HOME", str(site.folder / "home"))
    assert run(["trainer", "--once", "--history", str(train), *SMALL, "--json"]) == 0
    worker = site.worker("w1", "--repeat-items", "all", "--fresh-items", "0").start().wait_ready()
    columns = (newer.session_ids.tolist(), newer.item_ids.tolist(), newer.time_ms.tolist())
    clicks = [
        (session_id.encode(), click_value(session_id, item_id, timestamp_ms=time_ms))
        for session_id, item_id, time_ms in zip(*columns, strict=True)
    ]
    positions = produce(site.servers, site.topics.clicks, clicks)
    answers = wait_until_answered(site.servers, site.topics.recommendations, positions)
    assert worker.stop() == 0

    places: dict[str, list[int]] = defaultdict(list)
    for place, session_id in enumerate(newer.session_ids):
        places[session_id].append(place)
    found, clicked = [], []
    for before, after in (pair for session in places.values() for pair in pairwise(session)):
        found.append([item["item_id"] for item in answers[positions[before]][0]["items"]])
        clicked.append(newer.item_ids[after])
    measured = told["methods"]["nextclick"]
    assert told["items"] > EXACT_UP_TO
    assert len(clicked) == told["targets"]
    recall, mrr = accuracy(found, clicked)
    assert recall == pytest.approx(measured["recall@20"], abs=0.002)
    assert mrr == pytest.approx(measured["mrr@20"], abs=0.002)
    assert mrr > told["methods"]["lstm"]["mrr@20"] + 0.01  # it is not the LSTM's own order
