"""The local broker: what it needs, what it refuses in one line, and that it starts, stops and comes back."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy import java
from deploy.broker import QUICK_START, LocalKafka
from deploy.broker_config import HOST, BrokerPorts, server_properties
from deploy.broker_process import BrokerError, BrokerProcess
from deploy.cli.main import run
from deploy.java import JavaError, fetch_jars, find_java
from streams.kafka import check_reachable, open_admin, open_producer
from streams.topics import TopicNames, create_topics, require_topics

THREE = [BrokerPorts(1, 11), BrokerPorts(2, 12), BrokerPorts(3, 13)]

FAKE_MAVEN = """#!/bin/sh
for word in "$@"; do case $word in -DoutputDirectory=*) folder=${word#*=};; esac; done
sleep 0.3; mkdir -p "$folder"; touch "$folder/kafka_2.13.jar"; echo ran >> "$MAVEN_RAN"
"""


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / name).chmod(0o755)


def properties(node_id: int, ports: list[BrokerPorts], users: dict[str, str] | None = None) -> dict[str, str]:
    text = server_properties(node_id, ports, Path("/data"), users or {})
    return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MAVEN_HOME", raising=False)
    monkeypatch.setenv("MAVEN_RAN", str(tmp_path / "maven-ran"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def test_one_broker_copies_nothing_and_listens_to_this_machine_only() -> None:
    found = properties(1, [BrokerPorts(1, 11)])
    assert found["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:11"
    assert found["offsets.topic.replication.factor"] == "1"
    assert found["auto.create.topics.enable"] == "false"
    assert found["group.initial.rebalance.delay.ms"] == "0"


def test_three_brokers_know_each_other_and_keep_three_copies() -> None:
    for node_id in (1, 2, 3):
        found = properties(node_id, THREE)
        assert found["controller.quorum.voters"] == "1@127.0.0.1:11,2@127.0.0.1:12,3@127.0.0.1:13"
        assert (found["node.id"], found["offsets.topic.replication.factor"]) == (str(node_id), "3")


def test_users_get_a_listener_of_their_own() -> None:
    found = properties(1, [BrokerPorts(1, 11, sasl=21)], {"anna": "geheim"})
    assert "SASL_PLAINTEXT://127.0.0.1:21" in found["listeners"]
    assert 'user_anna="geheim"' in found["listener.name.sasl_plaintext.plain.sasl.jaas.config"]


def test_without_java_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(JavaError, match=r"Java 17 or newer is missing.*apt-get install default-jre-headless"):
        find_java()


def test_an_old_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "java", "#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(JavaError, match=r"is Java 11, Kafka 4.1.0 needs 17 or newer"):
        find_java()


def test_without_maven_one_line_says_what_to_install(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(own_cache))
    with pytest.raises(JavaError, match=r"Maven \(mvn\) is missing.*apt-get install maven"):
        fetch_jars()


def test_kafka_is_fetched_once(own_cache: Path) -> None:
    program(own_cache / "bin", "mvn", FAKE_MAVEN)
    assert fetch_jars() == fetch_jars()
    assert (own_cache / "maven-ran").read_text(encoding="utf-8") == "ran\n"


def test_two_that_fetch_at_once_do_no_harm(own_cache: Path) -> None:
    program(own_cache / "bin", "mvn", FAKE_MAVEN)
    with ThreadPoolExecutor() as pool:
        folders = {future.result() for future in [pool.submit(fetch_jars) for _ in range(4)]}
    assert len(folders) == 1
    folder = folders.pop()
    assert [path.name for path in folder.iterdir()] == ["kafka_2.13.jar"]
    assert list(folder.parent.iterdir()) == [folder]  # nothing half-fetched is left


def test_a_failed_fetch_gives_mavens_reason(own_cache: Path) -> None:
    program(own_cache / "bin", "mvn", "#!/bin/sh\necho '[ERROR] no route to the repository'\nexit 1\n")
    with pytest.raises(JavaError, match=r"could not fetch Kafka 4\.1\.0: no route to the repository"):
        fetch_jars()
    assert not java.jars_folder().exists()


def test_a_cache_that_cannot_be_written_is_named(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own_cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache / "file"))
    program(own_cache / "bin", "mvn", FAKE_MAVEN)
    with pytest.raises(JavaError, match=r"cannot write Kafka's jars to .*file"):
        fetch_jars()


def test_a_folder_that_cannot_be_written_is_named(kafka: LocalKafka, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match=r"cannot keep Kafka's data in .*file"):
        LocalKafka(tmp_path / "file" / "kafka").start()


def test_a_taken_port_is_named(kafka: LocalKafka, tmp_path: Path) -> None:
    port = int(kafka.bootstrap_servers.rpartition(":")[2])
    with pytest.raises(BrokerError, match=f"port {port} is taken by another program"):
        LocalKafka(tmp_path / "kafka", port=port).start()


def test_a_folder_in_use_is_refused(kafka: LocalKafka) -> None:
    with pytest.raises(BrokerError, match="is in use: another local broker runs on it"):
        LocalKafka(kafka.folder).start()


def test_too_little_space_is_refused(
    kafka: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.broker.MINIMUM_FREE_BYTES", 1 << 60)
    with pytest.raises(BrokerError, match="no space for Kafka's data in"):
        LocalKafka(tmp_path).start()


def kept_by_another(folder: Path, node_id: int, cluster_id: str, version: int = 1) -> None:
    data = folder / f"broker-{node_id}" / "data"
    data.mkdir(parents=True)
    text = f"#a comment\nnode.id={node_id}\nversion={version}\ncluster.id={cluster_id}\n"
    (data / "meta.properties").write_text(text, encoding="utf-8")


def test_a_folder_of_another_number_of_brokers_is_refused(kafka: LocalKafka, tmp_path: Path) -> None:
    kept_by_another(tmp_path, 1, "one")
    with pytest.raises(BrokerError, match=r"holds a cluster of 1 broker.*--brokers 1"):
        LocalKafka(tmp_path, n_brokers=3).start()


def test_folders_of_two_clusters_are_refused(kafka: LocalKafka, tmp_path: Path) -> None:
    kept_by_another(tmp_path, 1, "one")
    kept_by_another(tmp_path, 2, "two")
    with pytest.raises(BrokerError, match=r"holds data of different clusters"):
        LocalKafka(tmp_path, n_brokers=2).start()


def test_a_folder_of_another_node_is_refused(tmp_path: Path) -> None:
    kept_by_another(tmp_path, 7, "one")
    with pytest.raises(BrokerError, match="holds the data of broker 7 of another cluster"):
        _ = BrokerProcess(1, tmp_path / "broker-7", ["java"]).cluster_id


def test_a_broker_that_dies_says_why(kafka: LocalKafka, tmp_path: Path) -> None:
    kept_by_another(tmp_path, 1, "one", version=9)
    with pytest.raises(BrokerError, match=r"Kafka ended by itself: .*Exception"):
        LocalKafka(tmp_path, short_lived=True).start()


def test_data_survive_a_restart_on_other_ports(kafka: LocalKafka, tmp_path: Path) -> None:
    names = TopicNames()
    local = LocalKafka(tmp_path, short_lived=True)
    with local:
        first = local.bootstrap_servers
        create_topics(local.connection, names, 1)
        with open_producer(local.connection) as producer:
            assert producer.send(names.clicks, value=b"1", partition=0).get(timeout=10).offset == 0
    with local:
        assert local.bootstrap_servers != first
        require_topics(local.connection, names.clicks)
        with open_producer(local.connection) as producer:
            assert producer.send(names.clicks, value=b"2", partition=0).get(timeout=10).offset == 1
        local.stop_broker(1)
        local.start_broker(1)
        check_reachable(local.connection)
        local.pause(1)
        local.resume(1)
        check_reachable(local.connection)


def test_three_brokers_keep_three_copies(kafka: LocalKafka, tmp_path: Path) -> None:
    with LocalKafka(tmp_path, n_brokers=3, short_lived=True) as three:
        reports = create_topics(three.connection, TopicNames(), 2)
        assert {report.wished.replication for report in reports} == {3}
        three.stop_broker(2, signal.SIGKILL)
        with open_producer(three.connection) as producer:
            producer.send("clicks", value=b"1").get(timeout=30)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)


class Command(NamedTuple):
    """``nextclick broker`` in a process of its own."""

    port: int
    process: subprocess.Popen[str]


@pytest.fixture(scope="module")
def commands(
    kafka: LocalKafka, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[signal.Signals, Command]]:
    """One to end in each way; they start together."""
    started = {how: start_command(tmp_path_factory.mktemp("broker")) for how in ENDINGS}
    killers = [threading.Timer(120, one.process.kill) for one in started.values()]
    for killer in killers:
        killer.start()
    yield started
    for killer, (_, process) in zip(killers, started.values(), strict=True):
        killer.cancel()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def start_command(home: Path) -> Command:
    port = free_port()
    command = [sys.executable, "-m", "deploy.cli.main", "broker", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--home", str(home)],
        env=os.environ | {"JAVA_TOOL_OPTIONS": " ".join(QUICK_START)},
        stdout=subprocess.PIPE,
        text=True,
    )
    return Command(port, process)


@pytest.mark.parametrize("how", ENDINGS)
def test_the_command_takes_kafka_with_it(
    commands: dict[signal.Signals, Command], how: signal.Signals
) -> None:
    port, process = commands[how]
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(how)
    process.communicate()
    assert line.startswith(f"Kafka 4.1.0 is ready at 127.0.0.1:{port} ")
    assert process.returncode == (-signal.SIGKILL if how is signal.SIGKILL else 0)
    deadline = time.monotonic() + 20
    while accepts(port) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not accepts(port)


def test_nothing_is_started_where_a_cluster_is_named(
    kafka: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEXTCLICK_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    assert run(["broker"]) == 0
    expected = f"nothing started: the cluster at {kafka.bootstrap_servers} is used"
    assert capsys.readouterr().out == f"{expected} (NEXTCLICK_BOOTSTRAP_SERVERS says so)\n"
    assert not (tmp_path / ".nextclick").exists()


def test_the_session_broker_is_one(kafka: LocalKafka) -> None:
    with open_admin(kafka.connection) as admin:
        assert len(admin.describe_cluster()["brokers"]) == 1
