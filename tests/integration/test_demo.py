"""The demo as a user runs it: on the tests' Kafka, in a process of its own, and ended in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deploy.broker import LocalKafka
from streams.kafka import open_admin

pytestmark = pytest.mark.timeout(300)


# What came before is a quarter as long: the demo trains on it twice.
SMALL = "import deploy.demo.plan as plan; plan.N_HISTORY = 10_000; from deploy.cli.main import main; main()"


def start_demo(kafka: LocalKafka, home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SMALL, "demo", "--home", str(home), *arguments],
        env=os.environ | {"NEXTCLICK_BOOTSTRAP_SERVERS": kafka.bootstrap_servers},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def demo_topics(kafka: LocalKafka) -> list[str]:
    with open_admin(kafka.connection) as admin:
        return [name for name in admin.list_topics() if name.startswith("nextclick-demo-")]


def test_the_demo_shows_the_whole_product_and_leaves_nothing(kafka: LocalKafka, tmp_path: Path) -> None:
    demo = start_demo(kafka, tmp_path / "home", "--seconds", "10", "--json")
    out, err = demo.communicate()
    assert demo.returncode == 0, err
    result = json.loads(out)
    assert list(result) == [
        "clicks",
        "recommendations",
        "missing",
        "rejected",
        "swaps",
        "snapshots",
        "latency_ms",
        "hit_rate@20",
        "popular_hit_rate@20",
        "seconds",
    ]
    assert result["clicks"] >= 1_000
    assert (result["missing"], result["rejected"]) == (0, 0)
    assert result["recommendations"] == result["clicks"]
    assert result["swaps"] >= 1
    assert len(set(result["snapshots"])) == result["swaps"] + 1
    assert result["hit_rate@20"] > 2 * result["popular_hit_rate@20"]
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99"]
    assert not (tmp_path / "home").exists()
    assert demo_topics(kafka) == []
    assert "each with its recommendation" in err
    assert "\x1b" not in err  # no terminal, so lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_in_the_middle_its_processes_are_gone(
    kafka: LocalKafka, tmp_path: Path, number: signal.Signals
) -> None:
    demo = start_demo(kafka, tmp_path / "home")
    deadline = time.monotonic() + 120
    while len(children := psutil.Process(demo.pid).children(recursive=True)) < 2:
        assert demo.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    demo.send_signal(number)
    out, err = demo.communicate()
    assert demo.returncode == (-9 if number == signal.SIGKILL else 130)
    assert "Traceback" not in out + err
    _, left = psutil.wait_procs(children, timeout=10)
    assert left == []
    if number != signal.SIGKILL:
        assert not (tmp_path / "home").exists()
        assert demo_topics(kafka) == []
