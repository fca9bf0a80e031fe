"""What the demo says at its end: what was shown, and what to try next."""

import shutil
import sys
from pathlib import Path

from deploy.demo.picture import clock
from deploy.demo.plan import Plan
from deploy.demo.scene import Outcome


def summary(outcome: Outcome, plan: Plan, seconds: float) -> list[str]:
    """The lines of it."""
    answered = (
        "each with its recommendation" if not outcome.missing else f"{outcome.missing:,} without an answer"
    )
    lines = ["", f"{outcome.clicks:,} clicks, {answered}; all done in {seconds:.0f} s"]
    if outcome.p50_ms is not None and outcome.p99_ms is not None:
        latency = f"p50 {outcome.p50_ms:.0f} ms, p99 {outcome.p99_ms:.0f} ms"
        lines.append(f"  latency      {latency} from click to recommendation")
    lines.append(
        f"  hit rate@20  {outcome.hit_rate:.3f} of {outcome.n_targets:,} next clicks"
        f" (popular items: {outcome.popular_hit_rate:.3f})"
    )
    if outcome.swapped_s is not None:
        first, last = outcome.snapshots[0], outcome.snapshots[-1]
        lines += [
            f"  hot swap     at {clock(outcome.swapped_s)}, {first} to {last},",
            "               which has learnt from the clicks before the swap as well",
        ]
    if outcome.rejected:
        lines.append(f"  rejected     {outcome.rejected:,} clicks, with the reason, on their own topic")
    if outcome.n_restarts:
        lines.append(f"  worker       ended and was started again ({outcome.n_restarts})")
    if outcome.clicks > len(plan.stream):
        lines.append("  note         shoppers came again until the swap; their hits do not count")
    if plan.note:
        lines.append(f"  note         {plan.note}")
    return [*lines, "", *_next_steps(plan)]


def _next_steps(plan: Plan) -> list[str]:
    called = program()
    where = "" if called == "nextclick" else f" (nextclick is {called})"
    if plan.made_up:
        other = ("the same on real clicks", "nextclick demo --data FOLDER")
    else:
        other = ("accuracy in full", "nextclick evaluate --train FILE --test FILE")
    steps = [
        ("Kafka that stays", "nextclick broker, then nextclick topics create"),
        ("clicks and a model", "nextclick generate, then nextclick trainer --once"),
        ("answers", "nextclick worker, and beside it nextclick watch"),
        other,
    ]
    return [f"Next, each in a terminal of its own{where}:", *(f"  {what:24} {how}" for what, how in steps)]


def program() -> str:
    """The command as it was called: its name where it is on the path, else where it lies."""
    called = Path(sys.argv[0])
    if called.name != "nextclick":
        return "nextclick"
    found = shutil.which("nextclick")
    if found is not None and Path(found).resolve() == called.resolve():
        return "nextclick"
    try:
        return str(called.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(called)
