"""Row 14: the local database deleted; the changelog emptied, made anew, full of garbage; ``clicks`` anew.

What lasts in one of the two places is taken from there. Where they contradict each other the worker refuses
to guess, and names the way on that ``docs/operations.md`` describes; it is taken here.
"""

import os
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Final

from streams.kafka import ConfigResource, TopicPartition, open_admin, open_consumer, open_producer
from streams.topics import create_topics
from tests.faults.clicks import clicks, sent_click
from tests.faults.producer import VerifiableProducer
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, Kill, Start, Stop
from tests.faults.stage import FaultError, Stage
from tests.integration.site import N_PARTITIONS

REFUSED_WITHIN_S: Final = 60.0
COMMITTED_WITHIN_S: Final = 20.0
RESET: Final = "nextclick sessions reset"
DAMAGED_SESSION: Final = "damaged"
RATE: Final = 400.0


def run(stage: Stage, size: Size) -> Findings:
    """One loss after the other on the same site, clicks of the same sessions between them."""
    n = size.choose(full=4_000, short=1_500, quick=300)
    quick = size is Size.QUICK
    losses = [_write_garbage] if quick else [*LOSSES]
    stage.perform([Start("w1")])
    for lose in losses:
        _click(stage, n)
        stage.auditor.states.read_on()  # while they are there
        lose(stage)
    _click(stage, n)
    _await_rest(stage)
    audit = stage.audit(whole_changelog=False)
    findings = Findings(audit.figures(), audit.problems())
    if not quick:
        _lose_both(stage, n)
        stage.perform([Stop("w1")])
        findings.figures["changelog_made_anew"] = _make_changelog_anew(stage)
    findings.figures["clicks_made_anew"] = _make_clicks_anew(stage)
    return findings


def _click(stage: Stage, n: int) -> None:
    """Send clicks of sessions that may have clicked before, and see them answered."""
    seed = len(stage.producers)
    stage.load(clicks(seed), RATE, n).join(120)
    stage.perform([AwaitAnswers()])


def _await_rest(stage: Stage) -> None:
    """Wait until all that was answered is stored and committed, too."""
    deadline = time.monotonic() + COMMITTED_WITHIN_S
    time.sleep(1.0)  # the worker looks at its lag twice a second
    while stage.workers["w1"].metric("nextclick_lag_clicks"):
        if time.monotonic() > deadline:
            raise FaultError(f"not all is committed after {COMMITTED_WITHIN_S:.0f} s")
        time.sleep(0.2)


def _database(stage: Stage) -> str:
    return str(stage.site.folder / "home" / "workers" / "w1" / "faust")


def _delete_database(stage: Stage) -> None:
    stage.say("  delete the database while the worker is away")
    stage.perform([Kill("w1")])
    shutil.rmtree(_database(stage))
    stage.perform([Start("w1")])


def _delete_database_in_use(stage: Stage) -> None:
    stage.say("  delete the database while the worker runs")
    shutil.rmtree(_database(stage))
    _click(stage, 200)  # it has its files open, and goes on
    stage.perform([Kill("w1"), Start("w1")])


def _damage_database(stage: Stage) -> None:
    stage.say("  damage the database while the worker is away")
    stage.perform([Kill("w1")])
    for file in Path(_database(stage)).rglob("MANIFEST-*"):
        file.write_bytes(b"garbage" * 100)
    stage.start("w1")
    ended = stage.await_end("w1", REFUSED_WITHIN_S)
    said = stage.workers["w1"].text().splitlines()[-1]
    if ended.code != 1 or "the local database is damaged" not in said:
        raise FaultError(f"with a damaged database it ended with {ended.code} and said: {said}")
    shutil.rmtree(_database(stage))
    stage.perform([Start("w1")])


def _write_garbage(stage: Stage) -> None:
    """Write to the changelog what no worker would, also for a session that clicks afterwards; recover all."""
    stage.say("  write garbage to the changelog")
    key = b"s" + DAMAGED_SESSION.encode()
    garbage = [(None, b"x"), (b"x", None), (b"x", b"y"), (b"\xff\xfe", b"z" * 2000), (b"s\xff", b"1")]
    garbage += [(key, b""), (key, b"\x01garbage"), (key, b"\x02")]
    _set_policy(stage, "delete")  # a compacted topic takes no record without a key
    with open_producer(stage.kafka.connection) as producer:
        sent = [
            producer.send(stage.site.topics.sessions_changelog, value, one_key, partition=partition)
            for partition in range(N_PARTITIONS)
            for one_key, value in garbage
        ]
        for one in sent:
            one.get(timeout=30)
    _set_policy(stage, "compact")
    stage.perform([Kill("w1")])
    shutil.rmtree(_database(stage))
    stage.perform([Start("w1")])
    damaged = (sent_click(DAMAGED_SESSION, f"item-{n}") for n in range(5))
    stage.load(damaged, RATE, 5).join(30)
    stage.perform([AwaitAnswers()])
    log = stage.workers["w1"].text()
    if "that no worker has written there" not in log or "a stored session begins afresh" not in log:
        raise FaultError("the worker does not tell of the garbage in its changelog")


