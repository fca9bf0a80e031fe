"""``nextclick topics``: what it prints and that a second run changes nothing."""

import json

import pytest

from deploy.cli.main import run
from tests.conftest import FreshTopics


@pytest.fixture(autouse=True)
def _point_at(topics: FreshTopics, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in topics.environment.items():
        monkeypatch.setenv(variable, value)


def test_show_says_that_all_is_as_wished(topics: FreshTopics, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{topics.names.clicks}: as wished"
    assert len(lines) == 6


def test_create_says_what_differs(topics: FreshTopics, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics", "create", "--clicks-partitions", "6"]) == 0
    printed = capsys.readouterr().out
    assert (
        f"{topics.names.clicks}: differs from what is wished\n  differs: partitions: 4 instead of 6"
        in printed
    )


def test_create_makes_what_is_absent(topics: FreshTopics, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"{topics.group}-more"
    assert run(["topics", "create", "--rejected-clicks-topic", name, "--json"]) == 0
    found = {topic["name"]: topic for topic in json.loads(capsys.readouterr().out)["topics"]}
    assert found[name] == {"name": name, "exists": True, "created": True, "differences": []}
    assert not found[topics.names.clicks]["created"]


def test_show_says_what_is_absent(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics", "show", "--clicks-topic", "never-made"]) == 0
    assert "never-made: absent; nextclick topics create makes it\n" in capsys.readouterr().out
