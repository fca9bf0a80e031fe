"""What the lifecycle demo says at its end."""

from pathlib import Path

from deploy.demo.lifecycle_figures import CanaryFigures
from deploy.demo.lifecycle_outcome import LifecycleOutcome
from deploy.demo.picture import clock
from deploy.demo.summary import program


def summary(outcome: LifecycleOutcome, picture: Path, seconds: float) -> list[str]:
    """The lines of it."""
    answered = (
        "each with its recommendation" if not outcome.missing else f"{outcome.missing:,} without an answer"
    )
    known, whole, bad = outcome.gain_of_known, outcome.gain, outcome.sabotage
    first_s = min(outcome.refreshed_s.values(), default=0.0)
    lines = [
        "",
        f"{outcome.clicks:,} clicks, {answered}; all done in {seconds:.0f} s",
        f"  refreshes    {len(outcome.refreshed_s)} answered, the first from {clock(first_s)} on; since then",
        f"    hit rate@20  {known.refreshed:.3f}, never refreshed {known.never_refreshed:.3f}"
        f" ({known.difference:+.3f} ± {2 * known.standard_error:.3f}), of {known.clicks:,} clicks",
        f"    new items    {whole.refreshed:.3f}, never refreshed {whole.never_refreshed:.3f},"
        f" of {whole.clicks:,} with those on new items",
        f"  sabotage     {bad.version}, {bad.kind.told}: " + ("refused" if bad.refused else "accepted"),
        *(f"    gate         {_cut(reason)}" for reason in bad.reasons[:1]),
    ]
    if outcome.canary is not None:
        lines += _of_canary(outcome.canary, rolled_back=bad.rolled_back)
    new = outcome.new_items
    if new.median_s is not None and new.longest_s is not None:
        lines.append(
            f"  new items    {new.recommended} of {new.came} recommended, {new.median_s:.1f} s after the"
            f" first click, {new.longest_s:.1f} s at most"
        )
    if new.to_others_median_s is not None:
        lines.append(
            f"    to others    {new.to_others} of them, {new.to_others_median_s:.1f} s in the median"
        )
    if outcome.n_restarts:
        lines.append(f"  worker       ended and was started again ({outcome.n_restarts})")
    called = program()
    return [
        *lines,
        f"  curves       {picture}",
        "",
        f"The same by hand, each with {called} before it:",
        "  trainer, snapshots list, show, diff, adopt, promote, canary, rollback",
    ]


def _of_canary(canary: CanaryFigures, *, rolled_back: bool) -> list[str]:
    end = f"rolled back on its own after {canary.seconds_to_rollback:.0f} s"
    meanwhile, before = canary.others_meanwhile, canary.others_before
    others = f"{meanwhile.difference:+.3f} over never refreshed meanwhile, {before.difference:+.3f} before"
    return [
        f"    as canary    forced, {end if rolled_back else 'not rolled back'}",
        f"    its clicks   {canary.hit_rate.rate:.3f} of {canary.hit_rate.clicks:,} foretold,"
        f" {canary.share_of_sessions:.0%} of the sessions",
        f"    the others   {others}",
    ]


def _cut(text: str, width: int = 62) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
