"""The three pages of a worker, asked over HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from deploy.telemetry import TelemetryServer
from streams.errors import NextclickError
from streams.metrics import WorkerMetrics


class Worker:
    """What the pages tell of."""

    live = True
    missing: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


@pytest.fixture(scope="module")
def metrics() -> WorkerMetrics:
    return WorkerMetrics()


@pytest.fixture(scope="module")
def server(worker: Worker, metrics: WorkerMetrics) -> Iterator[TelemetryServer]:
    server = TelemetryServer(
        "127.0.0.1", 0, metrics.registry, live=lambda: worker.live, ready=lambda: list(worker.missing)
    )
    server.start()
    yield server
    server.stop()


def get(server: TelemetryServer, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{page}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_live(server: TelemetryServer, worker: Worker) -> None:
    assert get(server, "/live") == (200, '{"live": true}\n')
    worker.live = False
    assert get(server, "/live") == (503, '{"live": false}\n')
    worker.live = True


def test_ready_tells_what_is_missing(server: TelemetryServer, worker: Worker) -> None:
    assert get(server, "/ready") == (200, '{"ready": true, "missing": []}\n')
    worker.missing = ("snapshot",)
    assert get(server, "/ready") == (503, '{"ready": false, "missing": ["snapshot"]}\n')
    worker.missing = ()


def test_metrics(server: TelemetryServer, metrics: WorkerMetrics) -> None:
    metrics.clicks.inc(3)
    metrics.rejected.labels("not-json").inc()
    status, page = get(server, "/metrics")
    assert status == 200
    assert "nextclick_clicks_total 3.0" in page
    assert 'nextclick_rejected_clicks_total{reason="not-json"} 1.0' in page


def test_another_page_names_those_that_exist(server: TelemetryServer) -> None:
    status, page = get(server, "/")
    assert status == 404
    assert json.loads(page) == {"pages": ["/live", "/ready", "/metrics"]}


def test_a_taken_port_is_one_clear_line(server: TelemetryServer) -> None:
    with pytest.raises(NextclickError, match=f"cannot listen on 127.0.0.1:{server.port} .*: Address already"):
        TelemetryServer(
            "127.0.0.1", server.port, WorkerMetrics().registry, live=lambda: True, ready=lambda: []
        )


def test_two_workers_in_one_process_have_their_own_metrics() -> None:
    one, other = WorkerMetrics(), WorkerMetrics()
    one.clicks.inc()
    assert other.registry.get_sample_value("nextclick_clicks_total") == 0
