"""The doctor: what it finds on a bare machine, on one that lacks things, and on a cluster."""

import json
from pathlib import Path

import pytest

from deploy import diagnosis
from deploy.cli.main import run
from deploy.diagnosis import Finding, State, examine
from deploy.settings_sources import load_settings
from streams.announcements import Announcement, announce
from tests.conftest import FreshTopics


def findings_of(tmp_path: Path, **flags: str) -> dict[str, Finding]:
    settings = load_settings({"home": str(tmp_path), **flags}, tmp_path)
    return {finding.subject: finding for finding in examine(settings)}


@pytest.fixture
def without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_cluster", lambda settings: iter(()))


@pytest.mark.usefixtures("without_cluster")
def test_without_java_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = findings_of(tmp_path)
    assert found["Java"].state is State.MISSING
    assert "apt-get install default-jre-headless" in found["Java"].remedy
    assert found["Kafka"].state is State.MISSING
    assert "apt-get install maven" in found["Kafka"].remedy


@pytest.mark.usefixtures("without_cluster")
def test_java_is_not_needed_where_a_cluster_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = findings_of(tmp_path, bootstrap_servers="kafka:9092")
    assert found["Java"].state is State.FINE
    assert "Kafka" not in found


@pytest.mark.usefixtures("without_cluster")
def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = findings_of(tmp_path, home=str(tmp_path / "file" / "home"))
    assert found["home folder"].state is State.MISSING
    assert "NEXTCLICK_HOME" in found["home folder"].remedy


@pytest.mark.usefixtures("without_cluster")
def test_a_misspelt_variable_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_TOPK", "3")
    found = findings_of(tmp_path)["environment"]
    assert (found.state, found.remedy) == (State.WARNING, "did you mean NEXTCLICK_TOP_K?")


@pytest.mark.usefixtures("without_cluster")
def test_json_is_one_object_and_missing_things_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert run(["doctor", "--json", "--home", "file/home"]) == 1
    printed = capsys.readouterr()
    assert "home folder" in json.loads(printed.out)["missing"]
    assert printed.err.startswith("nextclick: missing: ")
    assert printed.err.count("\n") == 1


def test_a_bare_cluster_lacks_topics(topics: FreshTopics, tmp_path: Path) -> None:
    servers = topics.connection.bootstrap_servers
    found = findings_of(tmp_path, bootstrap_servers=servers, clicks_topic="never-made")
    assert found["broker"].state is State.FINE
    assert (found["topic never-made"].state, found["topic never-made"].remedy) == (
        State.MISSING,
        "nextclick topics create",
    )


def test_a_ready_cluster(topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in topics.environment.items():
        monkeypatch.setenv(variable, value)
    assert findings_of(tmp_path)["snapshot production"].state is State.WARNING
    announcement = Announcement(version="v1", location="/snapshots/v1", manifest_sha256="0" * 64)
    announce(topics.connection, topics.names.snapshots, "production", announcement)
    found = findings_of(tmp_path)
    assert found["snapshot production"].found == "v1 at /snapshots/v1"
    assert {finding.state for subject, finding in found.items() if subject.startswith("topic")} == {
        State.FINE
    }
