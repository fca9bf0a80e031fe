"""Swaps under load: how long clicks wait because a snapshot is loaded, swapped in, and sessions are rebuilt.

Clicks come at a fixed rate and wait for nobody. At fixed moments another snapshot is announced, of two in
turn that have the same items and different weights, so that every session is stale after each swap. A click
that is due from the announcement until ``REBUILDING_S`` after the new snapshot serves belongs to that swap:
in this time the worker loads and checks it, swaps, frees the one before, and rebuilds sessions.

The delay of a batch is the longest that a click of it waited, less the median wait of clicks before the first
swap. Waits are from the moment a click was due to the moment a front end has the answer, so pauses of Kafka
and of the machine count as well; the longest delay of the calm time before stands beside.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.backlog import make_backlog
from benchmarks.exchange import WARM_UP_S, exchange, waited_ms
from benchmarks.machine import load
from benchmarks.meter import watch
from benchmarks.report import Report, Say, command, parser, print_table, say
from benchmarks.running import BenchmarkError, RunningWorker
from benchmarks.site import Run, Site, open_site
from benchmarks.snapshots import make_snapshot
from benchmarks.vectors import SEED, Catalogue, Trained, catalogue_of, trained_model
from streams.announcements import Announcement, announce
from streams.topics import TopicNames

REBUILDING_S = 2.0
CALM_S = 30.0
LAST_S = 5.0
SERVE_WITHIN_S = 60.0
WEIGHTS_NOISE = 0.02
MARKS_MS = {20_000: 50.0, 1_000_000: 200.0}
MEMORY_MARK = 1.10


@dataclass
class Swaps:
    """When each was announced and when the worker said that it serves; seconds of the monotonic clock."""

    announced_s: list[float] = field(default_factory=list)
    served_s: list[float] = field(default_factory=list)


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--items", type=int, nargs="+", default=[20_000, 1_000_000])
    flags.add_argument("--swaps", type=int, default=100, help="at each size of catalogue")
    flags.add_argument("--rate", type=float, default=1_000, help="clicks a second")
    flags.add_argument("--every", type=float, help="seconds between swaps; else 3, of a million items 8")
    flags.add_argument("--preload", type=int, default=120_000, help="clicks answered before")
    asked = flags.parse_args()
    conditions = {
        "swaps": asked.swaps,
        "rate": asked.rate,
        "preloaded_clicks": asked.preload,
        "calm_s": CALM_S,
        "rebuilding_s": REBUILDING_S,
    }
    report = Report("swap", conditions | {"workers": 1}, asked.results, asked.note)
    trained = trained_model(asked.work, asked.data, Say())
    report.conditions |= {"log": trained.source, "units": trained.encoder.config.n_units}
    lines = []
    for n_items in asked.items:
        every_s = asked.every or (3.0 if n_items < 500_000 else 8.0)
        line = _measure(asked.work, trained, n_items, asked.swaps, every_s, asked.rate, asked.preload)
        say("  ".join(f"{key} {value}" for key, value in line.items()))
        lines.append(line)
    report.body = {"figures": lines}
    hidden = ("delays_ms", "load_average", "open_files_before", "open_files_after", "rebuilt")
    print_table([{key: value for key, value in line.items() if key not in hidden} for line in lines])
    _marks(report, lines)
    report.write()


def _measure(
    work: Path, trained: Trained, n_items: int, n_swaps: int, every_s: float, rate: float, n_preloaded: int
) -> dict[str, Any]:
    catalogue = catalogue_of(trained, n_items)
    pair = []
    for version in (catalogue, _retrained(catalogue)):
        snapshot = make_snapshot(work, trained, version, say)
        pair.append(Announcement(snapshot.version, snapshot.location, snapshot.manifest_sha256))
        kind = snapshot.manifest.index_kind
        del snapshot  # of a million items it is 1 GB
    n_clicks = round(rate * (WARM_UP_S + CALM_S + n_swaps * every_s + LAST_S))
    backlog = make_backlog(trained, catalogue, n_preloaded + n_clicks)
    with open_site(work) as site:
        site.create(TopicNames(clicks=site.clicks_topic, snapshots=site.snapshots_topic))
        _announce(site, pair[0])
        with site.run("swap") as run, run.start_worker() as worker:
            say(f"{n_items:,} items: {n_preloaded:,} clicks to be answered before")
            backlog.part(0, n_preloaded).produce(site.connection, site.clicks_topic)
            watch(site, run.topics.recommendations, [worker], n_preloaded, 600)
            found = _swap_under_load(
                run,
                worker,
                pair,
                n_swaps,
                every_s,
                lambda meanwhile: exchange(
                    run, worker, backlog.part(n_preloaded, len(backlog)), rate, meanwhile
                ),
            )
    named = {"items": n_items, "index": kind, "swaps": n_swaps, "every_s": every_s}
    return named | found | {"load_average": load()["load_average"]}


def _swap_under_load(
    run: Run,
    worker: RunningWorker,
    pair: Sequence[Announcement],
    n_swaps: int,
    every_s: float,
    exchange_clicks: Callable[[Callable[[], None]], Any],
) -> dict[str, Any]:
    swaps, state = Swaps(), {}

    def meanwhile() -> None:
        time.sleep(WARM_UP_S + CALM_S)
        state["before"] = _state(worker)
        begin_s = time.monotonic()
        for number in range(n_swaps):
            time.sleep(max(begin_s + number * every_s - time.monotonic(), 0.0))
            swaps.announced_s.append(time.monotonic())
            _announce(run.site, pair[(number + 1) % 2])
            swaps.served_s.append(_wait_served(worker, number + 1))

    clicks = exchange_clicks(meanwhile)
    time.sleep(LAST_S)
    before, after = state["before"], _state(worker)
    waits = waited_ms(clicks.sent, clicks.answers)
    return summary(clicks.sent["due"], waits, swaps) | {
        "rss_mb_before": round(before["rss_mb"]),
        "rss_mb_after": round(after["rss_mb"]),
        "rss_after/before": round(after["rss_mb"] / before["rss_mb"], 3),
        "open_files_before": before["open_files"],
        "open_files_after": after["open_files"],
        "rebuilt": round(after["rebuilt"] - before["rebuilt"]),
        "refused": round(after["refused"] - before["refused"]),
    }


def _retrained(catalogue: Catalogue) -> Catalogue:
    """The same items, all weights moved a little: what another run of the trainer might have come to."""
    generator = torch.Generator().manual_seed(SEED)
    encoder = catalogue.encoder.with_rows(np.arange(catalogue.encoder.n_items)).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            if weight.dim() == 2:
                scale = WEIGHTS_NOISE * float(weight.std())
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=scale)
    return Catalogue(encoder, catalogue.vocabulary, catalogue.sources)


def _announce(site: Site, announcement: Announcement) -> None:
    announce(site.connection, site.snapshots_topic, "production", announcement)


def _wait_served(worker: RunningWorker, n_wanted: int) -> float:
    """Wait until the log tells of the swap; asking for the metrics would take the worker's time."""
    deadline = time.monotonic() + SERVE_WITHIN_S
    while worker.text().count(", before it ") < n_wanted:
        worker.check()
        if time.monotonic() > deadline:
            raise worker.failed(f"did not serve swap {n_wanted} within {SERVE_WITHIN_S:.0f} s")
        time.sleep(0.02)
    return time.monotonic()


