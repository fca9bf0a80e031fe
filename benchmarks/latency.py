"""From the moment a click is due to the moment a front end has its answer, at fixed rates of clicks.

One process sends clicks on a schedule that waits for nobody, another one reads the recommendations; the
worker is ``nextclick worker`` with Kafka beside it, its table filled with sessions before. All latencies are
from the moment at which a click was due, so that a stall counts for every click that falls into it.

Before the worker the agent that only forwards the bytes goes through the same, at the lower rates: what is
left of its latency is the machine's, Kafka's and the framework's.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Any

from benchmarks.backlog import Backlog, make_backlog
from benchmarks.exchange import QUANTILES, WARM_UP_S, exchange, latencies_ms
from benchmarks.machine import load
from benchmarks.meter import watch
from benchmarks.peers.start import LINGERS_MS, start_peer
from benchmarks.report import Report, Say, command, parser, print_table, say
from benchmarks.running import Running
from benchmarks.served import serve
from benchmarks.site import Run, Site, open_site
from benchmarks.vectors import Trained, trained_model
from streams.topics import TopicNames

BROKER_WARM_UP = (1_000.0, 30.0)
"""Clicks a second, and for how long: a broker just started compiles its own code under the first load, and
takes three times as long over everything meanwhile."""
FORWARD_UP_TO = 1_000
OVERLOADED_MS = 1_000
"""A median above it: clicks come faster than they are answered, and higher rates tell nothing more."""
P50_MS, P99_MS, P99_MILLION_MS, IDLE_MS = 5, 20, 30, 20


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--items", type=int, nargs="+", default=[20_000, 100_000, 1_000_000])
    flags.add_argument("--rates", type=float, nargs="+", default=[200, 1_000, 2_000, 4_000, 6_000])
    flags.add_argument("--seconds", type=float, default=20, help="at each rate")
    flags.add_argument("--preload", type=int, default=120_000, help="clicks answered before")
    flags.add_argument("--idle-seconds", type=float, default=60, help="without a click, then one")
    flags.add_argument("--no-forward", action="store_true", help="the worker alone, on a broker just started")
    asked = flags.parse_args()
    conditions = {"seconds": asked.seconds, "warm_up_s": WARM_UP_S, "preloaded_clicks": asked.preload}
    report = Report(
        "latency", conditions | {"idle_s": asked.idle_seconds, "workers": 1}, asked.results, asked.note
    )
    trained = trained_model(asked.work, asked.data, Say())
    report.conditions |= {"log": trained.source, "units": trained.encoder.config.n_units}
    lines: list[dict[str, Any]] = []
    for n_items in asked.items:
        for line in _at_size(trained, n_items, asked, report):
            say("  ".join(f"{key} {value}" for key, value in line.items()))
            lines.append(line)
    report.body = {"figures": lines}
    shown = (
        "items",
        "index",
        "what",
        "rate",
        "clicks",
        *QUANTILES,
        "max",
        "sent_late_p99",
        "cpu_us_per_click",
    )
    print_table([{key: line[key] for key in shown} for line in lines])
    _marks(report, lines)
    report.write()


def _at_size(
    trained: Trained, n_items: int, asked: argparse.Namespace, report: Report
) -> Iterator[dict[str, Any]]:
    """All rates with a catalogue of this size, on a Kafka of its own."""
    served = serve(asked.work, trained, n_items)
    n_clicks = asked.preload + sum(n_sent(rate, asked.seconds) for rate in asked.rates) + 2
    if not asked.no_forward:
        n_forwarded = sum(n_sent(rate, asked.seconds) for rate in _low(asked))
        n_clicks += n_sent(*BROKER_WARM_UP) + len(LINGERS_MS) * n_forwarded
    backlog = make_backlog(trained, served.catalogue, n_clicks)
    with open_site(asked.work) as site:
        site.create(TopicNames(clicks=site.clicks_topic, snapshots=site.snapshots_topic))
        site.announce(served.snapshot)
        report.conditions |= {"partitions": site.n_partitions, "sessions": backlog.n_sessions}
        feed = _Feed(backlog)
        forward = () if asked.no_forward else _forward(site, feed, asked)
        for line in chain(forward, _worker(site, feed, asked)):
            yield served.named() | line


def n_sent(rate: float, seconds: float) -> int:
    """Clicks sent at a rate, warm-up included."""
    return round(rate * (seconds + WARM_UP_S))


@dataclass(slots=True)
class _Feed:
    """Clicks that are sent part by part."""

    clicks: Backlog
    n_taken: int = 0

    def take(self, n: int) -> Backlog:
        """The next ones."""
        begin, self.n_taken = self.n_taken, self.n_taken + n
        return self.clicks.part(begin, self.n_taken)


def _low(asked: argparse.Namespace) -> list[float]:
    return [rate for rate in asked.rates if rate <= FORWARD_UP_TO]


def _forward(site: Site, feed: _Feed, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The forwarding agent in both its forms, after the broker has become warm."""
    for linger_ms in LINGERS_MS:
        with site.run("forward") as run, start_peer("forward", {"linger-ms": str(linger_ms)}, run) as agent:
            if feed.n_taken:
                watch(site, run.topics.recommendations, [agent], feed.n_taken, 600)
            else:
                rate, seconds = BROKER_WARM_UP
                say(f"{seconds:.0f} s of {rate:,.0f} clicks/s, to warm the broker up")
                exchange(run, agent, feed.take(n_sent(rate, seconds)), rate, copies=True)
            for rate in _low(asked):
                part = feed.take(n_sent(rate, asked.seconds))
                found = _at_rate(run, agent, part, rate, WARM_UP_S, copies=True)
                yield {"what": f"forward, linger {linger_ms} ms", "rate": rate} | found


