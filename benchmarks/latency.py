"""From the moment a click is due to the moment a front end has its answer, at fixed rates of clicks.

One process sends clicks on a schedule that waits for nobody, another one reads the recommendations; the
worker is ``nextclick worker`` with Kafka beside it, its table filled with sessions before. All latencies are
from the moment at which a click was due, so that a stall counts for every click that falls into it.
"""

import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.backlog import Backlog, make_backlog
from benchmarks.machine import load
from benchmarks.meter import watch
from benchmarks.report import Report, Say, parser, print_table, say
from benchmarks.site import BenchmarkError, Run, Running, RunningWorker, open_site
from benchmarks.snapshots import make_snapshot
from benchmarks.vectors import catalogue_of, trained_model
from streams.topics import TopicNames

WARM_UP_S = 5.0
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--items", type=int, nargs="+", default=[20_000, 100_000, 1_000_000])
    flags.add_argument("--rates", type=float, nargs="+", default=[100, 1_000, 2_000, 4_000])
    flags.add_argument("--seconds", type=float, default=30, help="at each rate")
    flags.add_argument("--preload", type=int, default=120_000, help="clicks answered before")
    flags.add_argument("--idle-seconds", type=float, default=60)
    asked = flags.parse_args()
    conditions = {"seconds": asked.seconds, "warm_up_s": WARM_UP_S, "preloaded_clicks": asked.preload}
    report = Report("latency", conditions | {"workers": 1}, asked.results, asked.note)
    trained = trained_model(asked.work, asked.data, Say())
    report.conditions["log"] = trained.source
    lines: list[dict[str, Any]] = []
    for n_items in asked.items:
        catalogue = catalogue_of(trained, n_items)
        snapshot = make_snapshot(asked.work, trained, catalogue, say)
        rates = [rate for rate in asked.rates for _ in range(round(rate * (asked.seconds + WARM_UP_S)))]
        backlog = make_backlog(trained, catalogue, asked.preload + len(rates) + 1)
        with open_site(asked.work) as site:
            site.create(TopicNames(clicks=site.clicks_topic, snapshots=site.snapshots_topic))
            site.announce(snapshot)
            report.conditions["partitions"] = site.n_partitions
            with site.run("latency") as run:
                for line in _measure(
                    run, backlog, asked.preload, asked.rates, asked.seconds, asked.idle_seconds
                ):
                    named = {"items": n_items, "index": snapshot.manifest.index_kind} | line
                    say("  ".join(f"{key} {value}" for key, value in named.items()))
                    lines.append(named)
    report.body = {"figures": lines}
    print_table([{k: v for k, v in line.items() if not k.startswith("load")} for line in lines])
    _marks(report, lines)
    report.write()


def _measure(
    run: Run, backlog: Backlog, n_preloaded: int, rates: list[float], seconds: float, idle_s: float
) -> list[dict[str, Any]]:
    site = run.site
    backlog.part(0, n_preloaded).produce(site.connection, site.clicks_topic)
    lines = []
    with run.start_worker() as worker:
        watch(site, run.topics.recommendations, [worker], n_preloaded, 600)
        at = n_preloaded
        for rate in rates:
            n_clicks = round(rate * (seconds + WARM_UP_S))
            part = backlog.part(at, at + n_clicks)
            at += n_clicks
            lines.append({"rate": rate} | _at_rate(run, worker, part, rate, WARM_UP_S))
        if idle_s > 0:
            say(f"nothing for {idle_s:.0f} s, then one click")
            time.sleep(idle_s)
            lines.append({"rate": 0.0} | _at_rate(run, worker, backlog.part(at, at + 1), 1.0, 0.0))
    return lines


