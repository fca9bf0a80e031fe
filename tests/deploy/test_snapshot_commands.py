"""``nextclick snapshots``: what it shows, and that prune never takes what is in use."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deploy.cli import snapshots as snapshot_commands
from deploy.cli.main import run
from deploy.snapshot_views import facts_of, list_table, row_of, span
from streams.announcements import CANARY, PRODUCTION, Announcement, announce, read_current
from streams.manifest import OffsetRange, Provenance, TrainingWindow, Verdict
from streams.snapshot import Snapshot, save_snapshot
from tests.conftest import FreshTopics
from tests.tiny import ITEMS, tiny_parts

MADE_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


def save(
    folder: Path,
    seed: int,
    items: tuple[str, ...] = ITEMS,
    *,
    gate: Verdict | None = None,
    metrics: dict[str, float] | None = None,
) -> Snapshot:
    window = TrainingWindow(
        topic="clicks",
        offsets=[OffsetRange(0, 0, 100 * (seed + 1))],
        n_clicks=1_000 * (seed + 1),
        n_sessions=300,
        first_ms=MADE_MS - 50 * HOUR_MS,
        until_ms=MADE_MS,
    )
    provenance = Provenance(window=window, metrics=metrics or {}, gate=gate)
    created_ms = MADE_MS + seed * HOUR_MS
    return save_snapshot(str(folder), *tiny_parts(seed, items), provenance, created_ms=created_ms)


@pytest.fixture
def snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Snapshot]:
    monkeypatch.setenv("NEXTCLICK_HOME", str(tmp_path))
    folder = tmp_path / "snapshots"
    refused = Verdict(accepted=False, reasons=["Recall@20 .100 where .400 serves"])
    return [
        save(folder, 0, metrics={"recall@20": 0.4, "mrr@20": 0.2}),
        save(folder, 1, (*ITEMS[2:], "new-1", "new-2", "new-3")),
        save(folder, 2, gate=refused),
        save(folder, 3),
    ]


def shown(table: Any) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_list_tells_age_window_figures_and_where_each_serves_or_why_not(
    snapshots: list[Snapshot],
) -> None:
    announced = {
        PRODUCTION: Announcement(snapshots[0].version, "", "", pinned=True),
        CANARY: Announcement(snapshots[1].version, "", ""),
    }
    now_ms = MADE_MS + 4 * HOUR_MS
    rows = [row_of(one.manifest, announced, now_ms) for one in snapshots]
    lines = shown(list_table(rows)).splitlines()
    of_first = " ".join(lines[1].split()[1:])
    assert of_first == "full 4 h 0 min 2 d 2 h 1,000 12 0.400 0.200 production (pinned)"
    assert lines[2].split()[-1] == "canary"
    assert lines[3].endswith("refused: Recall@20 .100 where .400 serves")
    assert [row["serves"] for row in rows] == [["production (pinned)"], ["canary"], [], []]
    assert [row["age_s"] for row in rows] == [4 * 3600, 3 * 3600, 2 * 3600, 3600]
    unknown = row_of(snapshots[0].manifest, None, now_ms)
    assert unknown["serves"] is None
    assert " ? " in shown(list_table([unknown])).replace("\n", " ")


def test_the_list_tells_what_it_passes_over(
    snapshots: list[Snapshot],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot_commands, "_current_if_reachable", lambda settings: None)  # without Kafka
    Path(snapshots[1].location, "manifest.json").write_text('{"version": "2')
    renamed = Path(snapshots[2].location).rename(tmp_path / "snapshots" / "copy")
    assert run(["snapshots", "list", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [row["version"] for row in found["snapshots"]] == [snapshots[0].version, snapshots[3].version]
    truncated = "its manifest.json cannot be read: Input data was truncated"
    of_another = f"its manifest.json is that of '{snapshots[2].version}'"
    assert found["damaged"] == {snapshots[1].version: truncated, "copy": of_another}
    assert printed.err.splitlines() == [
        f"nextclick: warning: snapshot {snapshots[1].location} is passed over: {truncated}",
        f"nextclick: warning: snapshot {renamed} is passed over: {of_another}",
    ]
    assert run(["snapshots", "list"]) == 0
    printed = capsys.readouterr()
    assert snapshots[0].version in printed.out
    assert printed.err.count("is passed over") == 2


def test_show_has_all_of_the_manifest(snapshots: list[Snapshot]) -> None:
    facts = facts_of(snapshots[2].manifest, "/there", {})
    found = dict(facts)
    assert found["serves"] == "nothing"
    assert found["trained on"] == "3,000 clicks in 300 sessions"
    assert found["clicks 0"] == "offsets 0 to 300"
    assert found["gate"] == "refused"
    assert ("", "Recall@20 .100 where .400 serves") in facts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (8.4, "8 s"), (60, "1 min"), (3_720, "1 h 2 min"), (100_000, "1 d 3 h")],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_two_snapshots_beside_each_other(
    snapshots: list[Snapshot], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = snapshots[0].version, snapshots[1].version
    assert run(["snapshots", "diff", first, second, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["from"], found["to"]) == (first, second)
    assert found["settings"] == {}
    assert found["window"] == {"clicks": [1_000, 2_000], "offsets of 0": [[0, 100], [0, 200]]}
    assert found["metrics"] == {"recall@20": [0.4, None], "mrr@20": [0.2, None]}
    items = found["items"]
    assert (items["common"], items["gained"], items["lost"]) == (10, 3, 2)
    assert [one["item_id"] for one in items["gained_most_popular"]] == ["new-1", "new-2", "new-3"]
    assert items["lost_most_popular"][0] == {"item_id": "item-00", "clicks": 120}
    assert found["top_20"] == {"asked_items": 10, "overlap": pytest.approx(10 / 13, abs=1e-4)}
    assert run(["snapshots", "diff", first, second]) == 0
    assert "3: new-1 (30), new-2 (20), new-3 (10)" in capsys.readouterr().out
    assert run(["snapshots", "diff", first, first, "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert (same["settings"], same["window"], same["metrics"]) == ({}, {}, {})
    assert same["top_20"]["overlap"] == 1


@pytest.fixture
def kafka_there(topics: FreshTopics, monkeypatch: pytest.MonkeyPatch) -> FreshTopics:
    for name, value in topics.environment.items():
        monkeypatch.setenv(name, value)
    return topics


def announced(topics: FreshTopics) -> dict[str, str]:
    current = read_current(topics.connection, topics.names.snapshots)
    return {alias: one.version + (" pinned" if one.pinned else "") for alias, one in current.items()}


def test_a_canary_by_hand(
    kafka_there: FreshTopics, snapshots: list[Snapshot], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, refused, other = (one.version for one in snapshots)
    assert run(["snapshots", "promote", old]) == 0
    assert run(["snapshots", "promote", refused, "--as", "canary"]) == 1
    assert "was refused by the gate: Recall@20 .100" in capsys.readouterr().err
    assert run(["snapshots", "promote", refused, "--as", "canary", "--force"]) == 0
    assert announced(kafka_there) == {PRODUCTION: old, CANARY: refused}
    capsys.readouterr()
    assert run(["snapshots", "canary", "--json"]) == 0
    side = json.loads(capsys.readouterr().out)["canary"]
    assert (side["version"], side["against"], side["standing"]) == (refused, old, "too few clicks")
    assert run(["snapshots", "rollback", "--as", "canary"]) == 0
    assert announced(kafka_there) == {PRODUCTION: old}
    assert run(["snapshots", "promote", new, "--as", "canary"]) == 0
    assert run(["snapshots", "promote", new, "--json"]) == 0
    assert announced(kafka_there) == {PRODUCTION: new}
    assert run(["snapshots", "promote", other]) == 0
    assert run(["snapshots", "rollback"]) == 0
    assert announced(kafka_there) == {PRODUCTION: f"{new} pinned"}
    capsys.readouterr()
    assert run(["snapshots", "rollback", "--as", "canary"]) == 1
    assert "nothing is announced as canary" in capsys.readouterr().err


def test_prune_takes_the_old_and_nothing_that_is_in_use(
    kafka_there: FreshTopics,
    snapshots: list[Snapshot],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, _, third, fourth = (one.version for one in snapshots)

    def prune(*arguments: str) -> dict[str, list[str]]:
        capsys.readouterr()
        assert run(["snapshots", "prune", *arguments, "--json"]) == 0
        found: dict[str, list[str]] = json.loads(capsys.readouterr().out)
        return found

    assert run(["snapshots", "prune"]) == 2
    current = Announcement(fourth, snapshots[3].location, "0", previous=third)
    announce(kafka_there.connection, kafka_there.names.snapshots, PRODUCTION, current)
    (tmp_path / "workers" / "w1").mkdir(parents=True)
    (tmp_path / "workers" / "w1" / "last-good").write_text(snapshots[1].location)
    assert prune("--keep", "0", "--dry-run") == {"deleted": [], "would_delete": [first]}
    assert prune("--keep", "4") == {"deleted": [], "would_delete": []}
    assert prune("--older-than", "100000d") == {"deleted": [], "would_delete": []}
    assert prune("--keep", "1", "--older-than", "1h") == {"deleted": [first], "would_delete": []}
    assert not Path(snapshots[0].location).exists()
    assert Path(snapshots[1].location).exists()