def _worker(site: Site, feed: _Feed, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with site.run("latency") as run:
        say(f"{asked.preload:,} clicks to be answered before")
        feed.take(asked.preload).produce(site.connection, site.clicks_topic)
        with run.start_worker() as worker:
            watch(site, run.topics.recommendations, [worker], feed.n_taken, 600)
            for rate in asked.rates:
                part = feed.take(n_sent(rate, asked.seconds))
                line = {"what": "worker", "rate": rate} | _at_rate(run, worker, part, rate, WARM_UP_S)
                yield line
                if line["p50"] > OVERLOADED_MS:
                    break
            if asked.idle_seconds > 0:
                say(f"one click, nothing for {asked.idle_seconds:.0f} s, one click")
                rate = 1 / asked.idle_seconds
                # Linux lets a select() come back late by a thousandth of its time-out: after a minute the
                # sender itself is 60 ms late, which is no stall of the worker's.
                found = _at_rate(run, worker, feed.take(2), rate, asked.idle_seconds / 2, since="awake")
                yield {"what": "worker", "rate": 0.0} | found


def _at_rate(
    run: Run,
    agent: Running,
    clicks: Backlog,
    rate: float,
    warm_up_s: float,
    *,
    copies: bool = False,
    since: str = "due",
) -> dict[str, Any]:
    """Send at one rate and listen; what is due in the first ``warm_up_s`` is left out."""
    found = exchange(run, agent, clicks, rate, copies=copies)
    return (
        latencies_ms(found.sent, found.answers, warm_up_s, since)
        | found.cpu_us
        | {"load_average": load()["load_average"]}
    )


def forward(lines: list[dict[str, Any]], key: str, rate: float = 1_000) -> float | None:
    """A figure of the forwarding agent, which knows no items: the median of the sizes, in its better form."""
    by_form: dict[str, list[float]] = {}
    for line in lines:
        if line["what"] != "worker" and line["rate"] == rate:
            by_form.setdefault(line["what"], []).append(line[key])
    return min((median(found) for found in by_form.values()), default=None)


def _marks(report: Report, lines: list[dict[str, Any]]) -> None:
    def at(n_items: int, rate: float, key: str) -> float | None:
        own = [line for line in lines if line["what"] == "worker"]
        found = [line for line in own if line["items"] == n_items and line["rate"] == rate]
        return float(found[0][key]) if found else None

    for key in ("p50", "p99"):
        report.mark(
            f"{key} at 1,000 clicks/s of an agent that only forwards, ms", "", forward(lines, key), None
        )
    wished = [
        *(
            (n_items, key, most)
            for n_items in (20_000, 100_000)
            for key, most in (("p50", P50_MS), ("p99", P99_MS))
        ),
        (1_000_000, "p99", P99_MILLION_MS),
    ]
    for n_items, key, most in wished:
        found = at(n_items, 1_000, key)
        held = None if found is None else found <= most
        report.mark(f"{key} at 1,000 clicks/s, {n_items:,} items, ms", f"<= {most}", found, held)
    for n_items in (20_000, 100_000, 1_000_000):
        found = at(n_items, 0.0, "max")
        held = None if found is None else found <= IDLE_MS
        report.mark(f"one click after an idle minute, {n_items:,} items, ms", f"<= {IDLE_MS}", found, held)


if __name__ == "__main__":
    command(main)
