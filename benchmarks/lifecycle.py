"""What becomes of bad snapshots while a shop lives: at the gate, and forced on a tenth of the sessions.

The lifecycle demo goes through once for every kind of sabotage: clicks flow, the shop changes, a trainer
refreshes; then a snapshot with shuffled weights, or trained on noise, or with the index of another version is
put to the gate, and where it can be is announced as canary by force. All is counted by the demo's front end,
which knows nothing of the worker.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks.report import Report, command, parser, print_table, say
from deploy.demo.changing_shop import changing_shop
from deploy.demo.lifecycle import Lifecycle
from deploy.demo.lifecycle_figures import SabotageKind
from deploy.demo.lifecycle_outcome import ROLLED_BACK_WITHIN_S, LifecycleOutcome
from deploy.demo.lifecycle_scene import LIFECYCLE, LifecycleScene
from deploy.demo.stage import demo_folder
from deploy.demo.view import PlainView
from deploy.settings import Settings
from streams.canary import is_on_canary_side

N_IDS: Final = 1_000_000
SHARE: Final = 0.1
LEAST_ERRORS: Final = -3.0


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--kinds", nargs="+", type=SabotageKind, default=list(SabotageKind))
    flags.add_argument("--seconds", type=float, default=120, help="of clicks, at least")
    flags.add_argument("--rate", type=float, default=150, help="clicks a second")
    asked = flags.parse_args()
    conditions = {"seconds": asked.seconds, "rate": asked.rate, "canary_share": SHARE}
    report = Report("lifecycle", conditions, asked.results, asked.note)
    settings = Settings(home=asked.work.absolute(), canary_share=SHARE)
    runs: dict[str, dict[str, Any]] = {}
    for kind in asked.kinds:
        say(f"a shop that lives; sabotage: {kind}")
        began = time.monotonic()
        with demo_folder(settings.home) as folder:
            plan = changing_shop(folder, asked.seconds, asked.rate)
            view: PlainView[LifecycleScene] = PlainView(sys.stderr, LIFECYCLE)
            outcome, _ = Lifecycle(settings, plan, folder, view, kind).run()
        runs[kind.value] = outcome.as_json(time.monotonic() - began) | _errors(outcome)
    report.body = {"figures": [{"sabotage": kind} | found for kind, found in runs.items()]}
    print_table([line_of(kind, found) for kind, found in runs.items()])
    for what, wanted, measured, held in marks_of(list(runs.values()), canary_share_of_ids()):
        report.mark(what, wanted, measured, held)
    report.write()


def _errors(outcome: LifecycleOutcome) -> dict[str, float]:
    return {} if outcome.canary is None else {"others_errors": round(outcome.canary.others_errors, 2)}


def canary_share_of_ids(n_ids: int = N_IDS) -> float:
    """Which share of so many session ids is on the side of a canary of a tenth."""
    return sum(is_on_canary_side(f"session-{number}", SHARE) for number in range(n_ids)) / n_ids


def line_of(kind: str, found: dict[str, Any]) -> dict[str, Any]:
    """A run in one line."""
    canary = found["canary"] or {}
    return {
        "sabotage": kind,
        "clicks": found["clicks"],
        "missing": found["missing"],
        "refused": "yes" if found["sabotage"]["refused"] else "NO",
        "rolled back after s": canary.get("seconds_to_rollback"),
        "its sessions": canary.get("sessions"),
        "its hit rate": canary.get("hit_rate", {}).get("rate"),
        "strays": canary.get("strays"),
        "others, meanwhile - before, errors": found.get("others_errors"),
        "refreshed": found["gain_of_known"]["refreshed"],
        "never": found["gain_of_known"]["never_refreshed"],
    }


def marks_of(runs: Sequence[dict[str, Any]], share_of_ids: float) -> Iterator[tuple[str, str, float, bool]]:
    """What was set out for beside what was seen, the worst of the runs."""
    n_refused = sum(found["sabotage"]["refused"] for found in runs)
    yield "kinds of bad snapshots that the gate refused", f">= {len(runs)}", n_refused, n_refused == len(runs)
    missing = sum(found["missing"] for found in runs)
    yield "clicks without an answer meanwhile", "<= 0", missing, missing == 0
    forced = [found for found in runs if found["canary"] is not None]
    if forced:
        slowest_s = max(found["canary"]["seconds_to_rollback"] for found in forced)
        in_time = slowest_s <= ROLLED_BACK_WITHIN_S and all(one["sabotage"]["rolled_back"] for one in forced)
        yield "a forced canary until rolled back, s", f"<= {ROLLED_BACK_WITHIN_S:.0f}", slowest_s, in_time
        strays = sum(found["canary"]["strays"] for found in forced)
        yield "answers from the other side than their session's", "<= 0", strays, strays == 0
        errors = min(found["others_errors"] for found in forced)
        what = "hit rate of production's sessions meanwhile less before, standard errors"
        yield what, f">= {LEAST_ERRORS:g}", errors, errors >= LEAST_ERRORS
    what = "session ids on the side of a canary of a tenth, share of a million"
    yield what, ".09 to .11", share_of_ids, 0.09 <= share_of_ids <= 0.11
    gains = [found["gain_of_known"] for found in runs]
    least = min(gain["refreshed"] - gain["never_refreshed"] for gain in gains)
    yield "hit rate@20 when refreshed less when never", "> 0", least, least > 0


if __name__ == "__main__":
    command(main)
