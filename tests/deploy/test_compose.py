"""What runs elsewhere, as far as it can be checked without an engine: Compose, Docker, systemd, make."""

import configparser
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cli.main import COMMANDS
from deploy.java import KAFKA_VERSION
from deploy.settings import Settings
from deploy.settings_sources import variable_of
from tests.conftest import REPOSITORY

DEPLOY = REPOSITORY / "deploy"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    found = compose["services"]
    assert isinstance(found, dict)
    return found


def test_the_parts_are_all_there(services: dict[str, dict[str, Any]]) -> None:
    assert {"kafka", "topics", "worker", "trainer"} <= set(services)
    assert services["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert services["worker"]["restart"] == services["trainer"]["restart"] == "unless-stopped"


def test_only_real_settings_are_set(services: dict[str, dict[str, Any]]) -> None:
    known = {variable_of(name) for name in Settings.model_fields}
    for service in services.values():
        variables = {name for name in service.get("environment", {}) if name.startswith("NEXTCLICK_")}
        assert variables <= known


def test_only_real_commands_are_run(services: dict[str, dict[str, Any]]) -> None:
    assert {services[name]["command"].split()[0] for name in ("topics", "trainer")} <= set(COMMANDS)
    assert "nextclick worker --name" in services["worker"]["entrypoint"]


def test_services_wait_for_services_that_exist(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
    assert services["worker"]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}
    assert "healthcheck" in services["kafka"]


def test_volumes_are_declared(services: dict[str, dict[str, Any]]) -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    used = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert used == set(compose["volumes"])


def test_the_inside_listener_is_the_one_that_workers_use(services: dict[str, dict[str, Any]]) -> None:
    servers = services["worker"]["environment"]["NEXTCLICK_BOOTSTRAP_SERVERS"]
    assert f"INSIDE://{servers}" in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_the_image_copies_every_package() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    copied = set(re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE))
    assert copied == set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert 'ENTRYPOINT ["nextclick"]' in text


def test_the_unit_brings_a_worker_back() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "nextclick-worker.service", encoding="utf-8")
    service = unit["Service"]
    assert service["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert int(service["TimeoutStopSec"]) > Settings.model_fields["stop_wait_seconds"].default
    assert "/nextclick worker --name" in service["ExecStart"]


def test_kafkas_version_is_the_poms() -> None:
    assert f"<version>{KAFKA_VERSION}</version>" in (DEPLOY / "kafka" / "pom.xml").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_the_targets() -> None:
    answer = subprocess.run(["make", "-C", str(REPOSITORY)], capture_output=True, text=True, check=True)
    for target in ("setup", "demo", "test", "check"):
        assert re.search(rf"^make {target} ", answer.stdout, re.MULTILINE)


def test_setup_asks_for_nothing_that_is_there(tmp_path: Path) -> None:
    """Where Java and Maven are, the installer neither prints nor needs a package manager."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, text in (("java", "echo 'version \"21.0.1\"' >&2"), ("mvn", "true")):
        (bin_folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (bin_folder / name).chmod(0o755)
    answer = _install_java(bin_folder)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_setup_says_what_to_install_where_it_may_not(tmp_path: Path) -> None:
    answer = _install_java(tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.startswith(
        "missing for Apache Kafka: java maven; install Java 17 or newer and Maven"
    )
    assert answer.stderr.count("\n") == 1


def _install_java(folder: Path) -> subprocess.CompletedProcess[str]:
    for tool in ("bash", "sed", "head", "id", "env"):
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    script = DEPLOY / "kafka" / "install-java.sh"
    return subprocess.run(
        ["bash", str(script)], env={"PATH": str(folder)}, capture_output=True, text=True, check=False
    )
