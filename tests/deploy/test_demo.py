"""The demo's parts that need no Kafka: what it says and draws, where it runs, processes that do not stay."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from deploy.cli.main import run
from deploy.demo.children import Child, ChildError, Supervised
from deploy.demo.picture import picture, sparkline
from deploy.demo.plan import Plan
from deploy.demo.scene import Outcome, Scene
from deploy.demo.stage import DemoError, demo_folder, set_stage
from deploy.demo.summary import summary
from deploy.demo.window import ShopWindow
from deploy.settings import Settings

GOOD = Outcome(
    clicks=100,
    answered=100,
    missing=0,
    rejected=0,
    unacknowledged=0,
    snapshots=("v1", "v2"),
    swapped_s=31.0,
    p50_ms=6.2,
    p99_ms=21.4,
    n_targets=80,
    hit_rate=0.6,
    popular_hit_rate=0.2,
    n_restarts=0,
    seconds=60.0,
)


def test_a_folder_without_the_files_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--data", str(tmp_path), "--home", str(tmp_path / "home")]) == 1
    assert capsys.readouterr().err == f"nextclick: {tmp_path}/train.tsv.gz: no such file\n"


def test_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(["demo", "--home", str(tmp_path / "file" / "home")]) == 1
    assert "cannot write to the folder" in capsys.readouterr().err


def test_java_missing_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert run(["demo", "--home", str(tmp_path / "home")]) == 1
    assert "Java 17 or newer is missing" in capsys.readouterr().err


def fail_with_a_log(home: Path) -> None:
    with demo_folder(home) as folder:
        (folder / "worker.log").write_text("why")
        raise DemoError("the log is wanted")


def test_the_folder_goes_unless_something_failed(tmp_path: Path) -> None:
    with demo_folder(tmp_path / "home") as folder:
        assert folder.is_dir()
    assert not (tmp_path / "home").exists()
    with pytest.raises(DemoError), demo_folder(tmp_path / "home") as folder:
        raise DemoError("nothing was started yet")
    assert not (tmp_path / "home").exists()
    with pytest.raises(DemoError):
        fail_with_a_log(tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").rglob("*.log")] == ["worker.log"]


def test_a_demo_takes_nothing_from_outside_but_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTCLICK_CLICKS_TOPIC", "clicks-of-a-real-shop")
    monkeypatch.setenv("NEXTCLICK_TOP_K", "3")
    given = Settings(bootstrap_servers="far:9092", sasl_username="somebody", ssl_cafile=Path("ca.pem"))
    stage = set_stage(tmp_path, given, given.bootstrap_servers, repeat_items="all")
    assert "NEXTCLICK_TOP_K" not in stage.environment
    assert stage.environment["NEXTCLICK_CLICKS_TOPIC"] == stage.topics.clicks != "clicks-of-a-real-shop"
    assert stage.environment["NEXTCLICK_BOOTSTRAP_SERVERS"] == "far:9092"
    assert stage.environment["NEXTCLICK_SASL_USERNAME"] == "somebody"
    assert stage.environment["NEXTCLICK_SSL_CAFILE"] == str(Path.cwd() / "ca.pem")
    assert stage.environment["NEXTCLICK_REPEAT_ITEMS"] == "all"
    assert stage.topics.sessions_changelog == f"{stage.environment['NEXTCLICK_GROUP']}-sessions-changelog"


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (replace(GOOD, missing=3), "3 of 100 clicks have no recommendation"),
        (replace(GOOD, unacknowledged=2), "Kafka did not take 2 clicks"),
        (replace(GOOD, snapshots=("v1",)), "no second snapshot answered"),
        (replace(GOOD, hit_rate=0.2), "hit rate@20 0.200 is not above popularity's 0.200"),
    ],
)
def test_what_was_not_shown_is_named(outcome: Outcome, says: str) -> None:
    assert GOOD.problems() == []
    assert outcome.problems() == [says]


def test_the_json_object_has_the_agreed_fields() -> None:
    assert GOOD.as_json(93.04) == {
        "clicks": 100,
        "recommendations": 100,
        "missing": 0,
        "rejected": 0,
        "swaps": 1,
        "snapshots": ["v1", "v2"],
        "latency_ms": {"p50": 6.2, "p99": 21.4},
        "hit_rate@20": 0.6,
        "popular_hit_rate@20": 0.2,
        "seconds": 93.0,
    }


def test_the_summary_fits_a_small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["somewhere/nextclick"])
    plan = Plan("made-up", Path("h"), {}, [(0.0, "s", "i")] * 100, 60.0, "all", 30, 4, made_up=True)
    versions = ("20261122T041500Z-3f2a9c", "20261122T041531Z-9ab1c2")
    outcome = replace(GOOD, snapshots=versions, clicks=100, n_targets=1_234_567, n_restarts=2, rejected=3)
    lines = summary(outcome, plan, 93.0)
    assert max(map(len, lines)) <= 80
    assert "100 clicks, each with its recommendation" in lines[1]


def make_scene(seconds: float = 30.0, swapped: bool = True) -> Scene:
    scene = Scene("made-up shoppers", made_up=True, planned_s=60.0)
    versions = {"20261122T041500Z-3f2a9c": 0.1} | ({"20261122T041531Z-9ab1c2": 20.0} if swapped else {})
    for at in range(int(seconds) + 1):
        scene.take(
            {
                "seconds": float(at),
                "sent": 100 * at,
                "answered": 100 * at,
                "rejected": 0,
                "latency_ms": {"p50": 6.0, "p99": 21.0},
                "targets": 80 * at,
                "hits": 50 * at,
                "popular_hits": 10 * at,
                "versions": versions,
                "shown": [
                    {
                        "session_id": f"shopper-{n}",
                        "clicks": [["black-pen-holder", None], ["black-classic-hiking-backpack", True]] * 3,
                        "items": ["black-desk-lamp"] * 6,
                        "idle_s": 0.5,
                    }
                    for n in range(12)
                ],
            }
        )
    return scene


@pytest.mark.parametrize(("width", "height"), [(100, 29), (80, 23), (60, 12), (200, 60), (70, 5)])
def test_the_picture_keeps_to_the_terminal(width: int, height: int) -> None:
    for scene in (make_scene(), make_scene(600), make_scene(swapped=False), Scene("title " * 30, True, 60.0)):
        lines = picture(scene, width, height)
        assert len(lines) <= height
        assert max(cell_len(line.plain) for line in lines) <= width


def test_the_picture_shows_names_rates_and_the_swap() -> None:
    text = "\n".join(line.plain for line in picture(make_scene(), 100, 29))
    assert "black classic hiking backpack ✓" in text
    assert "p99   21 ms" in text
    assert "0.625        popular items 0.125" in text
    assert "20261122T041531Z-9ab1c2   swapped in at 0:20" in text


def test_a_sparkline_marks_a_moment() -> None:
    assert sparkline([1.0, 2.0, 4.0, 4.0], room=10, mark=2).plain == "▃▅┃██"
    assert sparkline([1.0] * 50, room=10).cell_len <= 10


def test_a_session_keeps_its_place_until_it_has_left() -> None:
    window = ShopWindow(1)
    window.click("a", "x", None, now_s=0.0)
    window.click("b", "y", None, now_s=1.0)
    window.click("a", "z", True, now_s=2.0)
    window.recommend("a", ["r"])
    window.recommend("b", ["not seen"])
    assert window.rows(3.0) == [
        {"session_id": "a", "clicks": [["x", None], ["z", True]], "items": ["r"], "idle_s": 1.0}
    ]
    window.click("c", "y", None, now_s=20.0)
    assert [row["session_id"] for row in window.rows(20.0)] == ["c"]


def test_a_child_ends_with_its_parent_whatever_that_died_of(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time; time.sleep(600)")
    program = f"""
