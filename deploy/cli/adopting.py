"""``nextclick snapshots adopt``: take in a snapshot that was made elsewhere."""

from typing import Annotated

import msgspec
import typer

from deploy.cli.options import Output, takes_settings
from deploy.considerate import give_way
from deploy.settings import Settings
from deploy.training_settings import gate_bounds
from index.approximate import set_threads as set_index_threads
from model.threads import set_threads as set_model_threads
from streams.adoption import adopt
from streams.manifest import SnapshotError
from streams.training_plan import DAY_MS, TrainerPlan


@takes_settings(
    "snapshots",
    "snapshots_topic",
    "clicks_topic",
    "alias",
    "session_gap_minutes",
    "window_days",
    "gate_max_loss",
    "gate_index_recall",
    "gate_megabytes",
    "gate_latency_ms",
)
def adopt_command(
    settings: Settings,
    output: Output,
    folder: Annotated[str, typer.Argument(help="The snapshot's folder, or its URL.")],
) -> None:
    """Take in a snapshot made elsewhere: the gate judges it; nothing is announced.

    Exit code 1 says that it is refused; it is kept all the same, with the reasons.
    """
    give_way()  # workers may share the host
    set_index_threads(1)
    set_model_threads(1)
    plan = TrainerPlan(
        connection=settings.connection(),
        topics=settings.topics(),
        location=settings.snapshots_location,
        alias=settings.alias,
        window_ms=int(settings.window_days * DAY_MS),
        gap_ms=int(settings.session_gap_minutes * 60_000),
        bounds=gate_bounds(settings),
    )
    snapshot = adopt(plan, folder)
    verdict = snapshot.manifest.provenance.gate
    assert verdict is not None
    output.say(f"{snapshot.version} is kept at {snapshot.location}; it was {folder}")
    if verdict.serving is not None:
        output.say(
            f"  beside {verdict.serving}: Recall@20 {verdict.candidate['recall@20']:.3f} and"
            f" {verdict.served['recall@20']:.3f}, MRR@20 {verdict.candidate['mrr@20']:.3f} and"
            f" {verdict.served['mrr@20']:.3f}, in {verdict.targets:,} clicks of {verdict.compared_on}"
        )
    output.result(
        {
            "snapshot": snapshot.version,
            "location": snapshot.location,
            "refused": verdict.refused,
            "gate": msgspec.to_builtins(verdict),
        }
    )
    if verdict.refused:
        raise SnapshotError(f"{snapshot.version} is refused: {'; '.join(verdict.reasons)}")
    output.say(f"  the gate accepts it: nextclick snapshots promote {snapshot.version} announces it")
