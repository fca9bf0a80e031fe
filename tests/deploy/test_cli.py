"""The command line: its exit codes, its one line per failure, and the options that every command shares."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.cli import main as cli
from deploy.cli.main import COMMANDS, load_command, run
from deploy.cli.options import SHARED
from deploy.settings_sources import flag_of
from streams.clickfile import write_click_file
from streams.errors import NextclickError
from streams.shoppers import generate_columns

NEXTCLICK = (sys.executable, "-m", "deploy.cli.main")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Failing:
    """A command that raises what it is told to."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *arguments: Any, **options: Any) -> None:
        raise self.error


def failing_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(cli, "build", lambda: Failing(error))


def test_every_command_of_the_contract_is_there() -> None:
    first = ["demo", "broker", "topics", "worker", "trainer", "archive", "replay", "generate"]
    then = ["watch", "recommend", "evaluate", "tune", "snapshots", "sessions", "settings", "doctor"]
    assert list(COMMANDS) == [*first, *then]


def _runnable(command: Any) -> list[Any]:
    """The command itself, or its sub-commands."""
    return list(getattr(command, "commands", {}).values()) or [command]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_shared_options(name: str) -> None:
    for command in _runnable(load_command(name)):
        options = {option for parameter in command.params for option in parameter.opts}
        missing = {*(flag_of(shared) for shared in SHARED), "--json", "--debug"} - options
        assert not missing, f"{name} {command.name}: put @takes_settings(…) on it"


def test_help_comes_at_once_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from deploy.cli.main import run; code = run(['--help']);"
        "heavy = {'torch', 'faust', 'faiss', 'aiokafka', 'pyarrow'} & set(sys.modules);"
        "sys.exit(code or len(heavy))"
    )
    before = os.times()
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    after = os.times()
    assert answer.returncode == 0, answer.stderr
    cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
    assert cpu_s < 2  # 0.35 s on an idle machine, and not much more on a busy one
    assert all(summary.split(",")[0] in answer.stdout for summary in COMMANDS.values())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nothing"], "No such command 'nothing' (see nextclick --help)"),
        (["settings", "--zzz"], "No such option: --zzz (see nextclick settings --help)"),
        (
            ["topics", "creat"],
            "No such command 'creat'. Did you mean 'create'? (see nextclick topics --help)",
        ),
        (
            ["settings", "--top-k", "x"],
            "setting top_k = x (--top-k) is not usable:"
            " expected a whole number of at least 1 and at most 1,000",
        ),
        (
            ["--bootstrap-servers", "x", "settings"],
            "setting bootstrap_servers = x (--bootstrap-servers) is not usable:"
            " expected host:port, several separated by commas",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert run(arguments) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"nextclick: {line}\n")


def test_a_known_error_is_one_line_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing_with(monkeypatch, NextclickError("no clicks in the file"))
    assert run([]) == 1
    assert capsys.readouterr().err == "nextclick: no clicks in the file\n"


def test_an_unknown_error_points_to_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing_with(monkeypatch, ZeroDivisionError("division by zero\nand more"))
    assert run([]) == 1
    expected = (
        "nextclick: unexpected ZeroDivisionError: division by zero; run with --debug for the stack trace\n"
    )
    assert capsys.readouterr().err == expected


def test_debug_shows_the_stack_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing_with(monkeypatch, NextclickError("no clicks in the file"))
    assert run(["--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing_with(monkeypatch, KeyboardInterrupt())
    assert run([]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_leaves_is_no_crash() -> None:
    shell = f"{' '.join(NEXTCLICK)} settings --markdown | head -c 1"
    answer = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("#", "")


def test_shared_options_count_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["--home", "/before", "--group", "x", "settings"]) == 2
    )  # only the shared ones may stand before
    capsys.readouterr()
    assert run(["--home", "/before", "--json", "settings"]) == 0
    assert json.loads(capsys.readouterr().out)["home"] == {"value": "/before", "origin": "--home"}
    assert run(["--home", "/before", "settings", "--home", "/after", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["home"] == {"value": "/after", "origin": "--home"}


def test_passwords_are_never_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ([], ["--json"]):
        assert run(["settings", "--sasl-password", "geheim", *form]) == 0
        printed = capsys.readouterr()
        assert "geheim" not in printed.out + printed.err
        assert re.search(r"sasl_password\W.*\*{8}", printed.out)


# Each command runs in a fork of one process, which has imported it: imports are most of what they cost.
RUN_ALL = """
import json, os, sys
from deploy.cli.main import load_command, main

commands = json.loads(sys.argv[1])
children = []
for n, command in enumerate(commands):
    load_command(command[0])
    if (child := os.fork()) == 0:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{n}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
        main(command)
    children.append(child)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""


def test_an_unreachable_broker_is_named_within_ten_seconds(tmp_path: Path) -> None:
    write_click_file(tmp_path / "clicks.tsv", generate_columns(1, 10, start_ms=1_396_742_400_000))
    replay = ["replay", str(tmp_path / "clicks.tsv")]
    topics = (["topics", "create"], ["topics", "show"])
    commands = (*topics, ["broker"], ["watch"], replay, ["trainer", "--once"])  # torch comes last
    environment = os.environ | {"NEXTCLICK_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    program = [sys.executable, "-c", RUN_ALL, json.dumps(commands)]
    answer = subprocess.run(
        program, env=environment, capture_output=True, text=True, check=True, timeout=120, cwd=tmp_path
    )
    assert json.loads(answer.stdout) == [1] * len(commands)
    for n, command in enumerate(commands):
        assert (tmp_path / f"{n}.out").read_text() == "", command
        err = (tmp_path / f"{n}.err").read_text()
        told = re.fullmatch(r"nextclick: no Kafka broker answered at 127\.0\.0\.1:1 within (\d+) s .*\n", err)
        assert told, err
        assert int(told[1]) <= 10, command
