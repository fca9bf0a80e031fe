"""A process manager: starts a worker again that has ended by itself, as Compose or systemd would."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.faults.stage import Stage
from tests.integration.harness import WorkerProcess

LOOK_EVERY_S: Final = 0.5


@contextmanager
def kept_running(stage: Stage, name: str) -> Iterator[list[int]]:
    """Keep a worker running while the body runs; gives the exit codes it ended with, as they come."""
    worker: WorkerProcess = stage.workers[name]
    codes: list[int] = []
    done = threading.Event()

    def keep() -> None:
        while not done.wait(LOOK_EVERY_S):
            if not worker.running:
                codes.append(worker.wait())
                last = (worker.text().strip().splitlines() or [""])[-1]
                stage.say(f"  {name} ended with {codes[-1]} and is started again; it said: {last}")
                worker.start()

    keeper = threading.Thread(target=keep, name="process manager", daemon=True)
    keeper.start()
    try:
        yield codes
    finally:
        done.set()
        keeper.join()
