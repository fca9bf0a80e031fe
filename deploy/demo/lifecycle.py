"""The lifecycle demo: a shop changes, snapshots are refreshed, a bad one is refused, forced, rolled back.

All of it is done by the product's own commands, as processes. Beside the worker that serves runs another one
in a group of its own, with the first snapshot for ever and no fresh items: what the same clicks would have
been answered with, had nobody refreshed.
"""

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from deploy.demo.children import Child, Supervised
from deploy.demo.lifecycle_figures import Sabotage, SabotageKind
from deploy.demo.lifecycle_outcome import LifecycleOutcome, Notes
from deploy.demo.lifecycle_scene import LifecycleScene
from deploy.demo.opening import command, open_stage, took
from deploy.demo.parts import TICK_S, FrontEndProcess, KafkaWatch
from deploy.demo.plan import Plan
from deploy.demo.stage import PARTITIONS, DemoError, Stage, remove_from_cluster
from deploy.demo.view import Note, View
from deploy.demo.worker_quality import told_by_worker
from deploy.settings import Settings
from streams.announcements import CANARY, PRODUCTION, read_current
from streams.topics import create_topics

REFRESH_EVERY_S: Final = 15
REHEARSED: Final = 10_000
KEPT: Final = 50  # snapshots: the first one serves beside to the end
FIRST: Final = "first"  # the alias of the worker that is never refreshed
IN_A_HURRY: Final[dict[str, object]] = {
    # Weeks pass here in minutes: there is no time to train from the start whenever drift asks for it.
    "drift_popularity": 1,
    "drift_unknown": 1,
    "drift_scores": 1_000,
    "drift_quality": 1,
}
READY_TIMEOUT_S: Final = 300.0
PATIENCE_S: Final = 240.0  # for an act, on a busy machine
REFRESHES_BEFORE: Final = 2  # the sabotage
AFTERWARDS_S: Final = 10.0  # of clicks after the rollback
ASK_EVERY_S: Final = 2.0


