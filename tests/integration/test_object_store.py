"""A worker whose snapshots lie in an object store: it serves them, swaps, and goes back."""

import time

import pytest

from deploy.cli.main import run
from tests.integration.harness import WorkerProcess, produce, wait_until_answered
from tests.integration.site import Site, make_snapshot
from tests.integration.test_worker import make_clicks
from tests.object_store import s3_server

pytestmark = pytest.mark.kafka

LOCATION = "s3://nextclick/snapshots"


def wait_for(worker: WorkerProcess, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in worker.text():
        assert time.monotonic() < deadline, worker.text()[-2000:]
        time.sleep(0.1)


def test_a_worker_serves_swaps_and_goes_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as store:
        for name, value in (site.environment | store | {"NEXTCLICK_SNAPSHOTS": LOCATION}).items():
            monkeypatch.setenv(name, value)
        first, second = (make_snapshot(LOCATION, seed) for seed in (1, 2))
        assert run(["snapshots", "promote", first.version]) == 0
        worker = site.worker().start().wait_ready()
        assert run(["snapshots", "promote", second.version]) == 0
        wait_for(worker, f"snapshot {second.version} serves")
        positions = produce(site.servers, site.topics.clicks, make_clicks(300, n_sessions=30))
        answers = wait_until_answered(site.servers, site.topics.recommendations, positions)
        assert {answer["snapshot"] for each in answers.values() for answer in each} == {second.version}
        assert run(["snapshots", "rollback"]) == 0
        wait_for(worker, f"snapshot {first.version} serves")
        assert worker.stop() == 0
        assert run(["snapshots", "prune", "--keep", "0"]) == 0
        assert run(["snapshots", "promote", second.version]) == 0  # it had served a moment ago
