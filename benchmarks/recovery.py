"""How fast a worker that has lost its database reads its sessions again, and how soon it serves otherwise.

The changelog holds one record for each open session. A worker is started without a folder (everything is
read from the changelog), again after a clean stop, and again after kill -9 (both on the folder it has). What
a worker takes that has no sessions at all is its own start-up, measured beside it and deducted from the
first.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import Report, Say, command, parser, print_table, say
from benchmarks.running import RunningWorker
from benchmarks.served import serve
from benchmarks.sessions import OpenSessions, disk_mb, fill_changelog, require_stored
from benchmarks.site import Run, Site, open_site
from benchmarks.vectors import trained_model
from streams.topics import TopicNames

PER_S, READY_S = 10_000, 10.0
WHOLE = 1_000_000
"""Sessions that the marks are set for."""
WORKER = "w1"
EMPTY, LOST, STOPPED, KILLED = "no sessions", "folder lost", "after a clean stop", "after kill -9"


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--sessions", type=int, default=WHOLE)
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--items", type=int, default=20_000)
    flags.add_argument("--longest", type=float, default=900, help="seconds that a start may take")
    asked = flags.parse_args()
    conditions = {"sessions": asked.sessions, "rounds": asked.rounds, "items": asked.items, "workers": 1}
    report = Report("recovery", conditions, asked.results, asked.note)
    trained = trained_model(asked.work, asked.data, Say())
    served = serve(asked.work, trained, asked.items)
    catalogue, snapshot = served.catalogue, served.snapshot
    report.conditions |= {"log": trained.source, "units": catalogue.encoder.config.n_units}
    sessions = OpenSessions(trained, catalogue, snapshot.version, asked.sessions)
    with open_site(asked.work) as site:
        report.conditions["partitions"] = site.n_partitions
        site.create(TopicNames(clicks=site.clicks_topic, snapshots=site.snapshots_topic))
        site.announce(snapshot)
        with site.run("empty") as empty, site.run("recovery") as filled:
            report.body = fill_changelog(filled, sessions, Say()).as_dict()
            report.body["changelog_mb"] = round(site.topic_mb(filled.topics.sessions_changelog), 1)
            say(f"changelog of {report.body['changelog_mb']:,} MB; waiting for the brokers to be at rest")
            site.wait_quiet()
            with _start(empty, empty.folder / "home-first") as worker:  # the first one reads cold files
                worker.wait_ready(asked.longest)
            runs = []
            for number in range(1, asked.rounds + 1):
                home = filled.folder / f"home-{number}"
                for found in _round(empty, filled, home, asked.sessions, asked.longest):
                    say(f"round {number}: {found['start']}: ready in {found['ready_s']} s")
                    runs.append({"round": number} | found)
                shutil.rmtree(home)
    report.body |= {"runs": runs} | summary(runs, asked.sessions)
    print_table(report.body["figures"])
    rates = report.body["sessions_per_s"], report.body["sessions_per_s_with_start_up"]
    print(f"\nrecovery of a lost folder: {rates[0]:,} sessions/s, {rates[1]:,} with the start-up")
    _marks(report, asked.sessions)
    report.write()


def _round(
    empty: Run, filled: Run, home: Path, n_sessions: int, longest_s: float
) -> Iterator[dict[str, Any]]:
    """Every kind of start once."""
    with _start(empty, home.parent / f"{home.name}-empty") as worker:
        yield _ready(empty.site, worker, EMPTY, longest_s)
        worker.stop_cleanly()
    with _start(filled, home) as worker:
        yield _ready(filled.site, worker, LOST, longest_s) | disk_mb(home)
        worker.stop_cleanly()
    require_stored(home, WORKER, n_sessions)
    with _start(filled, home) as worker:
        yield _ready(filled.site, worker, STOPPED, longest_s)
        worker.kill()
    with _start(filled, home) as worker:
        yield _ready(filled.site, worker, KILLED, longest_s)
        worker.stop_cleanly()
    require_stored(home, WORKER, n_sessions)


def _start(run: Run, home: Path) -> RunningWorker:
    return run.start_worker(WORKER, home=home)


def _ready(site: Site, worker: RunningWorker, start: str, longest_s: float) -> dict[str, Any]:
    broker_cpu_s = site.broker_cpu_s()
    found = {"start": start, "ready_s": round(worker.wait_ready(longest_s), 2)}
    found |= {"worker_cpu_s": round(worker.cpu_s(), 2), "peak_rss_mb": worker.peak_rss_mb()}
    if broker_cpu_s is not None:
        found["broker_cpu_s"] = round((site.broker_cpu_s() or 0.0) - broker_cpu_s, 2)
    return found


def summary(runs: list[dict[str, Any]], n_sessions: int) -> dict[str, Any]:
    """Medians by kind of start, and the rate of the recovery itself."""
    figures = []
    for start in (EMPTY, LOST, STOPPED, KILLED):
        own = [run for run in runs if run["start"] == start]
        keys = ("ready_s", "worker_cpu_s", "broker_cpu_s", "peak_rss_mb")
        middle = {key: round(median(run[key] for run in own), 2) for key in keys if own[0].get(key)}
        figures.append({"start": start} | middle)
    by_start = {line["start"]: line["ready_s"] for line in figures}
    # Starts differ by some tenths of a second: a difference below that is none.
    recovery_s = max(by_start[LOST] - by_start[EMPTY], 0.5)
    return {
        "figures": figures,
        "recovery_s": round(recovery_s, 2),
        "sessions_per_s": round(n_sessions / recovery_s),
        "sessions_per_s_with_start_up": round(n_sessions / by_start[LOST]),
    }


def _marks(report: Report, n_sessions: int) -> None:
    by_start = {line["start"]: line["ready_s"] for line in report.body["figures"]}
    counts = n_sessions >= WHOLE
    rate = report.body["sessions_per_s"]
    report.mark(
        "recovery of a lost folder, sessions/s", f">= {PER_S:,}", rate, rate >= PER_S if counts else None
    )
    for start in (STOPPED, KILLED):
        found = by_start[start]
        held = found <= READY_S if counts else None
        report.mark(f"ready {start}, {n_sessions:,} sessions, s", f"<= {READY_S:.0f}", found, held)


if __name__ == "__main__":
    command(main)
