"""The whole job against an agent that only forwards the bytes, and against the naive app, in one run.

The worker comes in two forms: ordering by the encoder alone, as the naive app does, and by the served
ranking. All work through the same clicks, one after the other, in alternation, with Kafka beside them on the
same machine. The peers come with and without 5 ms of linger; the better one counts. Ratios of one run mean
something on a machine whose speed changes from hour to hour; rates alone do not.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.backlog import make_backlog
from benchmarks.machine import load
from benchmarks.meter import Stages, steady, watch
from benchmarks.peers import naive
from benchmarks.peers.start import LINGERS_MS, start_peer
from benchmarks.report import Report, Say, command, parser, print_table, say
from benchmarks.running import Running, RunningWorker
from benchmarks.site import Run, Site, open_site
from benchmarks.snapshots import make_snapshot
from benchmarks.vectors import catalogue_of, trained_model
from streams.snapshot import Snapshot
from streams.topics import TopicNames

NAIVE_TO_FORWARD = 0.19
"""Below, the machine or a peer is not what it should be, and the run does not count."""

Start = Callable[[Run], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who works through the clicks; ``what`` is what is compared, ``name`` one form of it."""

    what: str
    name: str
    start: Start


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--clicks", type=int, default=250_000, help="how many wait for each contestant")
    flags.add_argument("--seconds", type=float, default=30, help="the longest that a contestant is watched")
    flags.add_argument("--items", type=int, default=20_000)
    flags.add_argument("--only", nargs="+", choices=("forward", "naive", "worker", "nextclick"))
    asked = flags.parse_args()
    conditions = {
        "rounds": asked.rounds,
        "clicks": asked.clicks,
        "longest_s": asked.seconds,
        "items": asked.items,
        "top_k": 20,
        "workers": 1,
    }
    report = Report("stream", conditions, asked.results, asked.note)
    trained = trained_model(asked.work, asked.data, Say())
    catalogue = catalogue_of(trained, asked.items)
    backlog = make_backlog(trained, catalogue, asked.clicks)
    snapshot = make_snapshot(asked.work, trained, catalogue, say)
    graph = asked.work.absolute()
    naive.prepare(snapshot, graph)
    report.conditions |= {
        "log": trained.source,
        "sessions": backlog.n_sessions,
        "units": catalogue.encoder.config.n_units,
        "index": snapshot.manifest.index_kind,
        "naive_ef_search": naive.EF_SEARCH,
    }
    contestants = [c for c in _contestants(snapshot, graph) if not asked.only or c.what in asked.only]
    with open_site(asked.work) as site:
        report.conditions["partitions"] = site.n_partitions
        site.create(TopicNames(clicks=site.clicks_topic, snapshots=site.snapshots_topic))
        site.announce(snapshot)
        say(f"{len(backlog):,} clicks of {backlog.n_sessions:,} sessions to Kafka")
        backlog.produce(site.connection, site.clicks_topic)
        runs = []
        for number in range(1, asked.rounds + 1):
            for contestant in contestants:
                found = _measure(site, contestant, len(backlog), asked.seconds)
                say(f"round {number}: {contestant.name}: {found['clicks_per_s']:,.0f} clicks/s")
                runs.append({"round": number, "what": contestant.what, "name": contestant.name} | found)
    report.body = {"runs": runs} | summary(runs)
    _print(report)
    report.write()


def _contestants(snapshot: Snapshot, graph: Path) -> Iterator[Contestant]:
    for linger_ms in LINGERS_MS:
        form = f"linger {linger_ms} ms"
        options = {"linger-ms": str(linger_ms)}
        yield Contestant("forward", f"forward, {form}", partial(start_peer, "forward", options))
    for linger_ms in LINGERS_MS:
        options = {
            "linger-ms": str(linger_ms),
            "model": snapshot.location,
            "graph": str(graph / naive.GRAPH_FILE),
        }
        yield Contestant("naive", f"naive, linger {linger_ms} ms", partial(start_peer, "naive", options))
    yield Contestant("worker", "worker, ranking lstm", lambda run: run.start_worker())
    yield Contestant(
        "nextclick", "worker, ranking nextclick", lambda run: run.start_worker("w1", "--ranking", "nextclick")
    )


def _measure(site: Site, contestant: Contestant, n_clicks: int, seconds: float) -> dict[str, Any]:
    with site.run(contestant.what) as run, contestant.start(run) as running:
        busy = load()["load_average"]
        stages = Stages(running, n_clicks) if isinstance(running, RunningWorker) else None
        on_sample = stages.sample if stages else lambda sample: None
        samples = watch(site, run.topics.recommendations, [running], n_clicks, seconds, on_sample)
        found = steady(samples, bool(site.brokers)).as_dict()
        found |= {"rss_mb": round(running.rss_mb()), "load_average": busy}
        return found | (stages.as_dict() if stages else {})


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians by form, the better form of each contestant, and the ratios; also those of each round."""
    rates: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        rates.setdefault(run["what"], {}).setdefault(run["name"], []).append(run["clicks_per_s"])
    best = {what: max(forms, key=lambda name, f=forms: median(f[name])) for what, forms in rates.items()}  # type: ignore[misc]
    figures = {}
    for what, name in best.items():
        own = [run for run in runs if run["name"] == name]
        cpu = ("cpu_us_per_click", "broker_cpu_us_per_click", "meter_cpu_us_per_click")
        keys = ("clicks_per_s", *cpu, "rss_mb")
        middle = {key: median(run[key] for run in own) for key in keys if own[0].get(key) is not None}
        figures[what] = {"form": name} | middle
    pairs = [("worker", "forward"), ("worker", "naive"), ("naive", "forward"), ("nextclick", "forward")]
    ratios, by_round = {}, {}
    for above, below in pairs:
        if above in best and below in best:
            tops, bottoms = rates[above][best[above]], rates[below][best[below]]
            ratios[f"{above}/{below}"] = round(median(tops) / median(bottoms), 3)
            by_round[f"{above}/{below}"] = [round(a / b, 3) for a, b in zip(tops, bottoms, strict=True)]
    counts = ratios.get("naive/forward", 0.0) >= NAIVE_TO_FORWARD
    return {"figures": figures, "ratios": ratios, "ratios_by_round": by_round, "counts": counts}


def _print(report: Report) -> None:
    body = report.body
    print_table([{"contestant": what, **figures} for what, figures in body["figures"].items()])
    print()
    print_table(
        [
            {"ratio": name, "": value, "by round": body["ratios_by_round"][name]}
            for name, value in body["ratios"].items()
        ]
    )
    print(f"\ncounts: {str(body['counts']).lower()} (naive/forward must be at least {NAIVE_TO_FORWARD})")
    last = next((run for run in reversed(body["runs"]) if run.get("stage_us_per_click")), None)
    if last is not None:
        print(f"\nthe worker's batches: {last['clicks_per_batch']} clicks; its stages, us of time per click:")
        print_table([{"stage": stage, "us": us} for stage, us in last["stage_us_per_click"].items()])
    for pair, wanted in (("worker/forward", 1.0), ("worker/naive", 4.0), ("nextclick/forward", 0.7)):
        ratio = body["ratios"].get(pair)
        held = None if ratio is None or not body["counts"] else ratio >= wanted
        report.mark(f"clicks/s, {pair.replace('/', ' ÷ ')}", f">= {wanted}", ratio, held)


if __name__ == "__main__":
    command(main)