def _state(worker: RunningWorker) -> dict[str, float]:
    metrics = worker.metrics()
    return {
        "rss_mb": worker.rss_mb(),
        "open_files": worker.n_open_files(),
        "rebuilt": metrics["nextclick_sessions_rebuilt_total"],
        "refused": metrics["nextclick_snapshots_refused_total"],
    }


def summary(due_s: NDArray[np.float64], waited: NDArray[np.float64], swaps: Swaps) -> dict[str, Any]:
    """Delays by swap, and the waits within and without; milliseconds. Clicks of the warm-up are left out."""
    counted = due_s >= due_s[0] + WARM_UP_S
    calm = counted & (due_s < swaps.announced_s[0])
    within = np.zeros(len(due_s), dtype=np.bool_)
    delays = []
    usual = float(np.median(waited[calm]))
    for announced_s, served_s in zip(swaps.announced_s, swaps.served_s, strict=True):
        # A click that is due just before the announcement may still be on its way.
        own = counted & (due_s >= announced_s) & (due_s <= served_s + REBUILDING_S)
        if not own.any():
            raise BenchmarkError("no click was due during a swap: the clicks ended before the swaps did")
        delays.append(float(waited[own].max()) - usual)
        within |= own
    loading = np.array(swaps.served_s) - np.array(swaps.announced_s)
    return {
        "calm_p50": round(usual, 2),
        "calm_p99": round(float(np.quantile(waited[calm], 0.99)), 2),
        "calm_delay": round(float(waited[calm].max()) - usual, 2),
        "swap_p99": round(float(np.quantile(waited[within], 0.99)), 2),
        "swap_delay_p50": round(float(np.median(delays)), 2),
        "swap_delay_max": round(max(delays), 2),
        "load_s": round(float(np.median(loading)), 2),
        "delays_ms": [round(delay, 1) for delay in delays],
    }


def _marks(report: Report, lines: Sequence[dict[str, Any]]) -> None:
    for line in lines:
        most = MARKS_MS[20_000] if line["items"] <= 100_000 else MARKS_MS[1_000_000]
        named = f"{line['swaps']} swaps, {line['items']:,} items"
        report.mark(
            f"{named}: longest delay of a batch, ms",
            f"<= {most:g}",
            line["swap_delay_max"],
            line["swap_delay_max"] <= most,
        )
        growth = line["rss_after/before"]
        report.mark(f"{named}: memory after ÷ before", f"< {MEMORY_MARK}", growth, growth < MEMORY_MARK)


if __name__ == "__main__":
    command(main)
