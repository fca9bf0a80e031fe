"""Row 4: brokers that go down or whose time stands still, one of three and all at once.

The worker may wait, or end itself and be started again by a process manager, which this row has, too.
What counts is that answers flow again on every partition within half a minute, once the brokers are back.
"""

import signal
import time
from dataclasses import dataclass
from typing import Final

from tests.faults.manager import kept_running
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, EndLoad, Load, Start, Stop, Wait
from tests.faults.stage import FaultError, Stage, now_ms
from tests.integration.site import N_PARTITIONS

BROKERS: Final = (1, 2, 3)
RESUMES_WITHIN_S: Final = 30.0
LOOK_UNTIL_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to which brokers, and for how long: SIGTERM and SIGKILL end them, SIGSTOP pauses them."""

    what: str
    brokers: tuple[int, ...]
    how: signal.Signals
    seconds: float

    def __str__(self) -> str:
        return f"{self.what} {self.seconds:.0f} s"

    def begin(self, stage: Stage) -> None:
        """Strike."""
        for broker in self.brokers:
            if self.how is signal.SIGSTOP:
                stage.kafka.pause(broker)
            else:
                stage.kafka.stop_broker(broker, self.how)

    def end(self, stage: Stage) -> None:
        """Mend; the brokers answer again when this returns."""
        if self.how is not signal.SIGSTOP:
            stage.kafka.start_broker(*self.brokers)
            return
        for broker in self.brokers:
            stage.kafka.resume(broker)


def run(stage: Stage, size: Size) -> Findings:
    """One fault after the other under load, each begun when the one before is over."""
    stage.perform([Start("w1"), Load(rate=300.0), Wait(3.0)])
    findings = Findings()
    resumed: dict[str, float] = {}
    with kept_running(stage, "w1") as codes:
        for fault in faults(size):
            stage.say(f"  {fault}")
            fault.begin(stage)
            time.sleep(fault.seconds)
            fault.end(stage)
            seconds = resumed[str(fault)] = await_answers_on_all_partitions(stage, now_ms())
            findings.require(seconds <= RESUMES_WITHIN_S, f"{fault}: answers only {seconds} s after its end")
        stage.perform([EndLoad(), AwaitAnswers()])
    stage.perform([Stop("w1")])
    audit = stage.audit()
    findings.problems += audit.problems()
    findings.figures = {
        "resumed_s": resumed,
        "worker_ended_itself": codes,
        "clicks_sent_again": sum(one.n_sent_again for one in stage.producers),
        **audit.figures(),
    }
    return findings


def faults(size: Size) -> list[Fault]:
    """The table's; brokers in turn, so that each leads and coordinates something."""
    down_s = size.choose(full=30, short=12, quick=5)
    pauses_s = size.choose(full=(5, 30, 120), short=(5, 20), quick=(5,))
    all_s = size.choose(full=30, short=12, quick=5)
    return [
        Fault("one restarted", (1,), signal.SIGTERM, down_s),
        Fault("one killed", (2,), signal.SIGKILL, down_s),
        *(
            Fault("one paused", (broker,), signal.SIGSTOP, seconds)
            for broker, seconds in zip((3, 1, 2), pauses_s, strict=False)
        ),
        Fault("all killed", BROKERS, signal.SIGKILL, all_s),
        Fault("all paused", BROKERS, signal.SIGSTOP, all_s),
    ]


def await_answers_on_all_partitions(stage: Stage, since_ms: int) -> float:
    """Wait until every partition has had an answer since then; gives the seconds that took."""
    deadline = time.monotonic() + LOOK_UNTIL_S
    while time.monotonic() < deadline:
        first_ms: dict[int, int] = {}
        for answer in stage.auditor.answers.read_on():
            if answer.append_ms >= since_ms:
                first_ms[answer.partition] = min(answer.append_ms, first_ms.get(answer.partition, 1 << 62))
        if len(first_ms) == N_PARTITIONS:
            return round((max(first_ms.values()) - since_ms) / 1000, 1)
        time.sleep(1.0)
    raise FaultError(f"no answers on all partitions within {LOOK_UNTIL_S:.0f} s of the fault's end")


ROW = Row(
    4,
    "brokers restarted (30 s down), killed, paused 5/30/120 s; one of three, and all at once",
    "resumes within 30 s; nothing missing; no commit past an undelivered changelog",
    run,
    n_brokers=3,
    own_cluster=True,
    quick=False,
)
