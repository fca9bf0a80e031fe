"""A snapshot made elsewhere, taken in by the command on real Kafka."""

import json
from pathlib import Path

import pytest

from deploy.cli.main import run
from deploy.demo.sabotage import sabotaged
from streams.announcements import read_current
from streams.snapshot import list_snapshots, load_snapshot
from tests.conftest import FreshTopics
from tests.integration.test_trainer import TINY, one_thread, send_shoppers, set_environment

__all__ = ["one_thread"]  # a fixture


def test_a_snapshot_made_elsewhere_goes_through_the_gate(
    topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(topics, tmp_path, monkeypatch)
    send_shoppers(topics, 3_000)
    assert run(["trainer", "--once", *TINY, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    send_shoppers(topics, 2_000, session_prefix="later-")

    bad = sabotaged(load_snapshot(first["location"]), tmp_path / "elsewhere")
    assert run(["snapshots", "adopt", bad, "--json"]) == 1
    printed = capsys.readouterr()
    refused = json.loads(printed.out)
    assert refused["refused"] is True
    assert refused["gate"]["serving"] == first["snapshot"]
    assert refused["gate"]["compared_on"] == "the newest sessions, which neither has seen"
    assert f"nextclick: {refused['snapshot']} is refused: Recall@20 is" in printed.err
    assert run(["snapshots", "promote", refused["snapshot"]]) == 1
    assert "was refused by the gate" in capsys.readouterr().err

    assert run(["snapshots", "adopt", first["location"]]) == 0
    assert "the gate accepts it" in capsys.readouterr().out
    assert len(list_snapshots(str(Path(first["location"]).parent))) == 3
    announced = read_current(topics.connection, topics.names.snapshots)
    assert announced["production"].version == first["snapshot"]  # nothing else was announced
