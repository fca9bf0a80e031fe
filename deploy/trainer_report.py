"""What the trainer's command tells of a round."""

import msgspec

from deploy.cli.options import Output
from deploy.progress import show_seconds
from deploy.rounds import complain
from streams.training_report import Published


def report(output: Output, published: Published, alias: str) -> None:
    """Tell of a snapshot that was made, announced or not."""
    metrics = published.metrics
    made = "refreshed with" if published.kind.value == "refresh" else "from"
    output.say(
        f"snapshot {published.version}: {published.n_items:,} items {made} {published.n_clicks:,} clicks in"
        f" {published.n_sessions:,} sessions, {show_seconds(published.seconds)}"
    )
    output.say(
        f"  Recall@20 {metrics['recall@20']:.3f} (popular items {metrics['popular_recall@20']:.3f}),"
        f" MRR@20 {metrics['mrr@20']:.3f}: of {published.metrics_of}"
    )
    _report_verdict(output, published)
    if published.announced:
        output.say(f"  announced as {alias}")
    elif published.verdict.refused:
        complain(f"{published.version} is refused: {'; '.join(published.verdict.reasons)}")
        output.say(f"  not announced; nextclick snapshots show {published.version} has all figures")
    elif published.replaced_by is not None:
        output.say(
            f"  not announced: {alias} has become {published.replaced_by or 'nothing'} while it was made;"
            f" the next round begins there; nextclick snapshots promote {published.version} announces it"
        )
    else:
        output.say(
            f"  not announced: {alias} is pinned to {published.pinned_to};"
            f" nextclick snapshots promote {published.version} announces it"
        )
    if published.deleted:
        output.say(f"  deleted: {', '.join(published.deleted)}")
    output.result(
        {
            "snapshot": published.version,
            "kind": published.kind.value,
            "location": published.location,
            "alias": alias,
            "announced": published.announced,
            "refused": published.verdict.refused,
            "pinned_to": published.pinned_to,
            "replaced_by": published.replaced_by,
            "clicks": published.n_clicks,
            "sessions": published.n_sessions,
            "items": published.n_items,
            "metrics": metrics,
            "metrics_of": published.metrics_of,
            "index_recall": published.verdict.index_recall,
            "gate": msgspec.to_builtins(published.verdict),
            "deleted": list(published.deleted),
            "seconds": round(published.seconds, 2),
            "stages": {stage.value: round(seconds, 2) for stage, seconds in published.stages.items()},
        }
    )


def _report_verdict(output: Output, published: Published) -> None:
    verdict = published.verdict
    if verdict.serving is not None:
        low, high = verdict.difference["recall@20"][1:]
        output.say(
            f"  beside {verdict.serving}: Recall@20 {verdict.candidate['recall@20']:.3f} and"
            f" {verdict.served['recall@20']:.3f} (difference {low:+.3f} to {high:+.3f}), MRR@20"
            f" {verdict.candidate['mrr@20']:.3f} and {verdict.served['mrr@20']:.3f},"
            f" in {verdict.targets:,} clicks of {verdict.compared_on}"
        )
    if verdict.forced:
        output.warn(f"announced although the gate refuses it: {'; '.join(verdict.reasons)}")
