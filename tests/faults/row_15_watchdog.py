"""Row 15: an agent that hangs and a consumer that silently stops are ended by the watchdog, and only they."""

from streams.endings import EXIT_STUCK
from streams.steps import Step
from tests.faults.cluster import NamedCluster
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, EndLoad, Load, PauseBroker, Start, Stop, Wait
from tests.faults.stage import Stage
from tests.faults.strikes import Deed, Point, Strike

LOOK_EVERY_S = 5.0
ASK_S = 10.0  # to ask the broker and to end, on a busy machine
CASES: dict[str, Strike] = {
    "agent hangs": Strike(Point.SEND, 20, Deed.HANG),
    "consumer stops": Strike(Point.FETCH, 20, Deed.HANG),
    "loop hangs": Strike(Step.DECODE, 20, Deed.HANG),
}


def run(stage: Stage, size: Size) -> Findings:
    """Each way to stand still; then idleness and a broker that does not answer, which are none."""
    patience_s = size.choose(full=60.0, short=15.0, quick=6.0)
    patient = ("--watchdog-seconds", f"{patience_s:.0f}")
    cases = size.choose(full=CASES, short=CASES, quick={"consumer stops": CASES["consumer stops"]})
    findings = Findings()
    ended_after_s = {}
    for name, strike in cases.items():
        stage.perform([Start("w1", patient, strike, ready=False), Load(100, n_sessions=50)])
        ended = stage.await_end("w1", 3 * patience_s + 30, since_ms=stage.await_struck("w1"))
        ended_after_s[name] = ended.seconds
        findings.require(ended.code == EXIT_STUCK, f"{name}: exit {ended.code}")
        findings.require(
            patience_s <= ended.seconds <= patience_s + 2 * LOOK_EVERY_S + ASK_S,
            f"{name}: ended after {ended.seconds} s",
        )
        findings.require("ends itself" in stage.workers["w1"].text(), f"{name}: the log does not say why")
        stage.perform([EndLoad(), Start("w1", patient), AwaitAnswers()])
        told = "did not end as asked: stuck" in stage.workers["w1"].text()
        findings.require(told, f"{name}: the worker that came after does not tell of it")
        stage.perform([Stop("w1")])
    if size is not Size.QUICK:
        live_on(stage, patient, patience_s, findings)
    audit = stage.audit()
    findings.problems += audit.problems()
    findings.figures = {"patience_s": patience_s, "ended_after_s": ended_after_s, **audit.figures()}
    return findings


def live_on(stage: Stage, patient: tuple[str, ...], patience_s: float, findings: Findings) -> None:
    """No click waits, or the broker does not answer: the watchdog lets the worker be."""
    longer_s = patience_s + 3 * LOOK_EVERY_S
    stage.perform([Start("w1", patient), Wait(longer_s)])
    findings.require(stage.workers["w1"].running, "an idle worker was ended")
    absent = PauseBroker(1, longer_s)
    if not isinstance(stage.kafka, NamedCluster):
        stage.perform([Load(100, n_sessions=50), Wait(2.0), absent, EndLoad(), AwaitAnswers()])
        findings.require(stage.workers["w1"].running, "a worker was ended because its broker did not answer")
    stage.perform([Stop("w1")])


ROW = Row(
    15,
    "agent stuck, or consumer silently stopped",
    "the watchdog ends the process after 60 s without progress while the broker answers, there is lag and"
    " no recovery runs",
    run,
)
