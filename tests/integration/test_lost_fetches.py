"""Clicks that are lost between the fetch and the agent are fetched again."""

import pytest

from tests.integration.harness import click_value, produce, wait_until_answered
from tests.integration.site import Site

pytestmark = pytest.mark.kafka


def test_a_worker_compares_what_comes_with_what_should(site: Site) -> None:
    """Faust and aiokafka have lost clicks there in several ways; here the first fetch is lost on purpose."""
    site.announce(seed=1)
    clicks = [(f"s{n % 80}".encode(), click_value(f"s{n % 80}", f"item-{n % 90}")) for n in range(2_000)]
    positions = produce(site.servers, site.topics.clicks, clicks)
    worker = site.worker()
    worker.module = "tests.integration.forgetful_worker"
    worker.start()
    wait_until_answered(site.servers, site.topics.recommendations, positions)
    assert "forgot" in worker.text()
    assert "fetched again" in worker.text()
    assert worker.stop() == 0
