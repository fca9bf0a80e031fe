"""``nextclick recommend``: ask a snapshot what follows some items, without Kafka."""

import time
from typing import Annotated

import typer

from deploy.cli.options import Output, takes_settings
from deploy.settings import Settings
from streams.events import Click
from streams.ranking import Ranking
from streams.recommender import Arrival, Recommender, RepeatItems
from streams.snapshot import Snapshot, SnapshotError, list_snapshots, load_snapshot, snapshot_location


@takes_settings("snapshots", "top_k", "repeat_items", "ranking")
def command(
    settings: Settings,
    output: Output,
    items: Annotated[list[str], typer.Argument(help="The session's items, in the order of their clicks.")],
    snapshot: Annotated[
        str | None, typer.Option(help="Version, or its beginning. [default: the newest]")
    ] = None,
    k: Annotated[
        int | None, typer.Option("-k", min=1, max=1_000, help="How many items, instead of top_k.")
    ] = None,
) -> None:
    """Recommend what comes after some items, as a worker would to a session that clicked them."""
    loaded = _load(settings, snapshot)
    unknown = [item for item in dict.fromkeys(items) if loaded.vocabulary.row(item) is None]
    recommender = Recommender(
        loaded,
        top_k=k or settings.top_k,
        repeat_items=RepeatItems(settings.repeat_items),
        ranking=Ranking(settings.ranking),
    )
    now_ms = int(time.time() * 1000)
    arrivals = [
        Arrival(Click(session_id="recommend", item_id=item), partition=0, offset=offset, append_ms=now_ms)
        for offset, item in enumerate(items)
    ]
    answer = recommender.answer(arrivals, {}, created_ms=now_ms).recommendations[-1]
    if unknown:
        output.say(f"unknown to snapshot {loaded.version}: {', '.join(unknown)}")
    if answer.source == "popular":
        output.say("none of the items is known, so these are the most popular ones")
    if not output.json:
        width = max((len(item.item_id) for item in answer.items), default=0)
        for rank, item in enumerate(answer.items, start=1):
            output.say(f"{rank:3}  {item.item_id:{width}}  {item.score:.3f}")
    output.result(
        {
            "snapshot": loaded.version,
            "source": answer.source,
            "unknown": unknown,
            "items": [{"item_id": item.item_id, "score": item.score} for item in answer.items],
        }
    )


def _load(settings: Settings, version: str | None) -> Snapshot:
    location = settings.snapshots_location
    versions = [manifest.version for manifest in list_snapshots(location)]
    if not versions:
        raise SnapshotError(f"there are no snapshots at {location}; nextclick trainer --once makes one")
    found = [known for known in versions if known.startswith(version or "")]
    if not found:
        raise SnapshotError(f"there is no snapshot {version} at {location}; the newest is {versions[-1]}")
    return load_snapshot(snapshot_location(location, found[-1]))