import os, pathlib, sys
from deploy.demo.children import Child
folder = pathlib.Path({str(tmp_path)!r})
child = Child("sleeper", "sleeper", [], folder=folder, environment=os.environ | {{"PYTHONPATH": str(folder)}})
child.start()
print(child.process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == -9
    pid = int(answer.stdout)
    deadline = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def make_child(folder: Path, source: str) -> Child:
    (folder / "program.py").write_text(source)
    return Child("helper", "program", [], folder=folder, environment=os.environ | {"PYTHONPATH": str(folder)})


def test_a_child_that_ends_by_itself_is_explained_in_its_own_words(tmp_path: Path) -> None:
    child = make_child(
        tmp_path, "import sys; print('nextclick: no space left', file=sys.stderr); print('bye'); sys.exit(1)"
    )
    child.start()
    assert child.process is not None
    assert child.process.wait(20) == 1
    assert str(child.error()) == f"the helper ended by itself: no space left (its log: {child.log})"


def check_for_ever(supervised: Supervised) -> None:
    while True:
        supervised.check()
        time.sleep(0.01)


def test_a_supervised_child_is_started_again_until_that_is_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.demo.children.SHORTEST_LIFE_S", 0.0)
    supervised = Supervised(make_child(tmp_path, "raise SystemExit('out of luck')"))
    supervised.start()
    with pytest.raises(ChildError, match="out of luck"):
        check_for_ever(supervised)
    assert supervised.n_restarts == 5
    supervised.child.stop()
