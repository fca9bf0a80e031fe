"""How long a training cycle takes, from the start of its process to the swap in a worker, and its memory.

A snapshot trained on a shop's first clicks serves. Then a month of clicks lies in the archive: one cycle goes
on from what serves with one pass over all of them. Then the newest clicks come through Kafka: a quick refresh
learns them. Then the first is done again for clicks that stand in the topic. Trainer, worker and Kafka are
processes as a user starts them; what the trainer tells of its stages is kept.
"""

import argparse
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.archive import apart, fill_archive, made_up
from benchmarks.report import Report, command, parser, print_table, say
from benchmarks.running import BenchmarkError
from benchmarks.site import Run, Site, open_site
from benchmarks.trainer_cycle import Cycle, KeptWorker
from streams.clickfile import ClickColumns
from streams.replaying import recorded_clicks, send_clicks
from streams.snapshot import load_snapshot
from streams.topics import TopicNames

MOST_MINUTES: Final = 20.0
MOST_MB: Final = 4_000.0
QUICK_S: Final = 60.0
SHOWN: Final = ("what", "clicks", "items", "swapped_s", "trainer_s", "cpu_s", "peak_mb", "stood_still_s")


def main() -> None:
    """Measure, print and write."""
    flags = parser(__doc__)
    flags.add_argument("--clicks", type=int, default=10_000_000, help="of a month, in the archive")
    flags.add_argument("--items", type=int, default=100_000)
    flags.add_argument("--before", type=int, default=500_000, help="clicks that what serves was trained on")
    flags.add_argument("--epochs", type=int, default=2, help="passes of that training")
    flags.add_argument("--quick-clicks", type=int, default=100_000, help="newest clicks of the quick refresh")
    flags.add_argument("--topic-clicks", type=int, default=1_000_000, help="cycle from the topic; 0: none")
    flags.add_argument(
        "--from-start", action="store_true", help="all clicks from the start, too, in one pass"
    )
    asked = flags.parse_args()
    conditions = {name: getattr(asked, name) for name in ("clicks", "items", "before", "epochs")}
    conditions |= {name: getattr(asked, name) for name in ("quick_clicks", "topic_clicks")}
    report = Report("trainer", conditions, asked.results, asked.note)
    folder = (asked.work / "trainer").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with open_site(asked.work) as site:
            site.create(TopicNames(clicks=site.clicks_topic, snapshots=site.snapshots_topic))
            lines = measure(site, folder, Amounts.of(asked))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.body = {"figures": lines}
    print_table([{name: line[name] for name in SHOWN} for line in lines])
    print()
    print_table(by_stage(lines))
    mark(report)
    report.write()


