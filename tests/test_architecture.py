"""The rules that hold the packages together, read from the source itself."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
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
        "streams/fetching.py",
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


@dataclass(frozen=True, slots=True)
class Module:
    """A file of a package, read and parsed once for all rules."""

    name: str
    package: str
    text: str
    tree: ast.Module

    def imports(self) -> Iterator[tuple[str, int]]:
        """The first part of every imported name, wherever in the file, and its line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name.partition(".")[0], node.lineno
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                yield node.module.partition(".")[0], node.lineno


def read(path: Path) -> Module:
    text, name = path.read_text(encoding="utf-8"), path.relative_to(REPOSITORY).as_posix()
    return Module(name, name.partition("/")[0], text, ast.parse(text))


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    found = [read(path) for package in PACKAGES for path in sorted((REPOSITORY / package).rglob("*.py"))]
    assert {module.package for module in found} == set(PACKAGES)
    return found


def test_imports_run_downhill(modules: list[Module]) -> None:
    uphill = [
        f"{module.name}, line {line}: {name}"
        for module in modules
        for name, line in module.imports()
        if name in PACKAGES and name != module.package and name not in BELOW[module.package]
    ]
    assert uphill == []


def test_heavy_libraries_stay_at_home(modules: list[Module]) -> None:
    """See HOMES."""
    astray = [
        f"{module.name}, line {line}: {library}"
        for module in modules
        for library, line in module.imports()
        if library in HOMES
        and not any(module.name == home or module.name.startswith(home + "/") for home in HOMES[library])
    ]
    assert astray == []


def test_nothing_is_pickled(modules: list[Module]) -> None:
    pickling = [
        f"{module.name}, line {line}: {name}"
        for module in modules
        for name, line in module.imports()
        if name in FORBIDDEN
    ]
    loading = [
        f"{module.name}: {call}"
        for module in modules
        for call in ("torch.load(", "allow_pickle=True")
        if call in module.text
    ]
    assert pickling + loading == []


def test_packages_are_imported_from_and_never_whole(modules: list[Module]) -> None:
    # `model` and `index` are also everybody's names for variables; `import model` would be shadowed by one.
    whole = [
        f"{module.name}, line {node.lineno}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import) and {alias.name for alias in node.names} & set(PACKAGES)
    ]
    assert whole == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed_and_says_what_it_is(package: str) -> None:
    assert (REPOSITORY / package / "py.typed").exists()
    assert ast.get_docstring(read(REPOSITORY / package / "__init__.py").tree)


def test_every_module_says_what_it_is_for(modules: list[Module]) -> None:
    assert [module.name for module in modules if not ast.get_docstring(module.tree)] == []


def test_nothing_shadows_our_packages() -> None:
    """Isolated, without the current folder, the names must still lead to this checkout."""
    code = (
        f"import {', '.join(PACKAGES)}; print(*(p.__path__[0] for p in ({', '.join(PACKAGES)})), sep='\\n')"
    )
    answer = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == [str(REPOSITORY / package) for package in PACKAGES]


def test_the_heavy_libraries_are_where_the_rules_say(modules: list[Module]) -> None:
    """A rule about a library that nobody imports any more is a rule to remove."""
    used = {library for module in modules for library, _ in module.imports()}
    assert set(HOMES) - used == set()
