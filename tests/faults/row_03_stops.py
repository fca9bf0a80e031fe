"""Row 3: a worker that is asked to stop under load does so in time, and nothing is answered twice."""

from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, EndLoad, Load, Start, Stop, Wait
from tests.faults.stage import Action, Stage

STOPPED_WITHIN_S = 15.0
PATIENCE_S = 40.0


def run(stage: Stage, size: Size) -> Findings:
    """Stop one worker again and again, then two in turn, as a rolling deployment does."""
    n_alone, n_in_turn = size.choose(full=(10, 10), short=(3, 2), quick=(1, 0))
    script: list[Action] = [Start("w1"), Load(rate=500)]
    for n in range(n_alone):
        script += [Wait(0.2, 2.5, seed=n), Stop("w1", PATIENCE_S), Start("w1")]
    if n_in_turn:
        script += [Start("w2")]
    for n in range(n_in_turn):
        name = ("w1", "w2")[n % 2]
        script += [Wait(0.2, 2.5, seed=n), Stop(name, PATIENCE_S), Start(name)]
    stage.perform([*script, EndLoad(), AwaitAnswers()])
    asked = list(stage.endings)
    stage.perform([Stop(name, PATIENCE_S) for name in stage.workers])
    audit = stage.audit()
    findings = Findings(
        {
            "stops": len(asked),
            "exit_codes": sorted({ended.code for ended in asked}),
            "worst_stop_s": max(ended.seconds for ended in asked),
            **audit.figures(),
        },
        audit.problems(duplicates_allowed=False),
    )
    for ended in stage.endings:
        findings.require(ended.code == 0, f"{ended.worker} ended with {ended.code}")
        findings.require(ended.seconds <= STOPPED_WITHIN_S, f"{ended.worker} took {ended.seconds} s to stop")
    return findings


ROW = Row(3, "SIGTERM under load", "exit 0 within 15 s; nothing missing, no duplicates", run)
