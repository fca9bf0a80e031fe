"""``nextclick snapshots``: what there is, what serves, how well; promote, roll back, prune."""

import sys
import time
from contextlib import suppress
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from deploy.cli.adopting import adopt_command
from deploy.cli.intervals import parse_interval
from deploy.cli.options import Output, takes_settings
from deploy.settings import Settings
from deploy.snapshot_views import (
    comparison_result,
    comparison_table,
    facts_of,
    list_table,
    print_table,
    row_of,
)
from streams.announcements import CANARY, PRODUCTION, Announcement, announce, read_current
from streams.canary_rule import Rule
from streams.errors import NextclickError
from streams.kafka import BrokerUnreachable
from streams.keeper import KeeperRules, judge_all, rollback_target
from streams.live_figures import LiveFigures
from streams.retention import delete_pruned, last_good_versions, to_prune, versions_in_use
from streams.snapshot import Manifest, SnapshotError, list_snapshots, load_snapshot, snapshot_location
from streams.snapshot_store import list_with_damaged
from streams.topics import TopicError, require_topics

SERVED_WITHIN_MS = 10 * 60_000

app = typer.Typer(no_args_is_help=True, help="What there is, what serves and how well; promote, roll back.")

Version = Annotated[str, typer.Argument(help="The snapshot's version, or its beginning.")]
Pin = Annotated[bool, typer.Option("--pin", help="Trainers and live quality shall not replace it.")]
As = Annotated[
    str | None, typer.Option("--as", help="The alias to announce it as: production, canary. [default: alias]")
]


@app.command("list")
@takes_settings("snapshots", "snapshots_topic")
def list_command(settings: Settings, output: Output) -> None:
    """List the snapshots, oldest first: age, training window, figures, where each serves or why not.

    What cannot be read is told on stderr.
    """
    location = settings.snapshots_location
    manifests, damaged = list_with_damaged(location)
    for folder, problem in damaged.items():
        output.warn(f"snapshot {_location(settings, folder)} is passed over: {problem}")
    current = _current_if_reachable(settings)
    rows = [row_of(manifest, current, _now_ms()) for manifest in manifests]
    if output.json:
        announced = None if current is None else {a: msgspec.to_builtins(c) for a, c in current.items()}
        output.result({"location": location, "snapshots": rows, "damaged": damaged, "announced": announced})
    elif rows:
        print_table(list_table(rows))
    else:
        output.say(f"no snapshots at {location}; nextclick trainer --once makes one")


@app.command("show")
@takes_settings("snapshots", "snapshots_topic")
def show_command(settings: Settings, output: Output, version: Version) -> None:
    """Show a snapshot's manifest: what it holds, what it was trained on, how good it is."""
    manifest = _find(settings, version)
    location = _location(settings, manifest.version)
    current = _current_if_reachable(settings)
    if output.json:
        serves = row_of(manifest, current, _now_ms())["serves"]
        output.result(msgspec.to_builtins(manifest) | {"location": location, "serves": serves})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts_of(manifest, location, current):
        table.add_row(name, value)
    print_table(table)


@app.command("diff")
@takes_settings("snapshots")
def diff_command(settings: Settings, output: Output, before: Version, after: Version) -> None:
    """Compare two snapshots: settings, window, items gained and lost, figures, what they answer."""
    from deploy.snapshot_diff import difference_of, difference_table

    versions = [_find(settings, version).version for version in (before, after)]
    difference = difference_of(*(load_snapshot(_location(settings, version)) for version in versions))
    if output.json:
        output.result(difference)
    else:
        print_table(difference_table(difference))


app.command("adopt")(adopt_command)


@app.command("promote")
@takes_settings("snapshots", "snapshots_topic", "alias")
def promote_command(
    settings: Settings,
    output: Output,
    version: Version,
    as_alias: As = None,
    pin: Pin = False,
    force: Annotated[
        bool, typer.Option("--force", help="Announce it although the trainer's gate refused it.")
    ] = False,
) -> None:
    """Announce a snapshot to the workers; the next one that a trainer makes replaces it, unless --pin.

    What serves as canary is given back when it is promoted to production.
    """
    manifest, alias = _find(settings, version), as_alias or settings.alias
    if manifest.refused and not force:
        gate = manifest.provenance.gate
        reasons = "; ".join(gate.reasons) if gate is not None else ""
        raise SnapshotError(f"{manifest.version} was refused by the gate: {reasons}; --force announces it")
    current = _read(settings)
    _announce(settings, output, alias, manifest.version, current.get(alias), pinned=pin)
    canary = current.get(CANARY)
    if alias == PRODUCTION and canary is not None and canary.version == manifest.version:
        _give_back(settings, output, canary, f"{canary.version} is promoted")


@app.command("rollback")
@takes_settings("snapshots", "snapshots_topic", "alias")
def rollback_command(settings: Settings, output: Output, as_alias: As = None) -> None:
    """Announce the previous snapshot, pinned: it stays until another one is promoted.

    Repeated, it goes back one snapshot more. With --as canary the canary's sessions are given back.
    """
    alias = as_alias or settings.alias
    before = _read(settings).get(alias)
    if before is None:
        raise NextclickError(f"nothing is announced as {alias}: there is nothing to roll back")
    if alias == CANARY:
        _give_back(settings, output, before, "rolled back by hand")
        output.result({"alias": alias, "given_back": before.version})
        return
    target = rollback_target(before, list_snapshots(settings.snapshots_location))
    if target is None:
        raise NextclickError(
            f"{before.version} has no previous snapshot at {settings.snapshots_location} to roll back to"
        )
    _announce(settings, output, alias, target.version, None, pinned=True, previous=target.previous)