def by_stage(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Seconds of each stage, a column for each cycle."""
    stages = dict.fromkeys(stage for line in lines for stage in line["stages"])
    return [
        {"stage": stage} | {line["what"]: line["stages"].get(stage) for line in lines} for stage in stages
    ]


def mark(report: Report) -> None:
    """Set the figures beside what they should be; each is of a process started for one cycle."""
    by_name = {line["what"]: line for line in report.body["figures"]}
    whole, quick = by_name["whole"], by_name["quick"]
    minutes, mb = whole["swapped_s"] / 60, max(line["peak_mb"] for line in (whole, quick))
    cycle = f"cycle on {whole['clicks']:,} clicks, {whole['items']:,} items"
    report.mark(f"{cycle}, to the swap, min", f"<= {MOST_MINUTES:g}", minutes, minutes <= MOST_MINUTES)
    report.mark(f"{cycle}: the trainer's memory, MB", f"<= {MOST_MB:g}", mb, mb <= MOST_MB)
    what = f"refresh with the newest {report.conditions['quick_clicks']:,} clicks, to the swap, s"
    report.mark(what, f"<= {QUICK_S:g}", quick["swapped_s"], quick["swapped_s"] <= QUICK_S)


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of everything; all clicks are of one shop, one after the other."""

    n_before: int
    n_clicks: int
    n_quick: int
    n_topic: int
    n_items: int
    n_epochs: int
    from_start: bool
    ends_ms: int

    @classmethod
    def of(cls, asked: argparse.Namespace) -> "Amounts":
        """As asked for; the last click is of now."""
        return cls(
            asked.before,
            asked.clicks,
            asked.quick_clicks,
            asked.topic_clicks,
            asked.items,
            asked.epochs,
            asked.from_start,
            round(time.time() * 1000),
        )

    @property
    def n_archived(self) -> int:
        """Of the clicks, those that lie in the archive in the end."""
        return self.n_before + self.n_clicks

    @property
    def n_all(self) -> int:
        """All of them."""
        return self.n_archived + self.n_quick

    def archive(self, location: Path, topic: str, begin: int, end: int) -> None:
        """Put a part of the clicks into the archive, as one of a topic that had the name before."""
        say(f"{end - begin:,} clicks into the archive")
        apart(fill_archive, str(location), self.n_all, self.n_items, topic, self.ends_ms, begin, end)

    def clicks(self, begin: int, end: int) -> ClickColumns:
        """A part of the clicks."""
        whole, part = made_up(self.n_all, self.n_items, self.ends_ms), slice(begin, end)
        return ClickColumns(whole.session_ids[part], whole.item_ids[part], whole.time_ms[part])


def measure(site: Site, folder: Path, amounts: Amounts) -> list[dict[str, Any]]:
    """All cycles, each a process of its own."""
    lines = []
    location, archive = folder / "snapshots", folder / "archive"
    with site.run("trainer") as run, ExitStack() as stack:
        amounts.archive(archive, site.clicks_topic, 0, amounts.n_before)
        cycle = Cycle(run, location, archive)
        lines.append(cycle.measure("before", ["--epochs", str(amounts.n_epochs)]))
        base = lines[0]["version"]
        worker = stack.enter_context(KeptWorker(run))
        amounts.archive(archive, site.clicks_topic, amounts.n_before, amounts.n_archived)
        lines.append(cycle.measure("whole", ["--refresh"], worker))
        with_newest = amounts.clicks(amounts.n_archived, amounts.n_all)
        send(site, site.clicks_topic, with_newest)
        answered = worker.wait_answered(amounts.n_quick)
        lines.append(cycle.measure("quick", ["--refresh"], worker) | {"answered_before": answered})
        if amounts.from_start:
            lines.append(cycle.measure("from the start", ["--epochs", "1"], worker))
    if amounts.n_topic:
        lines.append(from_topic(site, location, base, amounts))
    return lines


def from_topic(site: Site, location: Path, base: str, amounts: Amounts) -> dict[str, Any]:
    """The cycle on clicks that stand in a topic, going on from the same snapshot."""
    names = TopicNames(clicks=f"{site.clicks_topic}-whole", snapshots=f"{site.snapshots_topic}-whole")
    if amounts.n_topic > amounts.n_clicks + amounts.n_quick:
        raise BenchmarkError("there are not so many clicks for the topic")
    site.create(names)
    site.announce(load_snapshot(str(location / base)), names.snapshots)
    send(site, names.clicks, amounts.clicks(amounts.n_before, amounts.n_before + amounts.n_topic))
    run: Run
    with site.run("topic", clicks_topic=names.clicks, snapshots_topic=names.snapshots) as run:
        site.wait_quiet()
        with KeptWorker(run, "--start-at", "latest") as worker:
            return Cycle(run, location, None).measure("from the topic", ["--refresh"], worker)


def send(site: Site, topic: str, clicks: ClickColumns) -> None:
    """Send clicks as fast as Kafka takes them."""
    say(f"{len(clicks):,} clicks to Kafka")
    send_clicks(site.connection, topic, recorded_clicks(clicks), None)


if __name__ == "__main__":
    command(main)
