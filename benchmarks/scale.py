"""What size does to one worker, and a second worker to the cost of a click.

A backlog of clicks waits, and a worker works through it with catalogues of several sizes, in alternation in
one run; two workers of one group do so with the smallest. With Kafka beside them on a small machine two
workers are short of cores, so what counts of them is CPU per click, not the rate: what a click costs more
because the work is divided.
"""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from benchmarks.backlog import make_backlog
from benchmarks.machine import load
from benchmarks.meter import Sample, steady, watch
from benchmarks.report import Report, Say, command, parser, print_table, say
from benchmarks.running import BenchmarkError, RunningWorker
from benchmarks.served import Served, serve
from benchmarks.site import Run, Site, open_site
from benchmarks.vectors import Trained, trained_model
from streams.topics import TopicNames

MILLION_TO_SMALL, TWO_TO_ONE = 0.5, 1.15
SMALL, MILLION = 20_000, 1_000_000
LEFT_OUT_LAST = 0.2
"""Of several workers one comes to the end of its partitions first."""
SETTLING = 0.05
"""A share of the clicks that is left out once all workers have their partitions."""


@dataclass(frozen=True, slots=True)
class Case:
    """So many workers on a catalogue, with clicks of their own to work through."""

    n_items: int
    index: str
    clicks_topic: str
    snapshots_topic: str
    n_clicks: int
    n_sessions: int
    n_workers: int = 1


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--items", type=int, nargs="+", default=[SMALL, 100_000, MILLION])
    flags.add_argument("--workers", type=int, default=2, help="of the group that is set beside one worker")
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--clicks", type=int, default=250_000, help="how many wait")
    flags.add_argument("--seconds", type=float, default=45, help="the longest that each case is watched")
    asked = flags.parse_args()
    conditions = {"rounds": asked.rounds, "clicks": asked.clicks, "longest_s": asked.seconds}
    report = Report("scale", conditions, asked.results, asked.note)
    trained = trained_model(asked.work, asked.data, Say())
    report.conditions |= {"log": trained.source, "units": trained.encoder.config.n_units}
    with open_site(asked.work) as site:
        report.conditions["partitions"] = site.n_partitions
        cases = [
            _prepare(site, serve(asked.work, trained, n_items), trained, asked.clicks)
            for n_items in asked.items
        ]
        report.conditions["sessions"] = cases[0].n_sessions
        cases.append(replace(cases[0], n_workers=asked.workers))
        site.wait_quiet()
        runs = []
        for number in range(1, asked.rounds + 1):
            for case in cases:
                named = {"items": case.n_items, "index": case.index, "workers": case.n_workers}
                found = _measure(site, case, asked.seconds)
                rates = f"{found['clicks_per_s']:,.0f} clicks/s, {found['cpu_us_per_click']} us each"
                say(f"round {number}: {case.n_items:,} items, {case.n_workers} worker(s): {rates}")
                runs.append({"round": number} | named | found)
    report.body = {"runs": runs} | summary(runs)
    print_table(report.body["figures"])
    _marks(report)
    report.write()


def _prepare(site: Site, served: Served, trained: Trained, n_clicks: int) -> Case:
    """Send the clicks of a catalogue, and announce its snapshot, to topics of their own."""
    n_items = served.catalogue.encoder.n_items
    clicks, snapshots = f"{site.clicks_topic}-{n_items}", f"{site.snapshots_topic}-{n_items}"
    site.create(TopicNames(clicks=clicks, snapshots=snapshots))
    site.announce(served.snapshot, snapshots)
    backlog = make_backlog(trained, served.catalogue, n_clicks)
    say(f"{len(backlog):,} clicks on {n_items:,} items to Kafka")
    backlog.produce(site.connection, clicks)
    index = served.snapshot.manifest.index_kind
    return Case(n_items, index, clicks, snapshots, len(backlog), backlog.n_sessions)


class Sharing:
    """Looks whether all workers of the group have partitions; notes how many clicks were answered by then."""

    def __init__(self, workers: Sequence[RunningWorker], n_partitions: int) -> None:
        self._workers = workers
        self._n_partitions = n_partitions
        self.since_clicks: int | None = None

    def sample(self, sample: Sample) -> None:
        """Ask the workers, until it is so."""
        if self.since_clicks is None:
            with suppress(OSError):
                found = [worker.metrics().get("nextclick_partitions", 0.0) for worker in self._workers]
                if min(found) > 0 and sum(found) == self._n_partitions:
                    self.since_clicks = sample.answered


def _measure(site: Site, case: Case, seconds: float) -> dict[str, Any]:
    with (
        site.run("scale", clicks_topic=case.clicks_topic, snapshots_topic=case.snapshots_topic) as run,
        ExitStack() as stack,
    ):
        busy = load()["load_average"]
        workers = [stack.enter_context(run.start_worker(f"w{n + 1}")) for n in range(case.n_workers)]
        return _watch(run, workers, case.n_clicks, seconds) | {"load_average": busy}


def _watch(run: Run, workers: Sequence[RunningWorker], n_clicks: int, seconds: float) -> dict[str, Any]:
    site = run.site
    sharing = Sharing(workers, site.n_partitions)
    samples = watch(site, run.topics.recommendations, workers, n_clicks, seconds, sharing.sample)
    if sharing.since_clicks is None:
        raise BenchmarkError(f"{len(workers)} workers have not come to share the partitions; more --clicks?")
    after = sharing.since_clicks + SETTLING * samples[-1].answered
    found = steady(samples, bool(site.brokers), after_clicks=after, last_share=LEFT_OUT_LAST)
    return found.as_dict() | {
        "cpu_us_per_click_by_worker": [round(one, 1) for one in found.cpu_us],
        "peak_rss_mb": round(max(worker.peak_rss_mb() or worker.rss_mb() for worker in workers)),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of each case, and the ratios to the first case; also those of each round."""
    cases: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for run in runs:
        cases.setdefault((run["items"], run["workers"]), []).append(run)
    figures = []
    for own in cases.values():
        named = {key: own[0][key] for key in ("items", "index", "workers")}
        keys = ("clicks_per_s", "cpu_us_per_click", "broker_cpu_us_per_click", "peak_rss_mb")
        middle = {key: round(median(run[key] for run in own), 1) for key in keys if own[0][key] is not None}
        figures.append(named | middle)
    first = next(iter(cases.values()))
    ratios, by_round = {}, {}
    for (n_items, n_workers), own in cases.items():
        if own is not first:
            key = "clicks_per_s" if n_workers == 1 else "cpu_us_per_click"
            what = f"{n_items}/{first[0]['items']} items" if n_workers == 1 else f"{n_workers}/1 workers"
            name = f"{key}, {what}"
            ratios[name] = round(median(run[key] for run in own) / median(run[key] for run in first), 3)
            by_round[name] = [round(a[key] / b[key], 3) for a, b in zip(own, first, strict=True)]
    return {"figures": figures, "ratios": ratios, "ratios_by_round": by_round}


def _marks(report: Report) -> None:
    ratios = report.body["ratios"]
    million = ratios.get(f"clicks_per_s, {MILLION}/{SMALL} items")
    held = None if million is None else million >= MILLION_TO_SMALL
    what = f"clicks/s at {MILLION:,} items ÷ at {SMALL:,}"
    report.mark(what, f">= {MILLION_TO_SMALL}", million, held)
    two = ratios.get("cpu_us_per_click, 2/1 workers")
    held = None if two is None else two <= TWO_TO_ONE
    report.mark("CPU per click, two workers ÷ one", f"<= {TWO_TO_ONE}", two, held)


if __name__ == "__main__":
    command(main)