@app.command("canary")
@takes_settings("snapshots_topic", "quality_topic", "canary_clicks")
def canary_command(settings: Settings, output: Output) -> None:
    """Show how the canary does beside production, and a new production beside the one before it."""
    topics, connection, now_ms = settings.topics(), settings.connection(), _now_ms()
    states = require_topics(connection, topics.snapshots, topics.quality)
    rules = KeeperRules(canary=Rule(enough_clicks=settings.canary_clicks))
    with LiveFigures(connection, topics, states[topics.quality].n_partitions, now_ms=now_ms) as figures:
        comparisons = figures.read(now_ms)
    judgements = judge_all(comparisons, rules)
    results = {alias: comparison_result(comparisons[alias], judgements[alias]) for alias in comparisons}
    output.result({"canary": results.get(CANARY), "production": results.get(PRODUCTION)})
    if output.json:
        return
    if CANARY not in figures.announced:
        why = figures.reasons.get(CANARY)
        output.say("no canary is announced" + (f"; the last one: {why}" if why else ""))
    elif CANARY not in results:
        output.say("the canary is what production serves, or there is no production: nothing to compare")
    for alias, names in ((CANARY, ("canary", "production")), (PRODUCTION, ("production", "before it"))):
        if alias in results:
            print_table(comparison_table(results[alias], names))


@app.command("prune")
@takes_settings("snapshots", "snapshots_topic", "quality_topic")
def prune_command(
    settings: Settings,
    output: Output,
    keep: Annotated[int | None, typer.Option(help="Keep so many of the newest.", min=0)] = None,
    older_than: Annotated[str | None, typer.Option(help="Only older ones: 12h, 7d.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and keep it.")] = False,
) -> None:
    """Delete snapshots, never one in use: announced, previous, served lately, a local worker's last good."""
    if keep is None and older_than is None:
        raise typer.BadParameter("give --keep or --older-than, or both")
    before_ms = None if older_than is None else _now_ms() - int(parse_interval(older_than) * 1000)
    location = settings.snapshots_location
    in_use = versions_in_use(_read(settings)) | last_good_versions(settings.home) | _served_lately(settings)
    versions = to_prune(list_snapshots(location), keep=keep, before_ms=before_ms, in_use=in_use)
    if not dry_run:
        delete_pruned(location, versions)
    verb = "would be deleted" if dry_run else "deleted"
    output.say(f"{verb}: {', '.join(versions)}" if versions else "nothing to delete")
    output.result({"deleted": [] if dry_run else versions, "would_delete": versions if dry_run else []})


def _announce(
    settings: Settings,
    output: Output,
    alias: str,
    version: str,
    before: Announcement | None,
    *,
    pinned: bool,
    previous: str | None = None,
) -> None:
    snapshot = load_snapshot(_location(settings, version))  # what workers would refuse is not announced
    announcement = Announcement(
        version, snapshot.location, snapshot.manifest_sha256, previous=previous, pinned=pinned
    ).succeeding(before, announced_ms=_now_ms())
    announce(settings.connection(), settings.snapshots_topic, alias, announcement, reason="by hand")
    note = ", pinned: it stays until another one is promoted" if pinned else ""
    output.say(f"announced {version} as {alias}{note}")
    output.result({"alias": alias} | msgspec.to_builtins(announcement))


def _give_back(settings: Settings, output: Output, canary: Announcement, reason: str) -> None:
    announce(settings.connection(), settings.snapshots_topic, CANARY, None, reason=reason)
    output.say(f"the canary {canary.version} gives its sessions back")


def _read(settings: Settings) -> dict[str, Announcement]:
    connection = settings.connection()
    require_topics(connection, settings.snapshots_topic)
    return read_current(connection, settings.snapshots_topic)


def _current_if_reachable(settings: Settings) -> dict[str, Announcement] | None:
    try:
        return _read(settings)
    except (BrokerUnreachable, TopicError) as error:
        print(f"what is announced is not known: {error}", file=sys.stderr)
        return None


def _served_lately(settings: Settings) -> frozenset[str]:
    """Versions that workers, wherever they are, told the quality of in the last minutes."""
    topics, connection, now_ms = settings.topics(), settings.connection(), _now_ms()
    with suppress(TopicError):
        states = require_topics(connection, topics.snapshots, topics.quality)
        n_partitions = states[topics.quality].n_partitions
        with LiveFigures(connection, topics, n_partitions, now_ms=now_ms) as figures:
            return figures.served_since(now_ms - SERVED_WITHIN_MS)
    return frozenset()


def _find(settings: Settings, version: str) -> Manifest:
    manifests = list_snapshots(settings.snapshots_location)
    found = [manifest for manifest in manifests if manifest.version.startswith(version)]
    exact = [manifest for manifest in found if manifest.version == version]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        raise SnapshotError(f"{version} is the beginning of {len(found)} snapshots; give more of it")
    known = f"the newest is {manifests[-1].version}" if manifests else "there are none"
    raise SnapshotError(f"there is no snapshot {version} at {settings.snapshots_location}; {known}")


def _location(settings: Settings, version: str) -> str:
    return snapshot_location(settings.snapshots_location, version)


def _now_ms() -> int:
    return int(time.time() * 1000)
