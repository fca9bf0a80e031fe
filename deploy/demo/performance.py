"""The demo itself: every part started in turn, watched while clicks flow, and ended in order."""

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from deploy.demo.children import Child, Supervised
from deploy.demo.opening import command, open_stage, took
from deploy.demo.parts import TICK_S, FrontEndProcess, KafkaWatch, TrainerProcess
from deploy.demo.plan import LEAST_EPOCHS, Plan
from deploy.demo.scene import Outcome, Scene
from deploy.demo.stage import PARTITIONS, DemoError, Stage
from deploy.demo.view import View
from deploy.settings import Settings

READY_TIMEOUT_S: Final = 90.0
PATIENCE_S: Final = 120.0  # for a swap that takes longer than the stream
N_SHOWN: Final = 12


class Performance:
    """One run; ``view`` shows it."""

    def __init__(self, given: Settings, plan: Plan, folder: Path, seconds: float, view: View[Scene]) -> None:
        self._given = given
        self._plan = plan
        self._folder = folder
        self._seconds = seconds
        self._view = view
        self._training_s = 0.0
        self._kafka: KafkaWatch | None = None  # none of ours where a cluster is given

    def run(self) -> Outcome:
        """Run all of it; raises a NextclickError where a part fails. Nothing is left running.

        1. Kafka: our own, or the cluster that the settings name; topics of the demo's own.
        2. A worker, which waits for a snapshot, and a trainer that makes one from the history.
        3. The front end sends the stream; in the middle a second trainer reads what has flowed.
        4. The worker swaps its snapshot in; the front end counts to the last answer.
        """
        with ExitStack() as stack:  # ends in the opposite order
            stage, self._kafka = open_stage(
                stack,
                self._given,
                self._folder,
                self._view,
                repeat_items=self._plan.repeat_items,
                session_gap_minutes=self._plan.session_gap_minutes,
            )
            worker = Supervised(command(stage, "worker", "--name", "demo"))
            stack.callback(worker.child.stop)
            worker.start()
            self._train_first(stack, stage)
            front_end = FrontEndProcess(self._front_end(stage))
            stack.callback(front_end.stop)
            with self._view.step("the worker joins Kafka and loads the snapshot"):
                front_end.start()
                self._wait_ready(worker, front_end)
            self._view.say("the worker answers")
            outcome = self._stream(stack, stage, worker, front_end)
            stack.enter_context(self._view.step("all parts end"))
        return outcome

    def _trainer(self, stage: Stage, name: str, epochs: int) -> TrainerProcess:
        history = ["--history", str(self._plan.history)]
        arguments = ["trainer", "--once", *history]
        return TrainerProcess(command(stage, *arguments, name=name, epochs=epochs))

    def _train_first(self, stack: ExitStack, stage: Stage) -> None:
        began = time.monotonic()
        trainer = self._trainer(stage, "first-trainer", self._plan.epochs)
        stack.callback(trainer.child.stop)
        trainer.child.start()
        n_clicks = sum(self._plan.counts.values())
        with self._view.step(f"first snapshot from {n_clicks:,} clicks") as note:
            while not trainer.ended():
                self._check_kafka()
                note(trainer.doing())
                time.sleep(TICK_S)
        self._training_s = time.monotonic() - began
        self._view.say(
            f"first snapshot: {len(self._plan.counts):,} items from {n_clicks:,} clicks ({took(began)})"
        )

    def _front_end(self, stage: Stage) -> Child:
        folder = self._folder / "front-end"
        if not self._plan.made_up:
            # On a slow machine the stream takes longer, so that the second training fits in.
            self._seconds = min(2 * self._seconds, max(self._seconds, 1.6 * self._training_s + 15))
        self._plan.write_for_front_end(folder, self._seconds)
        given = {
            "seconds": self._seconds,
            "repeat_all": self._plan.repeat_items == "all",
            "n_shown": N_SHOWN,
            "topics": {
                "clicks": stage.topics.clicks,
                "recommendations": stage.topics.recommendations,
                "rejected_clicks": stage.topics.rejected_clicks,
                "partitions": PARTITIONS,
            },
        }
        (folder / "front-end.json").write_text(json.dumps(given), encoding="utf-8")
        return Child(
            "front-end",
            "deploy.demo.front_end",
            [str(folder)],
            folder=self._folder,
            environment=stage.environment,
            pipes=True,
        )

    def _wait_ready(self, worker: Supervised, front_end: FrontEndProcess) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not front_end.ready:
            if time.monotonic() > deadline:
                raise DemoError(
                    f"no click was answered within {READY_TIMEOUT_S:.0f} s (see {worker.child.log})"
                )
            self._check_kafka()
            worker.check()
            front_end.check()
            time.sleep(TICK_S)

    def _check_kafka(self) -> None:
        if self._kafka is not None:
            self._kafka.check()

    def _stream(
        self, stack: ExitStack, stage: Stage, worker: Supervised, front_end: FrontEndProcess
    ) -> Outcome:
        """Let the clicks flow, retrain in the middle, and watch until the front end is done."""
        scene = Scene(self._plan.title, self._plan.made_up, self._seconds)
        trainer = self._trainer(stage, "trainer", min(self._plan.epochs, LEAST_EPOCHS))
        stack.callback(trainer.child.stop)
        retrain_at_s = max(0.15 * self._seconds, 0.6 * self._seconds - 1.3 * self._training_s)
        front_end.go()
        with self._view.live(scene):
            while not front_end.done:
                time.sleep(TICK_S)
                scene.take(front_end.report)
                self._check_kafka()
                front_end.check()
                if worker.check():
                    scene.worker_restarted(worker.n_restarts)
                if trainer.child.process is None and scene.seconds >= retrain_at_s:
                    trainer.child.start()
                    scene.retraining_began()
                elif trainer.child.process is not None:
                    ended = trainer.ended()
                    scene.trainer = "" if ended else trainer.doing()
                if scene.swapped or scene.seconds > self._seconds + PATIENCE_S:
                    front_end.enough()
                self._view.show(scene)
            scene.take(front_end.report)
            self._view.show(scene)
        return scene.outcome()