def _at_rate(
    run: Run, worker: RunningWorker, clicks: Backlog, rate: float, warm_up_s: float
) -> dict[str, Any]:
    """Send at one rate and listen; what is due in the first ``warm_up_s`` is left out."""
    site, folder = run.site, run.folder
    answers, sent = folder / "answers.npy", folder / "sent.npz"
    with _listener(run, answers) as listener:
        path = folder / "clicks.msgpack"
        pairs = [(session_id, item_id) for _, session_id, item_id in clicks.clicks()]
        path.write_bytes(msgspec.msgpack.encode(pairs))
        flags = {"servers": site.connection.bootstrap_servers, "topic": site.clicks_topic, "rate": rate}
        arguments = [f"--{key}={value}" for key, value in flags.items()]
        before = (worker.cpu_s(), site.broker_cpu_s() or 0.0)
        with run.start(
            "shop", "benchmarks.clients.shop", *arguments, f"--clicks={path}", f"--output={sent}"
        ) as shop:
            shop.process.wait(len(clicks) / rate + 120)
        time.sleep(1.0)
        after = (worker.cpu_s(), site.broker_cpu_s() or 0.0)
        worker.check()
        listener.stop()
    arrays = np.load(sent)
    found = latencies_ms(arrays, np.load(answers), warm_up_s)
    cpu = {
        "cpu_us_per_click": round((after[0] - before[0]) / len(clicks) * 1e6, 1),
        "broker_cpu_us_per_click": round((after[1] - before[1]) / len(clicks) * 1e6, 1)
        if site.brokers
        else None,
    }
    return found | cpu | {"load_average": load()["load_average"]}


def _listener(run: Run, answers: Path) -> Running:
    site = run.site
    ready = answers.with_suffix(".ready")
    ready.unlink(missing_ok=True)
    flags = {
        "servers": site.connection.bootstrap_servers,
        "topic": run.topics.recommendations,
        "partitions": site.n_partitions,
        "output": answers,
    }
    arguments = [f"--{key}={value}" for key, value in flags.items()]
    listener = run.start("front-end", "benchmarks.clients.front_end", *arguments)
    while not ready.exists():
        listener.check()
        time.sleep(0.05)
    return listener


def latencies_ms(sent: Any, answers: NDArray[np.float64], warm_up_s: float) -> dict[str, Any]:
    """Join clicks and answers by partition and offset; quantiles in milliseconds."""
    arrived: dict[tuple[int, int], float] = {}
    for partition, offset, at_s in answers.tolist():
        arrived.setdefault((int(partition), int(offset)), at_s)
    due, left = sent["due"], sent["sent"]
    places = zip(sent["partition"].tolist(), sent["offset"].tolist(), strict=True)
    at_s = np.array([arrived.get(place, np.inf) for place in places])
    counted = due >= due[0] + warm_up_s
    waited = (at_s - due)[counted] * 1e3
    if np.isinf(waited).any():
        raise BenchmarkError(f"{int(np.isinf(waited).sum())} of {len(waited)} clicks have no answer")
    found = {name: round(float(np.quantile(waited, q)), 2) for name, q in QUANTILES.items()}
    late = (left - due)[counted] * 1e3
    return (
        {"clicks": len(waited)}
        | found
        | {
            "max": round(float(waited.max()), 2),
            "sent_late_p99": round(float(np.quantile(late, 0.99)), 2),
        }
    )


def _marks(report: Report, lines: list[dict[str, Any]]) -> None:
    def at(n_items: int, rate: float, key: str) -> float | None:
        for line in lines:
            if line["items"] == n_items and line["rate"] == rate:
                return float(line[key])
        return None

    wished = [
        (20_000, "p50", 5),
        (20_000, "p99", 20),
        (100_000, "p50", 5),
        (100_000, "p99", 20),
        (1_000_000, "p99", 30),
    ]
    for n_items, key, most in wished:
        found = at(n_items, 1_000, key)
        held = None if found is None else found <= most
        report.mark(f"{key} at 1,000 clicks/s, {n_items:,} items, ms", f"<= {most}", found, held)
    for n_items in (20_000, 100_000, 1_000_000):
        found = at(n_items, 0.0, "max")
        report.mark(
            f"one click after a minute, {n_items:,} items, ms",
            "<= 20",
            found,
            None if found is None else found <= 20,
        )


if __name__ == "__main__":
    main()
