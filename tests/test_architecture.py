"""The rules that hold the packages together, read from the source itself."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("deploy", "streams", "model", "index")

BELOW = {
    "deploy": {"streams", "model", "index"},
    "streams": {"model", "index"},
    "model": set(),
    "index": set(),
}

# Each heavy library has one home, so that it can be replaced, upgraded or left out in one place.
HOMES = {
    "torch": {"model"},
    "safetensors": {"model"},
    "faiss": {"index/approximate.py"},
    "matplotlib": {"deploy/evaluation/picture.py"},
    "faust": {
        "streams/app.py",
        "streams/worker.py",
        "streams/intake.py",
        "streams/table.py",
        "deploy/worker_runner.py",
    },
    "kafka": {"streams/kafka.py"},
    "rocksdict": {"streams/table.py"},
    "typer": {"deploy/cli"},
    "pydantic": {"deploy"},
    "pydantic_settings": {"deploy/settings.py"},
}

FORBIDDEN = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """The first part of every imported name, wherever in the file, and its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.partition(".")[0], node.lineno


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_run_downhill(path: Path) -> None:
    package = name_of(path).partition("/")[0]
    uphill = [
        f"line {line}: {name}"
        for name, line in imports(path)
        if name in PACKAGES and name != package and name not in BELOW[package]
    ]
    assert not uphill, f"{name_of(path)} imports uphill"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_heavy_libraries_stay_at_home(path: Path) -> None:
    name = name_of(path)
    astray = [
        f"line {line}: {library}"
        for library, line in imports(path)
        if library in HOMES
        and not any(name == home or name.startswith(home + "/") for home in HOMES[library])
    ]
    assert not astray, f"{name}: see HOMES in {Path(__file__).name}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_nothing_is_pickled(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not FORBIDDEN & {name for name, _ in imports(path)}
    assert "torch.load(" not in text
    assert "allow_pickle=True" not in text


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_packages_are_imported_from_and_never_whole(path: Path) -> None:
    # `model` and `index` are also everybody's names for variables; `import model` would be shadowed by one.
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & set(PACKAGES), f"line {node.lineno}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed_and_says_what_it_is(package: str) -> None:
    assert (REPOSITORY / package / "py.typed").exists()
    assert ast.get_docstring(ast.parse((REPOSITORY / package / "__init__.py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), name_of(path)


def test_nothing_shadows_our_packages() -> None:
    """Isolated, without the current folder, the names must still lead to this checkout."""
    code = (
        f"import {', '.join(PACKAGES)}; print(*(p.__path__[0] for p in ({', '.join(PACKAGES)})), sep='\\n')"
    )
    answer = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == [str(REPOSITORY / package) for package in PACKAGES]


def test_the_heavy_libraries_are_where_the_rules_say() -> None:
    """A rule about a library that nobody imports any more is a rule to remove."""
    used = {library for path in modules() for library, _ in imports(path)}
    assert set(HOMES) - used == set()
