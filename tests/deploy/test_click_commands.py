"""What replay, generate, trainer, snapshots and recommend say to bad input, without Kafka."""

import json
from pathlib import Path

import pytest
import typer

from deploy.cli.intervals import parse_interval
from deploy.cli.main import run
from deploy.cli.replay import parse_start
from streams.clickfile import read_click_file


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and an address where nobody listens, so that nothing can depend on Kafka."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEXTCLICK_BOOTSTRAP_SERVERS", "127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["replay", "absent.tsv"], 1, "absent.tsv: no such file"),
        (["replay", "."], 1, "is a folder"),
        (["replay", "old.tsv"], 1, "begin on 1970-01-01, and times before 2000 are rejected"),
        (["replay", "old.tsv", "--item-column", "Product"], 1, "no column 'Product' for the item"),
        (["replay", "old.tsv", "--rate", "1", "--speed", "1"], 2, "--rate or --speed, not both"),
        (["replay", "old.tsv", "--rate", "-1"], 2, "--rate is -1.0"),
        (["replay", "old.tsv", "--speed", "0"], 2, "--speed is 0.0"),
        (["replay", "old.tsv", "--start", "soon"], 2, "--start is 'soon', it must be now or a date"),
        (["generate", "--out", "absent/x.tsv"], 1, "absent/x.tsv: cannot be written"),
        (["generate", "--rate", "0"], 2, "--rate 0 needs --clicks or --minutes"),
        (["generate", "--minutes", "0"], 2, "--minutes is 0.0"),
        (["generate", "--start", "now"], 2, "--start goes with --out"),
        (["generate", "--out", "x.xlsx"], 2, "--out is x.xlsx, it must end in one of .tsv"),
        (["trainer", "--once", "--history", "absent.csv"], 1, "absent.csv: no such file"),
        (["trainer", "--once", "--every", "1h"], 2, "--once or --every and --refresh-every, not both"),
        (["trainer", "--every", "often"], 2, "--every is 'often'"),
        (["trainer", "--json"], 2, "--json goes with --once"),
        (["recommend", "a"], 1, "no snapshots at .nextclick/snapshots; nextclick trainer --once makes one"),
        (["snapshots", "show", "v1"], 1, "there is no snapshot v1 at .nextclick/snapshots; there are none"),
        (["snapshots", "list", "--snapshots", "gopher://x"], 1, "cannot be opened"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.tsv").write_text("SessionId\tItemId\tTime\n1\t2\t3\n")
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("0.5h", 1800), ("1d", 86_400)]
)
def test_intervals(text: str, seconds: float) -> None:
    assert parse_interval(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "-5m", "0s", "1w", "15 minutes"])
def test_what_is_no_interval(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_interval(text)


def test_dates_without_a_zone_are_utc() -> None:
    assert parse_start("2014-04-06") == 1396742400000
    assert parse_start("2014-04-06T20:24:51+02:00") == parse_start("2014-04-06 18:24:51")


@pytest.mark.parametrize("name", ["x.tsv", "x.tsv.gz", "x.csv", "x.parquet"])
def test_generated_files_can_be_read_and_are_the_same_for_the_same_seed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["generate", "--out", name, "--clicks", "500", "--items", "40", "--seed", "3", "--json"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"clicks": 500, "file": name}
    first = read_click_file(tmp_path / name)
    assert run(arguments) == 0
    again = read_click_file(tmp_path / name)
    assert len(first) == 500
    assert first.item_ids.tolist() == again.item_ids.tolist()
    assert first.time_ms.tolist() == again.time_ms.tolist()
    assert first.time_ms[0] >= 1767225600000  # 2026
