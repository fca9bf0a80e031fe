"""The lifecycle demo without Kafka: what it notes, what it makes of that, what it says and draws."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from deploy.cli.main import run
from deploy.demo.changing_shop import changing_shop
from deploy.demo.journal import Answered, Journal, Judged
from deploy.demo.lifecycle_figures import CanaryFigures, Gain, NewItems, Rate, Sabotage, SabotageKind
from deploy.demo.lifecycle_outcome import LifecycleOutcome, Notes
from deploy.demo.lifecycle_picture import draw_lifecycle
from deploy.demo.lifecycle_scene import LifecycleScene, draw
from deploy.demo.lifecycle_summary import summary
from deploy.demo.sabotage import sabotaged
from deploy.demo.stage import set_stage
from deploy.settings import Settings
from streams.clickfile import read_click_file
from streams.snapshot import SnapshotError, load_snapshot, save_snapshot
from tests.tiny import ITEMS, tiny_snapshot

V1, V2, BAD = "20261122T041500Z-3f2a9c", "20261122T041531Z-9ab1c2", "20261122T041540Z-0bad00"

CANARY = CanaryFigures(
    first_s=42.0,
    last_s=53.5,
    seconds_to_rollback=14.0,
    hit_rate=Rate(160, 0.1),
    sessions=40,
    share_of_sessions=0.1,
    strays=0,
    others_before=Gain(1_000, 0.6, 0.5, 0.01),
    others_meanwhile=Gain(1_000, 0.56, 0.48, 0.01),
)
GOOD = LifecycleOutcome(
    clicks=18_000,
    answered=18_000,
    missing=0,
    latency_ms={"p50": 9.0, "p99": 30.0},
    refreshed_s={V2: 20.0},
    gain_of_known=Gain(12_000, 0.6, 0.5, 0.006),
    gain=Gain(13_000, 0.6, 0.48, 0.006),
    sabotage=Sabotage(SabotageKind.SHUFFLED, BAD, True, ["Recall@20 is 0.1"], 39.5, True, "worse"),
    canary=CANARY,
    new_items=NewItems(20, 20, 1.5, 9.0, 20, 2.5, 11.0),
    told_by_worker={V1: {"clicks": 3_000, "hit_rate": 0.6, "mrr": 0.3}},
    n_restarts=0,
    seconds=120.0,
)


def answer(session_id: str, offset: int, items: list[str], snapshot: str = V1, made_s: float = 0.0) -> Any:
    return {
        "session_id": session_id,
        "snapshot": snapshot,
        "created_ms": made_s * 1000,
        "click": {"partition": 0, "offset": offset},
        "items": [{"item_id": item_id, "score": 1.0} for item_id in items],
    }


def test_a_click_is_judged_by_the_lists_that_had_come_of_both_sides(tmp_path: Path) -> None:
    journal = Journal({"a", "b", "c"})
    assert not journal.ready
    journal.answer_beside(answer("probe", 0, ["a"]))
    assert journal.ready
    journal.begin(100.0)
    journal.click(0.0, "s", "a")  # nothing was shown before
    journal.answer(answer("s", 1, ["b"]), 100.1)
    journal.click(1.0, "s", "b")  # the other side's list has not come: a miss there
    journal.answer(answer("s", 2, ["c"], V2), 101.1)
    journal.answer(answer("s", 1, ["a"], V1), 101.2)  # an older list arrives late
    journal.answer_beside(answer("s", 2, ["a"]))
    journal.click(2.0, "s", "b")  # the page loaded again
    journal.click(3.0, "s", "a")
    journal.write(tmp_path / "journal.json")
    notes = Notes.read(tmp_path / "journal.json")
    assert notes.judged == [
        Judged(1.0, "s", False, V1, True, False),
        Judged(3.0, "s", False, V2, False, True),
    ]
    report = journal.report()
    assert (report["judged"], report["judged_hits"], report["hits_beside"]) == (2, 1, 1)
    assert report["by_snapshot"] == {V1: [1, 1], V2: [1, 0]}


def test_a_new_item_waits_for_its_first_recommendation(tmp_path: Path) -> None:
    journal = Journal({"a"})
    journal.begin(100.0)
    journal.click(1.0, "s", "new")
    journal.answer(answer("t", 1, ["a"]), 101.5)
    journal.answer(answer("s", 2, ["a", "new"]), 103.0)
    journal.answer(answer("t", 3, ["new"]), 104.0)
    journal.answer(answer("t", 4, ["new"]), 105.0)
    journal.click(5.0, "t", "newer")
    journal.write(tmp_path / "journal.json")
    first, second = Notes.read(tmp_path / "journal.json").new_items
    assert first == {"item_id": "new", "clicked_s": 1.0, "shown_s": 3.0, "shown_to_others_s": 4.0}
    assert second["shown_s"] is None
    found = NewItems.of([first, second], ended_s=6.0)
    assert (found.came, found.recommended, found.median_s, found.to_others_median_s) == (1, 1, 2.0, 3.0)
    assert NewItems.of([first, second], ended_s=60.0).came == 2


def test_a_gain_is_what_the_same_clicks_differ_by() -> None:
    judged = [Judged(0.0, f"s{n}", False, V1, n % 2 == 0, n % 4 == 0) for n in range(400)]
    gain = Gain.of(judged)
    assert (gain.clicks, gain.refreshed, gain.never_refreshed) == (400, 0.5, 0.25)
    assert gain.standard_error == pytest.approx(np.std([1, 0, 0, 0]) / 20, rel=1e-6)
    assert gain.beyond_chance
    luck = Gain.of([Judged(0.0, f"s{n}", False, V1, n % 2 == 0, n % 2 == 1) for n in range(401)])
    assert luck.difference > 0
    assert not luck.beyond_chance
    assert not Gain.of([]).beyond_chance


def test_the_canary_is_seen_from_the_answers() -> None:
    answered = [Answered(0.5 * n, f"s{n % 10}", V1) for n in range(40)]  # 0 to 19.5 s
    answered += [
        Answered(20 + 0.5 * n, f"s{n % 10}", BAD if n % 10 == 3 else V1) for n in range(40)
    ]  # to 39.5 s
    judged = [
        Judged(one.at_s, one.session_id, False, one.snapshot, one.snapshot == V1, True) for one in answered
    ]
    bad = Sabotage(SabotageKind.SHUFFLED, BAD, True, ["bad"], 18.0, True, "worse")
    found = CanaryFigures.of(judged, answered, bad)
    assert found is not None
    assert (found.first_s, found.last_s, found.seconds_to_rollback) == (21.5, 36.5, 18.5)
    assert (found.sessions, found.strays) == (1, 0)
    assert found.share_of_sessions == pytest.approx(0.1)
    assert found.hit_rate == Rate(4, 0.0)
    assert found.others_meanwhile.refreshed == found.others_before.refreshed == 1.0
    assert found.others_untouched
    astray = CanaryFigures.of(judged, [*answered, Answered(30.0, "s3", V1)], bad)
    assert astray is not None
    assert astray.strays == 1
    assert CanaryFigures.of(judged, answered[:40], bad) is None


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (replace(GOOD, missing=3), "3 of 18,000 clicks have no recommendation"),
        (replace(GOOD, gain_of_known=Gain(12_000, 0.51, 0.5, 0.006)), "no gain beyond chance"),
        (replace(GOOD, sabotage=replace(GOOD.sabotage, refused=False)), "the gate did not refuse"),
        (replace(GOOD, canary=None), "never served as canary"),
        (replace(GOOD, sabotage=replace(GOOD.sabotage, rolled_back=False)), "was not rolled back"),
        (replace(GOOD, canary=replace(CANARY, seconds_to_rollback=61.0)), "the rollback took 61 s"),
        (replace(GOOD, canary=replace(CANARY, strays=2)), "2 answers came from the other side"),
        (
            replace(GOOD, canary=replace(CANARY, others_meanwhile=Gain(1_000, 0.5, 0.48, 0.01))),
            "+0.100 over those never refreshed before, and +0.020 meanwhile",
        ),
        (replace(GOOD, new_items=replace(GOOD.new_items, recommended=19)), "1 of 20 new items were never"),
        (replace(GOOD, new_items=replace(GOOD.new_items, median_s=5.1)), "5.1 s after their first click"),
        (replace(GOOD, new_items=replace(GOOD.new_items, longest_s=61.0)), "61.0 s at most"),
    ],
)
def test_an_act_that_did_not_come_out_is_named(outcome: LifecycleOutcome, says: str) -> None:
    assert GOOD.problems() == []
    (problem,) = outcome.problems()
    assert says in problem


def test_the_object_holds_all_figures() -> None:
    found = GOOD.as_json(170.04)
    assert found["gain_of_known"]["refreshed"] == 0.6
    assert found["canary"]["seconds_to_rollback"] == 14.0
    assert found["sabotage"]["refused"] is True
    assert found["new_items"]["median_s"] == 1.5
    assert (found["seconds"], found["stream_seconds"], found["problems"]) == (170.0, 120.0, [])


def test_the_summary_fits_a_small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["somewhere/nextclick"])
    reasons = [
        "Recall@20 is 0.105 and that of 20261122T041531Z-9ab1c2 0.612 (95 % interval of the difference …)"
    ]
    outcome = replace(GOOD, sabotage=replace(GOOD.sabotage, reasons=reasons), n_restarts=2)
    lines = summary(outcome, Path("lifecycle.png"), 170.0)
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    text = "\n".join(lines)
    assert "rolled back on its own after 14 s" in text
    assert "20 of 20 recommended, 1.5 s" in text


def make_scene(n_events: int = 30) -> LifecycleScene:
    scene = LifecycleScene("a changing shop", planned_s=120.0, bad=BAD, trainer="next: a refresh in 9 s")
    for at in range(60):
        scene.take(
            {
                "seconds": float(at),
                "sent": 150 * at,
                "answered": 150 * at,
                "latency_ms": {"p50": 6.0, "p99": 21.0},
                "judged": 120 * at,
                "judged_hits": 72 * at,
                "hits_beside": 60 * at,
                "by_snapshot": {BAD: [100, 9]},
                "new_items": 9,
                "new_items_shown": 8,
                "new_item_s": 1.25,
                "versions": {V1: 0.1} | ({V2: 20.0} if at > 20 else {}) | ({BAD: 40.0} if at > 40 else {}),
            }
        )
    for n in range(n_events):
        scene.note(f"something has happened for the {n}th time " * 3)
    return scene


@pytest.mark.parametrize(("width", "height"), [(100, 29), (80, 23), (60, 12), (200, 60), (70, 5)])
def test_the_live_picture_keeps_to_the_terminal(width: int, height: int) -> None:
    for scene in (make_scene(), make_scene(0), LifecycleScene("title " * 30, 120.0)):
        lines = draw(scene, width, height)
        assert len(lines) <= height
        assert max(cell_len(line.plain) for line in lines) <= width


def test_the_live_picture_shows_both_rates_the_canary_and_what_happened() -> None:
    text = "\n".join(line.plain for line in draw(make_scene(0), 100, 29))
    assert "0.600 in the last 15 s" in text
    assert "0.500 in the last 15 s" in text
    assert f"{BAD}: 0.090 of 100 clicks" in text
    assert "9 came, 8 are recommended, 1.2 s" in text
    assert f"0:20 refreshed: {V2} answers" in text
    assert f"refreshed: {BAD}" not in text


def test_the_shop_changes_only_when_the_stream_begins(tmp_path: Path) -> None:
    plan = changing_shop(tmp_path, 40.0, 100.0)
    history = read_click_file(plan.history)
    assert len(history) == sum(plan.counts.values()) == pytest.approx(12_000, rel=0.1)
    due_s = [due for due, _, _ in plan.stream]
    assert due_s == sorted(due_s)
    assert due_s[0] >= 0
    assert due_s[-1] > 3.5 * 40
    new = {item for _, _, item in plan.stream} - plan.counts.keys()
    assert len(new) >= 10
    assert min(due for due, _, item in plan.stream if item in new) > 5


@pytest.mark.parametrize("kind", [SabotageKind.SHUFFLED, SabotageKind.NOISE])
def test_sabotage_changes_answers_and_damages_nothing(kind: SabotageKind, tmp_path: Path) -> None:
    sound = tiny_snapshot(blended=True)
    vectors = sound.encoder.item_vectors().copy()
    read_back = load_snapshot(sabotaged(sound, tmp_path, kind))
    assert read_back.vocabulary.item_ids == ITEMS
    assert vectors.shape == read_back.encoder.item_vectors().shape
    assert not np.allclose(vectors, read_back.encoder.item_vectors())


def test_an_index_of_another_version_is_refused_by_whoever_loads_it(tmp_path: Path) -> None:
    tiny = tiny_snapshot()
    sound = save_snapshot(
        str(tmp_path / "sound"), tiny.encoder, tiny.vocabulary, tiny.index, tiny.manifest.provenance
    )
    location = sabotaged(sound, tmp_path / "bad", SabotageKind.INDEX)
    with pytest.raises(SnapshotError, match="index does not give the encoder's scores"):
        load_snapshot(location)


def test_workers_beside_answer_elsewhere_and_read_the_same(tmp_path: Path) -> None:
    stage = set_stage(tmp_path, Settings(), "here:9092")
    beside = stage.beside("first")
    assert (beside.topics.clicks, beside.topics.snapshots) == (stage.topics.clicks, stage.topics.snapshots)
    for name in ("recommendations", "rejected_clicks", "sessions_changelog", "quality"):
        assert getattr(beside.topics, name) != getattr(stage.topics, name)
    assert beside.environment["NEXTCLICK_GROUP"] == beside.group
    assert beside.topics.sessions_changelog == f"{beside.group}-sessions-changelog"
    assert beside.environment["NEXTCLICK_RECOMMENDATIONS_TOPIC"] == beside.topics.recommendations


def test_wrong_usage_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path / "home")]
    assert run(["demo", "--lifecycle", "--data", str(tmp_path), *home]) == 2
    assert run(["demo", "--picture", "x.png", *home]) == 2
    assert run(["demo", "--lifecycle", "--picture", str(tmp_path / "x.gif"), *home]) == 1
    assert capsys.readouterr().err.count("\n") == 3


def test_the_curves_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="only of the extra [pictures]")
    judged = [
        Judged(0.05 * n, f"s{n}", False, V1 if n % 9 else BAD, n % 2 == 0, n % 3 == 0) for n in range(900)
    ]
    items = [{"item_id": "new", "clicked_s": 3.0, "shown_s": 4.0, "shown_to_others_s": None}]
    draw_lifecycle(GOOD, Notes(judged, [], items, 0.0), tmp_path / "lifecycle.png")
    assert (tmp_path / "lifecycle.png").read_bytes().startswith(b"\x89PNG")
