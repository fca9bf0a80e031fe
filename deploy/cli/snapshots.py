"""``nextclick snapshots``: list, show, promote and roll back snapshots."""

import sys
import time
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from deploy.cli.options import Output, takes_settings
from deploy.settings import Settings
from streams.announcements import Announcement, announce, read_current
from streams.errors import NextclickError
from streams.kafka import BrokerUnreachable
from streams.snapshot import Manifest, SnapshotError, list_snapshots, load_snapshot, snapshot_location
from streams.topics import TopicError, require_topics

app = typer.Typer(no_args_is_help=True, help="List, show, promote and roll back snapshots.")

Version = Annotated[str, typer.Argument(help="The snapshot's version, or its beginning.")]
Pin = Annotated[bool, typer.Option("--pin", help="Trainers shall not replace it.")]


@app.command("list")
@takes_settings("snapshots", "snapshots_topic")
def list_command(settings: Settings, output: Output) -> None:
    """List the snapshots, oldest first, and which one is announced."""
    manifests = list_snapshots(settings.snapshots_location)
    current = _current_if_reachable(settings)
    if output.json:
        output.result(
            {
                "location": settings.snapshots_location,
                "snapshots": [_row(manifest, current) for manifest in manifests],
                "announced": None
                if current is None
                else {a: msgspec.to_builtins(c) for a, c in current.items()},
            }
        )
        return
    if not manifests:
        output.say(f"no snapshots at {settings.snapshots_location}; nextclick trainer --once makes one")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("version", "made (UTC)", "items", "clicks", "Recall@20", "MRR@20", "serves"):
        table.add_column(heading, justify="right" if heading in ("items", "clicks") else "left", no_wrap=True)
    for manifest in manifests:
        row = _row(manifest, current)
        metrics = manifest.provenance.metrics
        table.add_row(
            manifest.version,
            _show_time(manifest.created_ms),
            f"{manifest.n_items:,}",
            f"{manifest.provenance.window.n_clicks:,}",
            *(f"{metrics[name]:.3f}" if name in metrics else "" for name in ("recall@20", "mrr@20")),
            "?" if current is None else ", ".join(row["serves"]),
        )
    _print(table)


@app.command("show")
@takes_settings("snapshots")
def show_command(settings: Settings, output: Output, version: Version) -> None:
    """Show a snapshot's manifest: what it holds, what it was trained on, how good it is."""
    manifest = _find(settings, version)
    if output.json:
        output.result(msgspec.to_builtins(manifest) | {"location": _location(settings, manifest.version)})
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in _facts(settings, manifest):
        table.add_row(name, value)
    _print(table)


@app.command("promote")
@takes_settings("snapshots", "snapshots_topic", "alias")
def promote_command(settings: Settings, output: Output, version: Version, pin: Pin = False) -> None:
    """Announce a snapshot to the workers; the next one that a trainer makes replaces it, unless --pin."""
    manifest = _find(settings, version)
    before = _read(settings).get(settings.alias)
    _announce(settings, output, manifest.version, before, pinned=pin)


@app.command("rollback")
@takes_settings("snapshots", "snapshots_topic", "alias")
def rollback_command(settings: Settings, output: Output) -> None:
    """Announce the previous snapshot, pinned: trainers leave it until another one is promoted.

    Repeated, it goes back one snapshot more.
    """
    before = _read(settings).get(settings.alias)
    if before is None:
        raise NextclickError(f"nothing is announced as {settings.alias}: there is nothing to roll back")
    versions = [manifest.version for manifest in list_snapshots(settings.snapshots_location)]
    older = [version for version in versions if version < before.version]
    target = before.previous if before.previous in versions else (older[-1] if older else None)
    if target is None:
        raise NextclickError(
            f"{before.version} has no previous snapshot at {settings.snapshots_location} to roll back to"
        )
    older_still = [version for version in versions if version < target]
    _announce(settings, output, target, None, pinned=True, previous=older_still[-1] if older_still else None)


def _announce(
    settings: Settings,
    output: Output,
    version: str,
    before: Announcement | None,
    *,
    pinned: bool,
    previous: str | None = None,
) -> None:
    snapshot = load_snapshot(_location(settings, version))  # what workers would refuse is not announced
    announcement = Announcement(
        version, snapshot.location, snapshot.manifest_sha256, previous=previous, pinned=pinned
    ).succeeding(before, announced_ms=int(time.time() * 1000))
    announce(settings.connection(), settings.snapshots_topic, settings.alias, announcement)
    note = ", pinned: trainers leave it until another one is promoted" if pinned else ""
    output.say(f"announced {version} as {settings.alias}{note}")
    output.result({"alias": settings.alias} | msgspec.to_builtins(announcement))


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


def _row(manifest: Manifest, current: dict[str, Announcement] | None) -> dict[str, Any]:
    serves = [
        alias + (" (pinned)" if announced.pinned else "")
        for alias, announced in (current or {}).items()
        if announced.version == manifest.version
    ]
    return {
        "version": manifest.version,
        "created_ms": manifest.created_ms,
        "items": manifest.n_items,
        "clicks": manifest.provenance.window.n_clicks,
        "metrics": manifest.provenance.metrics,
        "serves": serves,
    }


def _facts(settings: Settings, manifest: Manifest) -> list[tuple[str, str]]:
    provenance, window = manifest.provenance, manifest.provenance.window
    facts = [
        ("version", manifest.version),
        ("location", _location(settings, manifest.version)),
        ("made", f"{_show_time(manifest.created_ms)} UTC"),
        ("parent", provenance.parent or "none"),
        ("items", f"{manifest.n_items:,}, {manifest.index_kind} index"),
        ("encoder", ", ".join(f"{name} {value}" for name, value in manifest.encoder.items())),
        ("trained on", f"{window.n_clicks:,} clicks in {window.n_sessions:,} sessions"),
    ]
    facts += (
        [("history", ", ".join(PurePosixPath(name).name for name in window.history))]
        if window.history
        else []
    )
    facts += [
        (f"{window.topic} {part.partition}", f"offsets {part.start:,} to {part.end:,}")
        for part in window.offsets
    ]
    facts += [(name, f"{figure:g}") for name, figure in provenance.metrics.items()]
    facts += [("figures are of", provenance.metrics_of)] if provenance.metrics_of else []
    if provenance.index_recall is not None:
        facts.append(("index finds", f"{provenance.index_recall:.2%} of the exact answer"))
    facts += [
        (name, f"{digest.bytes:,} bytes, {digest.sha256[:12]}…") for name, digest in manifest.files.items()
    ]
    return facts


def _print(table: Table) -> None:
    # Piped, Rich would take 80 columns and cut versions short.
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _show_time(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
