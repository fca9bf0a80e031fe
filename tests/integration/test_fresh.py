"""An item of no snapshot, through Apache Kafka: what a worker process learns of it from its first clicks."""

from typing import Any

import numpy as np
import pytest

from streams.snapshot import Snapshot
from tests.integration.harness import click_value, produce, wait_until_answered
from tests.integration.site import Site

pytestmark = pytest.mark.kafka


def its_own_neighbour(snapshot: Snapshot) -> str:
    """The item that its own click brings highest: another with its vector is recommended after it, too."""
    encoder = snapshot.encoder
    rows = np.arange(encoder.n_items)
    queries = encoder.queries(encoder.advance(encoder.initial_states(len(rows)), rows))
    scores = queries @ encoder.item_vectors().T
    ranks = (scores >= scores[rows, rows][:, None]).sum(axis=1)
    return snapshot.vocabulary.item_id(int(ranks.argmin()))


def test_a_new_item_is_known_to_the_worker_from_its_first_clicks_on(site: Site) -> None:
    known = its_own_neighbour(site.announce(seed=1))
    worker = site.worker("w1", "--ranking", "lstm").start().wait_ready()

    def answered(session_id: str, *item_ids: str) -> dict[str, Any]:
        """The answer to the last of a session's clicks."""
        clicks = [(session_id.encode(), click_value(session_id, item_id)) for item_id in item_ids]
        positions = produce(site.servers, site.topics.clicks, clicks)
        answer: dict[str, Any]
        (answer,) = wait_until_answered(site.servers, site.topics.recommendations, positions)[positions[-1]]
        return answer

    assert answered("s-0", "brand-new")["source"] == "popular"
    assert "brand-new" not in {item["item_id"] for item in answered("s-1", known)["items"]}
    answered("s-1", "brand-new")
    assert "brand-new" in {item["item_id"] for item in answered("s-2", known)["items"]}
    assert answered("s-3", "brand-new")["source"] == "model"
    assert worker.stop() == 0
