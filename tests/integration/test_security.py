"""Every command through a listener that asks for a login, as production clusters do."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.cli.main import run
from tests.conftest import KAFKA_PASSWORD, KAFKA_USER
from tests.integration.harness import Position, read_all, wait_until_answered
from tests.integration.site import Site


@pytest.fixture
def login(site: Site, tmp_path: Path) -> dict[str, str]:
    """The environment of a process that logs in by SCRAM, its password in a file."""
    password = tmp_path / "password"
    password.write_text(f"{KAFKA_PASSWORD}\n", encoding="utf-8")
    return site.environment | {
        "NEXTCLICK_BOOTSTRAP_SERVERS": site.kafka.sasl_bootstrap_servers,
        "NEXTCLICK_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "NEXTCLICK_SASL_MECHANISM": "SCRAM-SHA-512",
        "NEXTCLICK_SASL_USERNAME": KAFKA_USER,
        "NEXTCLICK_SASL_PASSWORD_FILE": str(password),
        "NEXTCLICK_HOME": str(tmp_path / "home"),
    }


@pytest.fixture
def nextclick(
    login: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command with that login and give what it printed."""
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("deploy.cli.trainer.be_considerate", lambda: 1)  # pytest is not to become nice

    def run_one(*arguments: str) -> str:
        code = run(arguments)
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    return run_one


def test_the_product_works_behind_a_login(
    site: Site, login: dict[str, str], tmp_path: Path, nextclick: Callable[..., str]
) -> None:
    clicks = tmp_path / "clicks.tsv"
    rows = [f"s{n % 20}\titem-{n % 50}\t{1_700_000_000 + n}" for n in range(200)]
    clicks.write_text("\n".join(["SessionId\tItemId\tTime", *rows]) + "\n", encoding="utf-8")
    site.announce(seed=1)

    assert "as wished" in nextclick("topics", "show")
    assert json.loads(nextclick("broker", "--json")) == {
        "bootstrap_servers": site.kafka.sasl_bootstrap_servers,
        "started": False,
    }
    nextclick("replay", str(clicks), "--rate", "0")
    worker = site.worker("w1", **login).start().wait_ready()
    expected: list[Position] = [record.position for record in read_all(site.servers, site.topics.clicks)]
    assert len(expected) == 200
    wait_until_answered(site.servers, site.topics.recommendations, expected)
    assert worker.stop() == 0  # answers come before the states that prove them
    assert json.loads(nextclick("sessions", "show", "s3", "--json"))
    # What serves is made up and knows other items, so that the gate would refuse what is trained here.
    training = ("--min-clicks", "100", "--min-sessions", "10", "--epochs", "1", "--force")
    nextclick("trainer", "--once", *training, "--snapshots", str(tmp_path / "trained"))
    assert KAFKA_PASSWORD not in worker.text()
