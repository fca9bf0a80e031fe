"""The options by which commands read files of clicks."""

from pathlib import Path

import pytest
import typer

from deploy.cli.click_files import click_files, parse_columns
from deploy.cli.main import run
from streams.clickfile import Columns
from streams.importing import Format
from tests.streams.test_importing import RETAILROCKET, rows


def test_columns_are_named_by_what_they_hold() -> None:
    assert parse_columns("session=who, item=what,time=when") == Columns("who", "what", "when")
    assert parse_columns("kind=event") == Columns(kind="event")


@pytest.mark.parametrize("text", ["who", "session=", "user=u", "", "=x"])
def test_columns_that_are_none(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="it must be some of session=…, item=…, time=…, kind=…"):
        parse_columns(text)


def test_a_reader_goes_by_the_format_or_by_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(RETAILROCKET)
    for reader in (
        click_files(Format.AUTO, None, Columns()),
        click_files(Format.RETAILROCKET, None),
    ):
        assert rows(reader.read(path))[2] == ("257597", "355908", 1433221332118, "cart")
    by_name = "session=visitorid,item=itemid,time=timestamp,kind=event"
    single = Columns("visitorid", "itemid", "timestamp", "event")
    for reader in (click_files(Format.AUTO, by_name), click_files(Format.TABLE, None, single)):
        assert rows(reader.read(path))[2] == ("257597", "355908", 1433221332118, "addtocart")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--columns", "item=a", "--item-column", "b"], "--columns or options for single columns, not both"),
        (["--columns", "item=a", "--format", "otto"], "columns are named for a table, and --format is otto"),
        (["--item-column", "a", "--format", "otto"], "columns are named for a table"),
        (["--columns", "a"], "--columns has 'a'"),
        (["--format", "excel"], "excel"),
    ],
)
def test_options_that_contradict_each_other(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", "absent.csv", *arguments]) == 2
    assert said in capsys.readouterr().err