class Lifecycle:
    """One run; ``view`` shows it."""

    def __init__(
        self,
        given: Settings,
        plan: Plan,
        folder: Path,
        view: View[LifecycleScene],
        kind: SabotageKind = SabotageKind.SHUFFLED,
    ) -> None:
        self._given = given
        self._plan = plan
        self._folder = folder
        self._view = view
        self._scene = LifecycleScene(plan.title, plan.seconds)
        self._sabotage = Sabotage(kind)
        self._forced_wall_s: float | None = None
        self._kafka: KafkaWatch | None = None
        self._workers: list[Supervised] = []
        self._stack: ExitStack
        self._stage: Stage
        self._trainer: Child
        self._front_end: FrontEndProcess

    def run(self) -> tuple[LifecycleOutcome, Notes]:
        """Run all of it; raises a NextclickError where a part fails. Nothing is left running.

        1. Kafka, the past of the shop on its topic, a trainer that goes on for ever, its first snapshot.
        2. Two workers: one serves what is announced, the other one the first snapshot only.
        3. Clicks flow, the shop changes, the trainer refreshes.
        4. A sabotaged snapshot is put to the gate, and announced as canary by force where it can be.
        5. When it was rolled back clicks flow on until the time is over.
        """
        with ExitStack() as self._stack:  # ends in the opposite order
            self._open()
            self._train_first()
            self._start_workers()
            self._start_front_end()
            with self._view.live(self._scene):
                self._front_end.go()
                self._acts()
                self._front_end.enough()
                self._until(lambda: self._front_end.done, PATIENCE_S, "the front end's last report")
            told = told_by_worker(self._stage.connection, self._stage.topics.quality)
            self._stack.enter_context(self._view.step("all parts end"))
            notes = Notes.read(self._folder / "front-end" / "journal.json")
        if self._forced_wall_s is not None:
            self._sabotage = replace(self._sabotage, forced_s=self._forced_wall_s - notes.began_s)
        outcome = LifecycleOutcome.of(
            notes,
            self._scene.report,
            self._scene.refreshed_s,
            self._sabotage,
            told,
            sum(worker.n_restarts for worker in self._workers),
        )
        return outcome, notes

    # ------------------------------------------------------------------ before the stream

    def _open(self) -> None:
        self._stage, self._kafka = open_stage(
            self._stack,
            self._given,
            self._folder,
            self._view,
            epochs=self._plan.epochs,
            rehearsed_clicks=REHEARSED,
            keep_snapshots=KEPT,
            start_at="latest",  # the past is on the topic, to be learnt from and not to be answered
            **IN_A_HURRY,
        )
        self._beside = self._stage.beside(FIRST)
        create_topics(self._beside.connection, self._beside.topics, PARTITIONS)
        if self._given.names_a_cluster:
            self._stack.callback(remove_from_cluster, self._beside)

    def _train_first(self) -> None:
        began = time.monotonic()
        n_clicks = sum(self._plan.counts.values())
        with self._view.step(f"first snapshot from {n_clicks:,} clicks") as note:
            self._command("replay", str(self._plan.history), "--rate", "0", note=note)
            intervals = ("--every", "6h", "--refresh-every", f"{REFRESH_EVERY_S}s")
            self._trainer = self._started(command(self._stage, "trainer", *intervals))
            self._wait(lambda: PRODUCTION in self._announced(), note)
        self._first = self._announced()[PRODUCTION].version
        self._view.say(
            f"first snapshot: {len(self._plan.counts):,} items from {n_clicks:,} clicks ({took(began)})"
        )

    def _start_workers(self) -> None:
        """After the history, so that they begin behind it."""
        began = time.monotonic()
        with self._view.step("the workers join Kafka and load their snapshots") as note:
            self._command("snapshots", "promote", self._first, "--as", FIRST, "--pin", note=note)
            production = command(self._stage, "worker", "--name", "demo")
            beside = command(
                self._beside, "worker", "--name", FIRST, name="worker-beside", alias=FIRST, fresh_items=0
            )
            for child in (production, beside):
                self._stack.callback(child.stop)
                worker = Supervised(child)
                worker.start()
                self._workers.append(worker)
            self._wait(
                lambda: all("serving partitions" in worker.child.text() for worker in self._workers), note
            )
        self._view.say(f"two workers answer, one of them without refreshes ({took(began)})")

    def _start_front_end(self) -> None:
        folder = self._folder / "front-end"
        self._plan.write_for_front_end(folder, self._plan.seconds)
        given = {
            "seconds": self._plan.stream[-1][0],
            "repeat_all": False,
            "n_shown": 0,
            "topics": {
                "clicks": self._stage.topics.clicks,
                "recommendations": self._stage.topics.recommendations,
                "beside": self._beside.topics.recommendations,
                "rejected_clicks": self._stage.topics.rejected_clicks,
                "partitions": PARTITIONS,
            },
        }
        (folder / "front-end.json").write_text(json.dumps(given), encoding="utf-8")
        child = Child(
            "front-end",
            "deploy.demo.front_end",
            [str(folder), "--journal"],
            folder=self._folder,
            environment=self._stage.environment,
            pipes=True,
        )
        self._front_end = FrontEndProcess(child)
        self._stack.callback(self._front_end.stop)
        with self._view.step("the front end's first clicks"):
            self._front_end.start()
            self._wait(lambda: self._front_end.ready, lambda text: None)

    # ------------------------------------------------------------------ while clicks flow

    def _acts(self) -> None:
        scene = self._scene
        patience_s = PATIENCE_S + REFRESHES_BEFORE * REFRESH_EVERY_S
        self._until(lambda: len(scene.refreshed_s) >= REFRESHES_BEFORE, patience_s)
        if self._put_to_the_gate():
            self._force_as_canary()
        ended_s = max(self._plan.seconds, scene.seconds + AFTERWARDS_S)
        self._until(lambda: scene.seconds >= ended_s, ended_s - scene.seconds + PATIENCE_S)

    def _put_to_the_gate(self) -> bool:
        """Spoil a copy of what serves, and let the gate judge it; tells whether it is kept, but refused."""
        serving = self._announced()[PRODUCTION]
        folder, kind = self._folder / "sabotage", self._sabotage.kind
        arguments = [serving.location, str(folder), kind]
        child = Child(
            "sabotage",
            "deploy.demo.sabotage",
            arguments,
            folder=self._folder,
            environment=self._stage.environment,
        )
        self._finish(child)
        self._scene.note(f"a copy of {serving.version}, {kind.told}, is put to the gate")
        adopted = command(self._stage, "snapshots", "adopt", child.last_line(), "--json", name="adopt")
        self._finish(adopted, may_fail=True)
        if not kind.can_be_read:  # then it is not kept either, and there is nothing to announce
            refused = adopted.exit_code == 1
            self._sabotage = Sabotage(kind, refused=refused, reasons=[adopted.last_line()])
            self._scene.note(adopted.last_line())
            return False
        verdict = _last_object(adopted)
        version, reasons = verdict["snapshot"], verdict["gate"]["reasons"]
        self._scene.bad = version
        self._sabotage = Sabotage(kind, version, verdict["refused"], reasons)
        self._scene.note(
            f"{version} is refused: {'; '.join(reasons)}" if reasons else f"{version} is accepted"
        )
        return bool(verdict["refused"])

    def _force_as_canary(self) -> None:
        """Announce it by force; production's worker has to give it back on its own."""
        version = self._sabotage.version
        promote = command(
            self._stage, "snapshots", "promote", version, "--as", CANARY, "--force", "--json", name="promote"
        )
        self._finish(promote)
        self._forced_wall_s = _last_object(promote)["announced_ms"] / 1000
        self._scene.note(f"{version} is announced as canary by force")
        rolled_back = self._until(lambda: CANARY not in self._announced(), PATIENCE_S, every_s=ASK_EVERY_S)
        why = command(self._stage, "snapshots", "canary", name="canary")
        self._finish(why)
        self._sabotage = replace(self._sabotage, rolled_back=rolled_back, said=_why(why.text()))
        self._scene.note(
            f"the canary is given back: {self._sabotage.said}" if rolled_back else self._sabotage.said
        )

    def _announced(self) -> dict[str, Any]:
        return dict(read_current(self._stage.connection, self._stage.topics.snapshots))

    # ------------------------------------------------------------------ processes

    def _started(self, child: Child) -> Child:
        self._stack.callback(child.stop)
        child.start()
        return child

    def _command(self, *arguments: str, note: Note) -> None:
        """Run a command to its end, before the stream."""
        child = self._started(command(self._stage, *arguments))
        self._wait(lambda: child.exit_code is not None, note)
        if child.exit_code:
            raise child.error()

    def _finish(self, child: Child, *, may_fail: bool = False) -> None:
        """Run a process to its end while clicks flow."""
        self._started(child)
        if not self._until(lambda: child.exit_code is not None, PATIENCE_S):
            raise DemoError(f"{child.name} did not end within {PATIENCE_S:.0f} s (its log: {child.log})")
        if child.exit_code and not may_fail:
            raise child.error()

    def _wait(self, reached: Callable[[], bool], note: Note) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not reached():
            if time.monotonic() > deadline:
                raise DemoError(f"nothing came of it within {READY_TIMEOUT_S:.0f} s (logs: {self._folder})")
            self._check()
            if hasattr(self, "_trainer"):
                note(self._trainer.last_line())
            time.sleep(TICK_S)

    def _until(
        self, reached: Callable[[], bool], patience_s: float, what: str = "", every_s: float = 0.0
    ) -> bool:
        """Show how it goes until something is reached; False, or a DemoError about what, where it is not."""
        deadline, ask_at_s = time.monotonic() + patience_s, 0.0
        while True:
            if time.monotonic() >= ask_at_s:
                if reached():
                    break
                ask_at_s = time.monotonic() + every_s
            if time.monotonic() > deadline:
                if what:
                    raise DemoError(f"{what} did not come within {patience_s:.0f} s (logs: {self._folder})")
                return False
            time.sleep(TICK_S)
            self._check()
            self._front_end.check()
            self._scene.trainer = self._trainer.last_line()
            self._scene.take(self._front_end.report)
            self._view.show(self._scene)
        self._scene.take(self._front_end.report)
        self._view.show(self._scene)
        return True

    def _check(self) -> None:
        """Raise where a part that should run has ended; workers are started again."""
        if self._kafka is not None:
            self._kafka.check()
        for worker in self._workers:
            worker.check()
        if hasattr(self, "_trainer") and self._trainer.exit_code is not None:
            raise self._trainer.error()


def _last_object(child: Child) -> dict[str, Any]:
    """The object that a command with ``--json`` has printed among its lines."""
    for text in reversed(child.text().splitlines()):
        if text.startswith("{"):
            found: dict[str, Any] = json.loads(text)
            return found
    raise child.error()


def _why(text: str) -> str:
    """The reason in what ``nextclick snapshots canary`` says when none is announced any more."""
    said = text.partition("the last one: ")[2] or text
    return next(iter(said.strip().splitlines()), "")