def _empty_changelog(stage: Stage) -> None:
    """Delete all its records; the database is still there."""
    stage.say("  empty the changelog")
    topic = stage.site.topics.sessions_changelog
    partitions = [TopicPartition(topic, n) for n in range(N_PARTITIONS)]
    stage.perform([Kill("w1")])
    with open_consumer(stage.kafka.connection) as consumer:
        ends = consumer.end_offsets(partitions)
    _set_policy(stage, "compact,delete")  # of a topic that is only compacted no records are deleted
    with open_admin(stage.kafka.connection) as admin:
        admin.delete_records(ends)
    _set_policy(stage, "compact")
    stage.perform([Start("w1")])


LOSSES: Final = (
    _delete_database,
    _delete_database_in_use,
    _damage_database,
    _write_garbage,
    _empty_changelog,
)


def _set_policy(stage: Stage, policy: str) -> None:
    config = {"cleanup.policy": policy}
    with open_admin(stage.kafka.connection) as admin:
        admin.alter_configs([ConfigResource("TOPIC", stage.site.topics.sessions_changelog, config)])


def _lose_both(stage: Stage, n: int) -> None:
    """Sessions begin afresh then, and every click is answered."""
    stage.say("  empty the changelog and delete the database")
    shutil.rmtree(_database(stage))
    _empty_changelog(stage)
    _click(stage, n)


def _make_changelog_anew(stage: Stage) -> dict[str, object]:
    """Make the changelog anew beside a database that is further on; see it refused, and take the way on."""
    stage.say("  make the changelog anew")
    with open_admin(stage.kafka.connection) as admin:
        admin.delete_topics([stage.site.topics.sessions_changelog])
    time.sleep(1)
    create_topics(stage.kafka.connection, stage.site.topics, N_PARTITIONS)
    said, seconds = _see_refusal(stage, "w1")
    return {"refused_s": seconds, "it_says": said, "answered_after_reset": _reset_and_click(stage)}


def _make_clicks_anew(stage: Stage) -> dict[str, object]:
    """Make ``clicks`` anew under a running worker, and start one on it; take the way on."""
    stage.say("  make clicks anew")
    with open_admin(stage.kafka.connection) as admin:
        admin.delete_topics([stage.site.topics.clicks])
    time.sleep(1)
    create_topics(stage.kafka.connection, stage.site.topics, N_PARTITIONS)
    ended = stage.await_end("w1", REFUSED_WITHIN_S)
    if ended.code == 0 or "made anew" not in stage.workers["w1"].text():
        raise FaultError(
            f"the running worker ended with {ended.code} and does not say that clicks were made anew"
        )
    _send(stage, 100)
    said, seconds = _see_refusal(stage, "w1")
    return {
        "ended_s": ended.seconds,
        "refused_s": seconds,
        "it_says": said,
        "answered_after_reset": _reset_and_click(stage),
    }


def _see_refusal(stage: Stage, name: str) -> tuple[str, float]:
    """Start a worker that must refuse to work, with one line that names the way on."""
    stage.start(name)
    ended = stage.await_end(name, REFUSED_WITHIN_S)
    said = stage.workers[name].text().splitlines()[-1]
    if ended.code != 1 or not said.startswith("nextclick: ") or RESET not in said:
        raise FaultError(f"ended with {ended.code} and said: {said}")
    return said, ended.seconds


def _reset_and_click(stage: Stage) -> int:
    """Forget all sessions as the refusal says, start the worker, and see clicks answered."""
    subprocess.run(
        [sys.executable, "-m", "deploy.cli.main", *RESET.split()[1:], "--yes"],
        env={**os.environ, **stage.site.environment, "NEXTCLICK_HOME": str(stage.site.folder / "home")},
        capture_output=True,
        check=True,
    )
    stage.perform([Start("w1")])
    worker = stage.workers["w1"]
    n_clicks = _n_clicks(stage) + 200
    _send(stage, 200)
    deadline = time.monotonic() + REFUSED_WITHIN_S
    while (n_answered := int(worker.metric("nextclick_answers_total"))) < n_clicks:
        if time.monotonic() > deadline:
            raise FaultError(f"{n_answered} of {n_clicks} clicks were answered after the reset")
        time.sleep(0.2)
    return n_answered


def _send(stage: Stage, n: int) -> None:
    """Send clicks that the auditor need not know of: positions begin anew with the topic."""
    VerifiableProducer(stage.site.servers, stage.site.topics.clicks, islice(clicks(n), n), RATE).start().join(
        60
    )


def _n_clicks(stage: Stage) -> int:
    partitions = [TopicPartition(stage.site.topics.clicks, n) for n in range(N_PARTITIONS)]
    with open_consumer(stage.kafka.connection) as consumer:
        return sum(consumer.end_offsets(partitions).values())


ROW = Row(
    14,
    "local database deleted or damaged; changelog emptied, deleted or with garbage in it; clicks recreated",
    "rebuilt from what is left; or a clear refusal within 60 s and a documented way on",
    run,
    quick=False,  # forty seconds, most of them waiting for restarts
)
