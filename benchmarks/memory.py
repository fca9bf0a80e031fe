"""What open sessions take: bytes of a record, disk of a table, memory and open files of the worker.

A worker reads all sessions from the changelog, then answers clicks of random ones of them as fast as it can
for a minute or more, so that caches and write buffers fill as they do in service. Memory and files are asked
for all the time; the most that was seen counts. With several numbers of sessions the rates stand beside.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.meter import Sample, Stages, steady, watch
from benchmarks.report import Report, Say, command, parser, print_table, say
from benchmarks.running import RunningWorker
from benchmarks.served import serve
from benchmarks.sessions import Filled, OpenSessions, disk_mb, fill_changelog
from benchmarks.site import Run, Site, open_site
from benchmarks.vectors import trained_model
from streams.topics import TopicNames

RECORD_BYTES, DISK_MB, RSS_MB = 1_536, 2_000, 1_500
WHOLE = 1_000_000
"""Sessions that the marks are set for."""
DISK_EVERY_S = 3.0


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--sessions", type=int, nargs="+", default=[100_000, WHOLE])
    flags.add_argument("--clicks", type=int, default=900_000, help="how many wait for the worker")
    flags.add_argument("--seconds", type=float, default=90, help="the longest that it is watched")
    flags.add_argument("--items", type=int, default=20_000)
    flags.add_argument("--longest", type=float, default=900, help="seconds that the recovery may take")
    asked = flags.parse_args()
    conditions = {"clicks": asked.clicks, "longest_s": asked.seconds, "items": asked.items, "workers": 1}
    report = Report("memory", conditions, asked.results, asked.note)
    trained = trained_model(asked.work, asked.data, Say())
    served = serve(asked.work, trained, asked.items)
    catalogue, snapshot = served.catalogue, served.snapshot
    report.conditions |= {"log": trained.source, "units": catalogue.encoder.config.n_units}
    lines: list[dict[str, Any]] = []
    with open_site(asked.work) as site:
        report.conditions["partitions"] = site.n_partitions
        site.create(TopicNames(clicks=site.clicks_topic, snapshots=site.snapshots_topic))
        site.announce(snapshot)
        for n_sessions in asked.sessions:
            sessions = OpenSessions(trained, catalogue, snapshot.version, n_sessions)
            # Offsets of an earlier round's clicks would make these replays.
            with site.run("memory", clicks_topic=f"{site.clicks_topic}-{n_sessions}") as run:
                lines.append(_measure(run, sessions, asked.clicks, asked.seconds, asked.longest))
                site.delete(run.topics.clicks)
    report.body = {"figures": lines}
    _print(lines)
    _marks(report, lines)
    report.write()


@dataclass
class Footprint:
    """The most that a worker took while it was watched."""

    worker: RunningWorker
    home: Path
    rss_mb: float = 0.0
    open_files: int = 0
    disk: list[dict[str, float]] = field(default_factory=list)
    _disk_asked_s: float = 0.0

    def sample(self, sample: Sample) -> None:
        """Ask the system once more."""
        self.rss_mb = max(self.rss_mb, self.worker.rss_mb())
        self.open_files = max(self.open_files, self.worker.n_open_files())
        if sample.at_s - self._disk_asked_s > DISK_EVERY_S:
            self.disk.append(disk_mb(self.home))
            self._disk_asked_s = sample.at_s


def _measure(
    run: Run, sessions: OpenSessions, n_clicks: int, seconds: float, longest_s: float
) -> dict[str, Any]:
    site, home = run.site, run.folder / "home"
    filled = fill_changelog(run, sessions, Say())
    changelog_mb = site.topic_mb(run.topics.sessions_changelog)
    say(f"{n_clicks:,} clicks of {sessions.n_sessions:,} sessions to Kafka")
    sessions.clicks(n_clicks).produce(site.connection, run.topics.clicks)
    site.wait_quiet()
    with run.start_worker(home=home) as worker:
        say("the worker recovers")
        worker.wait_ready(longest_s)
        recovered = {
            "rss_recovered_mb": round(worker.rss_mb()),
            "disk_recovered_mb": disk_mb(home)["disk_mb"],
        }
        say(f"the worker answers; {recovered}")
        found = _serve(site, run, worker, home, n_clicks, seconds)
        worker.stop_cleanly()
    return _line(filled, changelog_mb) | recovered | found | {"disk_stopped_mb": disk_mb(home)["disk_mb"]}


def _serve(
    site: Site, run: Run, worker: RunningWorker, home: Path, n_clicks: int, seconds: float
) -> dict[str, Any]:
    footprint, stages = Footprint(worker, home), Stages(worker, n_clicks)

    def sample(one: Sample) -> None:
        footprint.sample(one)
        stages.sample(one)

    began, clicks_mb = time.monotonic(), site.topic_mb(run.topics.clicks)
    written = site.n_records(run.topics.sessions_changelog)
    samples = watch(site, run.topics.recommendations, [worker], n_clicks, seconds, sample)
    served_s = time.monotonic() - began
    n_answers = site.n_records(run.topics.recommendations)
    answers_mb = site.topic_mb(run.topics.recommendations)
    return {
        "served_s": round(served_s, 1),
        "clicks": samples[-1].answered,
        **steady(samples, bool(site.brokers)).as_dict(),
        **stages.as_dict(),
        "rss_mb": round(footprint.rss_mb),
        "peak_rss_mb": round(worker.peak_rss_mb() or footprint.rss_mb),
        "open_files": footprint.open_files,
        "disk_mb": max(one["disk_mb"] for one in footprint.disk),
        "of_it_log_mb": max(one["of_it_log_mb"] for one in footprint.disk),
        "changelog_served_mb": round(site.topic_mb(run.topics.sessions_changelog), 1),
        "bytes_of_a_click": round(clicks_mb * 1e6 / n_clicks),
        "bytes_of_an_answer": round(answers_mb * 1e6 / n_answers),
        "changelog_records_per_click": round(
            (site.n_records(run.topics.sessions_changelog) - written) / n_answers, 3
        ),
    }


def _line(filled: Filled, changelog_mb: float) -> dict[str, Any]:
    return filled.as_dict() | {"changelog_mb": round(changelog_mb, 1)}


def _print(lines: list[dict[str, Any]]) -> None:
    keys = (
        "sessions", "peak_rss_mb", "rss_recovered_mb", "rss_mb", "open_files", "disk_mb", "of_it_log_mb",
        "changelog_mb", "clicks_per_s", "cpu_us_per_click",
    )  # fmt: skip
    print_table([{key: line[key] for key in keys} for line in lines])
    print()
    print_table(
        [
            {"sessions": line["sessions"], "record, bytes": name[len("record_bytes_") :].replace("_", " ")}
            | line[name]
            for line in lines
            for name in ("record_bytes", "record_bytes_with_event_ids")
        ]
    )


def _marks(report: Report, lines: list[dict[str, Any]]) -> None:
    most = lines[-1]
    largest = most["record_bytes_with_event_ids"]["max"]
    report.mark(
        "session record with event ids, largest, bytes",
        f"<= {RECORD_BYTES}",
        largest,
        largest <= RECORD_BYTES,
    )
    counts = most["sessions"] >= WHOLE
    sessions = f"{most['sessions']:,} sessions"
    for what, key, limit in (
        ("disk of", "disk_mb", DISK_MB),
        ("worker's memory with", "peak_rss_mb", RSS_MB),
    ):
        held = most[key] <= limit if counts else None
        report.mark(f"{what} {sessions}, MB", f"<= {limit}", most[key], held)


if __name__ == "__main__":
    command(main)
