"""What ``nextclick archive`` says without Kafka: to wrong usage, and of what stands in an archive."""

import json
from pathlib import Path

import pytest

from deploy.cli.archive import show_gaps
from deploy.cli.main import run
from streams.archive import SCHEMA, Gap
from streams.archive_store import ArchiveStore
from streams.archiving import ArchivedNow
from tests.streams.test_archive import DAY, TOPIC_ID, archive_up_to, file


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and an address where nobody listens, so that nothing can depend on Kafka."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEXTCLICK_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setattr("deploy.cli.archive.be_considerate", lambda: 1)  # pytest is not to become nice


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "archive is not set, it must be a folder or a URL"),
        (["--archive", "a", "--every", "now"], 2, "--every is 'now'"),
        (["compact", "--archive", "a", "--every", "5m"], 2, "--every does not go with compact"),
        (["--archive", "a", "--every", "5m", "--json"], 2, "--json does not go with --every"),
        (["--archive", "gopher://x"], 1, "archive 'gopher://x' cannot be opened"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["archive", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_what_stands_in_an_archive_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = str(tmp_path / "archive")
    assert run(["archive", "show", "--archive", archive]) == 0
    assert capsys.readouterr().out == f"nothing is archived at {archive}\n"
    store = ArchiveStore(archive, "clicks")
    for end in (5, 10):
        archive_up_to(store, {0: end}, per_day=5)
    store.write(file(20, 21, DAY + 1), _one_row(store))
    assert run(["archive", "show", "--archive", archive]) == 0
    shown = capsys.readouterr().out
    assert f"{TOPIC_ID}: 2024-10-04 to 2024-10-05, 3 files, " in shown
    assert "  partition 0: offsets 0 to 20\n  never archived: partition 0: 10 to 19\n" in shown
    assert run(["archive", "show", "--archive", archive, "--json"]) == 0
    (topic,) = json.loads(capsys.readouterr().out)["topics"]
    assert (topic["offsets"], topic["gaps"]) == ({"0": [0, 21]}, [[0, 10, 20]])


def _one_row(store: ArchiveStore) -> object:
    return next(store.row_groups(store.files()[0], SCHEMA.names)).slice(0, 1)


def test_compacting_needs_no_kafka(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ArchiveStore(str(tmp_path / "archive"), "clicks")
    for end in (5, 10, 15):
        archive_up_to(store, {0: end})
    assert run(["archive", "compact", "--archive", "archive"]) == 0
    assert capsys.readouterr().out == "3 files merged into 1, 3 files removed\n"
    assert store.files() == [file(0, 15)]


def test_what_is_lost_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = ArchivedNow(12, 1, 2, (Gap(0, 5, 8), Gap(3, 0, 1_000)), made_anew=True, stopped=False)
    monkeypatch.setattr("deploy.cli.archive.archive_clicks", lambda *arguments, **options: now)
    assert run(["archive", "--archive", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == "12 clicks archived in 2 files, 0 s (1 records left out that are no clicks)\n"
    assert told.err.splitlines() == [
        "nextclick: the topic was made anew: its clicks are archived beside those of the topic before",
        "nextclick: Kafka deleted up to 1,003 records before they were archived (partition 0: 5 to 7;"
        " partition 3: 0 to 999); archive more often than the topic's retention.ms",
    ]


def test_many_gaps_are_counted() -> None:
    assert show_gaps([Gap(1, 0, 10)]) == "partition 1: 0 to 9"
    assert show_gaps([Gap(n, 0, 10) for n in range(10)]).endswith("partition 7: 0 to 9 and 2 more")
