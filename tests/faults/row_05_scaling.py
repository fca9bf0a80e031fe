"""Row 5: workers come and go under load, one of them without a word."""

from itertools import cycle, islice

from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, AwaitReady, EndLoad, Kill, Load, Start, Stop, Wait
from tests.faults.stage import Action, Stage

RATE = 500.0


def changes(n: int) -> list[list[Action]]:
    """One to three workers at any time; one change in six is a death."""
    around: list[list[Action]] = [
        [Start("w3")],
        [Stop("w1")],
        [Kill("w2")],
        [Start("w1")],
        [Start("w2")],
        [Stop("w3")],
    ]
    return list(islice(cycle(around), n))


def run(stage: Stage, size: Size) -> Findings:
    """Change the group every so many seconds."""
    n_changes, every_s = size.choose(full=(12, 20.0), short=(6, 10.0), quick=(3, 2.0))
    stage.perform([Start("w1", ready=False), Start("w2"), AwaitReady("w1"), Load(RATE, n_sessions=1000)])
    for change in changes(n_changes):
        stage.perform([Wait(every_s), *change])
    running = [name for name, worker in stage.workers.items() if worker.running]
    stage.perform([Wait(every_s), EndLoad(), AwaitAnswers(), *(Stop(name) for name in running)])
    audit = stage.audit()
    delays_ms = sorted(audit.delays_ms.values())
    return Findings(
        {
            "changes": n_changes,
            "every_s": every_s,
            **audit.figures(),
            "median_delay_ms": delays_ms[len(delays_ms) // 2],
            "longest_delay_ms": delays_ms[-1],
        },
        audit.problems(),
    )


ROW = Row(
    5,
    "workers added and removed under 500 clicks/s, some killed -9",
    "nothing missing; states equal; no partition owned twice",
    run,
    quick=False,  # forty seconds; row 17 and the worker's own tests move partitions, too
)
