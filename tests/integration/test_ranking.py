"""Both rankings from a worker process through Apache Kafka: the answers are those that are measured."""

import json
from collections import defaultdict

import numpy as np
import pytest

from model.blend_ranker import BlendRanker
from model.ranking import EncoderRanker, Ranker
from model.sequences import Sequences
from streams.ranking import Ranking
from streams.snapshot import Snapshot
from tests.integration.harness import Position, produce, wait_until_answered
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
