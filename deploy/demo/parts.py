"""The demo's parts and how to talk with them: local Kafka, the trainer that runs once, the front end."""

import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any, Final

from deploy.broker import LocalKafka
from deploy.broker_process import BrokerError
from deploy.demo.children import Child

TICK_S: Final = 0.2


class KafkaWatch:
    """Notices when local Kafka ends by itself."""

    def __init__(self, kafka: LocalKafka) -> None:
        self._kafka = kafka
        self._error: BrokerError | None = None
        threading.Thread(target=self._watch, name="kafka-watch", daemon=True).start()

    def _watch(self) -> None:
        try:
            self._kafka.watch()
        except BrokerError as error:
            self._error = error

    def check(self) -> None:
        """Raise BrokerError if it has."""
        if self._error is not None:
            raise self._error


class TrainerProcess:
    """A trainer that runs once."""

    def __init__(self, child: Child) -> None:
        self.child = child

    def ended(self) -> bool:
        """Whether it has published; raises ChildError where it failed."""
        if self.child.exit_code:
            raise self.child.error()
        return self.child.exit_code == 0

    def doing(self) -> str:
        """What it says it does."""
        return self.child.last_line() or "starting"


class FrontEndProcess:
    """The front end's process, its latest report and the two words it waits for."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.report: Mapping[str, Any] = {}
        self._told: set[str] = set()

    def start(self) -> None:
        """Start it and read its reports in a thread."""
        self._child.start()
        assert self._child.process is not None
        assert self._child.process.stdout is not None
        threading.Thread(target=self._read, args=[self._child.process.stdout], daemon=True).start()

    def _read(self, lines: IO[bytes]) -> None:
        with suppress(ValueError):  # the pipe was closed
            for line in lines:
                self.report = json.loads(line)

    @property
    def ready(self) -> bool:
        """Whether it listens and waits for ``go``."""
        return bool(self.report.get("ready"))

    @property
    def done(self) -> bool:
        """Whether the last report is there."""
        return bool(self.report.get("done"))

    def check(self) -> None:
        """Raise ChildError if it ended before it was done."""
        if self._child.exit_code is not None:
            time.sleep(TICK_S)  # its last report may still be in the pipe
            if not self.done:
                raise self._child.error()

    def go(self) -> None:
        """Let it begin."""
        self._tell("go")

    def enough(self) -> None:
        """Let it end when the stream has."""
        self._tell("enough")

    def stop(self) -> None:
        """End the process."""
        self._child.stop()

    def _tell(self, word: str) -> None:
        process = self._child.process
        if word in self._told or process is None or process.stdin is None:
            return
        self._told.add(word)
        with suppress(BrokenPipeError):
            process.stdin.write(f"{word}\n".encode())
            process.stdin.flush()
