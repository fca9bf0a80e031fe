"""Row 10: snapshots announced that are damaged in every way; the one before them serves on.

First under load and without a restart, to see that no click waits while they are looked at; then each once
more to a worker that is killed and started after the announcement.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from streams.snapshot import MANIFEST_FILE, Snapshot
from tests.damage import Damage, another_index, flip, in_place_of, rewrite_manifest, truncate, weights
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, EndLoad, Kill, Load, Start, Stop
from tests.faults.stage import FaultError, Stage, now_ms
from tests.integration.site import make_snapshot

MOST_DELAY_MS: Final = 100
SAID_WITHIN_S: Final = 30.0
RATE: Final = 200.0


class Bad(NamedTuple):
    """A snapshot that must be refused: what it is announced as, and what the worker must say of it."""

    what: str
    version: str
    location: str
    sha256: str
    reason: str


def run(stage: Stage, size: Size) -> Findings:
    """Announce one bad snapshot after the other."""
    n_items = size.choose(full=20_000, short=20_000, quick=300)
    served = _announce_good(stage, seed=10, n_items=n_items)
    bad = list(_damaged(stage, n_items))
    restarted = size.choose(full=bad, short=bad, quick=bad[:1])
    stage.perform([Start("w1"), Load(RATE)])
    time.sleep(size.choose(full=30, short=10, quick=1))
    announced_ms = now_ms()
    for one in bad:
        stage.say(f"  announce {one.what}")
        _announce_and_see_it_refused(stage, one)
        time.sleep(size.choose(full=5, short=2, quick=0.2))
    looked_at_ms = now_ms()
    for one in restarted:
        stage.say(f"  restart after {one.what}")
        stage.site.announce_as(one.version, one.location, one.sha256)
        stage.perform([Kill("w1"), Start("w1")])
        if f"snapshot {served.version} serves" not in stage.workers["w1"].text():
            raise FaultError(f"after {one.what} and a restart the snapshot before it does not serve")
    last = _announce_good(stage, seed=11, n_items=n_items)
    _wait_for(stage, f"snapshot {last.version} serves")
    time.sleep(1)
    stage.perform([EndLoad(), AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    arrived = {one.position: one.timestamp_ms for one in stage.auditor.clicks.records}
    before = [ms for at, ms in audit.delays_ms.items() if arrived[at] < announced_ms]
    during = [ms for at, ms in audit.delays_ms.items() if announced_ms <= arrived[at] < looked_at_ms]
    answered_by = {one.snapshot for one in stage.auditor.answers.records}
    findings = Findings(
        {
            "announced": len(bad),
            "items": n_items,
            "restarts": len(restarted),
            **audit.figures(),
            "worst_delay_before_ms": max(before),
            "worst_delay_ms": max(during),
            "clicks_during": len(during),
        },
        audit.problems(),
    )
    if size is not Size.QUICK:  # a check shares its machine with anything
        findings.require(
            max(during) <= MOST_DELAY_MS,
            f"a click was delayed by {max(during)} ms (without announcements by {max(before)} ms)",
        )
    findings.require(answered_by == {served.version, last.version}, f"answers from {answered_by}")
    return findings


def _announce_good(stage: Stage, seed: int, n_items: int) -> Snapshot:
    snapshot = make_snapshot(stage.site.folder / "snapshots", seed, n_items)
    stage.site.snapshots[snapshot.version] = snapshot
    stage.site.announce_as(snapshot.version, snapshot.location, snapshot.manifest_sha256)
    return snapshot


def _announce_and_see_it_refused(stage: Stage, bad: Bad) -> None:
    worker = stage.workers["w1"]
    refused = worker.metric("nextclick_snapshots_refused_total")
    stage.site.announce_as(bad.version, bad.location, bad.sha256)
    _wait_for(stage, f"snapshot {bad.location} is refused: ")
    line = next(line for line in worker.text().splitlines() if bad.location in line)
    if bad.reason not in line:
        raise FaultError(f"{bad.what} is refused for another reason than {bad.reason!r}: {line}")
    if worker.metric("nextclick_snapshots_refused_total") != refused + 1:
        raise FaultError(f"{bad.what}: the refusal is not counted")


def _wait_for(stage: Stage, text: str) -> None:
    deadline = time.monotonic() + SAID_WITHIN_S
    while text not in stage.workers["w1"].text():
        if time.monotonic() > deadline:
            raise FaultError(f"the worker does not say: {text}")
        time.sleep(0.1)


def _damaged(stage: Stage, n_items: int) -> Iterator[Bad]:
    """Make them, each from a whole snapshot that was never announced."""
    folder = stage.site.folder / "snapshots"
    whole = make_snapshot(folder, 20, n_items)
    vectors = make_snapshot(folder, 21, n_items).encoder.item_vectors()
    fewer = Path(make_snapshot(folder, 22, n_items // 2).location) / "items.parquet"
    damages: list[tuple[str, Damage, str]] = [
        ("a truncated encoder", truncate("encoder.safetensors"), "encoder.safetensors has "),
        ("a truncated vocabulary", truncate("items.parquet"), "items.parquet has "),
        ("a truncated index", truncate("index.faiss"), "index.faiss has "),
        ("a wrong SHA-256", flip("index.faiss"), "the SHA-256 of index.faiss is not the one"),
        ("a wrong size", lambda made: rewrite_manifest(made, n_items=n_items - 1), "their number of items"),
        ("NaN weights", weights(lambda tensors: tensors["items"][3].fill_(float("nan"))), "holds NaN"),
        ("another model's index", another_index(lambda: vectors), "they are of different models"),
        ("an index of fewer items", another_index(lambda: vectors[:-1]), "their number of items"),
        ("a vocabulary of fewer items", in_place_of("items.parquet", fewer), "their number of items"),
        ("an unknown format", lambda made: rewrite_manifest(made, format_version=2), "format version is 2"),
    ]
    for n, (what, damage, reason) in enumerate(damages):
        made = folder / f"damaged-{n}"
        shutil.copytree(whole.location, made)
        damage(made)
        sha256 = hashlib.sha256((made / MANIFEST_FILE).read_bytes()).hexdigest()
        yield Bad(what, whole.version, str(made), sha256, reason)
    shutil.copytree(whole.location, folder / "other-manifest")
    yield Bad(
        "another manifest",
        whole.version,
        str(folder / "other-manifest"),
        "0" * 64,
        "is not the announced one",
    )


ROW = Row(
    10,
    "truncated file, wrong SHA-256, wrong sizes, NaN weights, index unlike the vocabulary, unknown format;"
    " worker restarted after each",
    "refused with a reason, the previous snapshot serves, no click delayed over 100 ms",
    run,
)
