"""What may stand in a script: clicks, crashes, pauses, stops and announcements, as values.

``stage.perform([Start("w1"), Load(rate=300), CrashAt("w1", Step.DELIVER, nth=5), …])`` does them in order.
"""

import random
import signal
import time
from dataclasses import dataclass, field

from streams.steps import Step
from tests.faults.clicks import clicks
from tests.faults.stage import FaultError, Stage, now_ms
from tests.faults.strikes import Deed, Point, Strike


@dataclass(frozen=True)
class Load:
    """Send clicks at a fixed rate, from here on until ``EndLoad``, or ``seconds`` long."""

    rate: float
    seconds: float | None = None
    n_sessions: int = 200
    seed: int = 0

    def do(self, stage: Stage) -> None:
        n = None if self.seconds is None else round(self.rate * self.seconds)
        stage.load(clicks(self.seed, self.n_sessions), self.rate, n)


@dataclass(frozen=True)
class EndLoad:
    """Send no more clicks."""

    def do(self, stage: Stage) -> None:
        stage.end_load()


@dataclass(frozen=True)
class Wait:
    """Let time pass, a random time where ``to_s`` is given."""

    seconds: float
    to_s: float | None = None
    seed: int = 0

    def do(self, stage: Stage) -> None:
        longest = self.seconds if self.to_s is None else self.to_s
        time.sleep(random.Random(self.seed).uniform(self.seconds, longest))


@dataclass(frozen=True)
class Start:
    """Start a worker and wait until it serves; ``strike`` is built into it."""

    worker: str
    arguments: tuple[str, ...] = ()
    strike: Strike | None = None
    ready: bool = True
    environment: dict[str, str] = field(default_factory=dict)

    def do(self, stage: Stage) -> None:
        strike = self.strike.environment() if self.strike else {}
        stage.start(self.worker, *self.arguments, **self.environment, **strike)
        if self.ready:
            stage.await_ready(self.worker)


@dataclass(frozen=True)
class Kill:
    """kill -9, at once."""

    worker: str

    def do(self, stage: Stage) -> None:
        stage.killed_ms.append(now_ms())
        stage.workers[self.worker].kill()


@dataclass(frozen=True)
class CrashAt:
    """Start a worker that kills itself when it has done a step for the n-th time, and see it die of that."""

    worker: str
    at: Step | Point
    nth: int = 1

    def do(self, stage: Stage) -> None:
        Start(self.worker, strike=Strike(self.at, self.nth, Deed.KILL), ready=False).do(stage)
        stage.await_struck(self.worker)
        ended = stage.await_end(self.worker, within_s=5.0)
        stage.killed_ms.append(now_ms())
        if ended.code != -signal.SIGKILL:
            raise FaultError(f"{self.worker} was to be killed at {self.at}, it ended with {ended.code}")


@dataclass(frozen=True)
class FreezeAt:
    """Start a worker that stops its own time at a point, see that come, and let it stand so for a while.

    After ``Continue`` it goes on from there.
    """

    worker: str
    at: Step | Point
    nth: int = 1
    seconds: float = 0.0

    def do(self, stage: Stage) -> None:
        Start(self.worker, strike=Strike(self.at, self.nth, Deed.FREEZE), ready=False).do(stage)
        stage.await_struck(self.worker)
        time.sleep(self.seconds)


@dataclass(frozen=True)
class Stop:
    """SIGTERM, as a deployment does; the worker ends within this time."""

    worker: str
    within_s: float = 30.0

    def do(self, stage: Stage) -> None:
        stage.workers[self.worker].signal(signal.SIGTERM)
        stage.await_end(self.worker, self.within_s)


@dataclass(frozen=True)
class Pause:
    """SIGSTOP, and SIGCONT after so many seconds; without them it stays stopped until ``Continue``."""

    worker: str
    seconds: float | None = None

    def do(self, stage: Stage) -> None:
        stage.workers[self.worker].signal(signal.SIGSTOP)
        if self.seconds is not None:
            time.sleep(self.seconds)
            Continue(self.worker).do(stage)


@dataclass(frozen=True)
class Continue:
    """SIGCONT."""

    worker: str

    def do(self, stage: Stage) -> None:
        stage.workers[self.worker].signal(signal.SIGCONT)


@dataclass(frozen=True)
class AwaitEnd:
    """See a worker end by itself."""

    worker: str
    within_s: float

    def do(self, stage: Stage) -> None:
        stage.await_end(self.worker, self.within_s)


@dataclass(frozen=True)
class AwaitReady:
    """Wait until a worker serves that was started without waiting."""

    worker: str

    def do(self, stage: Stage) -> None:
        stage.await_ready(self.worker)


@dataclass(frozen=True)
class AwaitAnswers:
    """Wait until every acknowledged click has an answer or a rejection."""

    within_s: float = 120.0

    def do(self, stage: Stage) -> None:
        stage.await_answers(self.within_s)


@dataclass(frozen=True)
class Announce:
    """Make a snapshot and announce it: another model for another seed."""

    seed: int

    def do(self, stage: Stage) -> None:
        stage.site.announce(self.seed)


@dataclass(frozen=True)
class StopBroker:
    """Stop a broker (1, 2, …), cleanly or as a crash would."""

    broker: int = 1
    how: signal.Signals = signal.SIGTERM

    def do(self, stage: Stage) -> None:
        stage.kafka.stop_broker(self.broker, self.how)


@dataclass(frozen=True)
class StartBroker:
    """Start a stopped broker, on its old address and data."""

    broker: int = 1

    def do(self, stage: Stage) -> None:
        stage.kafka.start_broker(self.broker)


@dataclass(frozen=True)
class PauseBroker:
    """Stop a broker's time for so long: its sockets stay open and nothing answers."""

    broker: int = 1
    seconds: float = 5.0

    def do(self, stage: Stage) -> None:
        stage.kafka.pause(self.broker)
        try:
            time.sleep(self.seconds)
        finally:
            stage.kafka.resume(self.broker)
