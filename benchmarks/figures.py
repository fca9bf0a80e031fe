"""The tables of the documentation, each made from the newest results of a kind, as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import sizing
from benchmarks.kept import Found, Results, newest
from benchmarks.report import markdown, show

ORDER = ("stream", "latency", "scale", "recovery", "memory", "swap", "index", "faults")
RATIOS = ("worker/forward", "worker/naive", "naive/forward", "nextclick/forward")


def marks(results: Results) -> Iterator[str]:
    """What was set out for, beside what was measured; the newest run of each kind.

    What had only to be more than nothing, and is, has its figures in docs/model.md and is left out, and
    accuracy, which has a table of its own.
    """
    lines, ran = [], []
    for kind in (*ORDER, *sorted(results.keys() - {*ORDER, "accuracy"})):
        one = newest(results, kind)
        if one is None or not one.get("marks"):
            continue
        ran.append(one)
        for mark in one["marks"]:
            if mark["measured"] is not None and not (mark["mark"] == "> 0" and mark["held"]):
                missed = " (missed)" if mark["held"] is False else ""
                measured = show(mark["measured"]) + missed
                lines.append(
                    {"what": mark["what"], "mark": mark["mark"], "measured": measured, "made by": kind}
                )
    for line in lines:
        line["made by"] = (
            f"`make bench-{line['made by']}`" if line["made by"] != "faults" else "`make faults`"
        )
    yield from markdown(lines)
    if ran:
        yield ""
        yield from conditions(ran)


def conditions(ran: Sequence[Found]) -> Iterator[str]:
    """Where and of which commits the figures are."""
    last = max(ran, key=lambda one: one["started"])
    machine, versions = last["machine"], last["versions"]
    commits = ", ".join(dict.fromkeys(one["versions"]["nextclick"] or "unknown" for one in ran))
    busy = [one["benchmark"] for one in ran if not one["load"]["quiet_at_start"]]
    trials = f" While other programs kept the machine busy: {', '.join(busy)}." if busy else ""
    yield (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; Kafka {versions['kafka']} on"
        f" the same machine; Python {versions['python']}; commits {commits}.{trials}"
    )


def agreement(results: Results) -> list[Found]:
    """Every kept run of ``bench-stream`` with its ratios, and how far they lie apart."""
    runs = results.get("stream", ())
    lines = [
        {
            "run": run["started"],
            **{name: run["ratios"].get(name) for name in RATIOS},
            "worker/forward by round": ", ".join(
                str(one) for one in run["ratios_by_round"].get(RATIOS[0], ())
            ),
            "counts": "yes" if run["counts"] and run["load"]["quiet_at_start"] else "no",
        }
        for run in runs
    ]
    counted = [line for line in lines if line["counts"] == "yes"]
    if len(counted) > 1:
        apart = {name: spread([line[name] for line in counted if line[name]]) for name in RATIOS}
        lines.append({"run": "largest ÷ smallest", **apart, "worker/forward by round": "", "counts": ""})
    return lines


def spread(values: Sequence[float]) -> float | None:
    """The largest by the smallest."""
    return round(max(values) / min(values), 3) if values else None


def stream(results: Results) -> Iterator[str]:
    """Rates and CPU per click of all that ``bench-stream`` compares, then the agreement of its runs."""
    one = newest(results, "stream")
    if one is not None:
        figures = one["figures"].items()
        keys = {
            "clicks_per_s": "clicks/s",
            "cpu_us_per_click": "CPU, µs/click",
            "broker_cpu_us_per_click": "Kafka's, µs/click",
        }
        yield from markdown(
            [{"": what, **{name: f.get(key) for key, name in keys.items()}} for what, f in figures]
        )
        yield ""
    yield from markdown(agreement(results))


def _figures(results: Results, kind: str) -> list[dict[str, Any]]:
    """The lines of the newest result of a kind; none where there is none."""
    one = newest(results, kind)
    return [] if one is None else list(one["figures"])


def latency(results: Results) -> Iterator[str]:
    """Quantiles against load."""
    yield from markdown(
        [
            {
                "items": line["items"],
                "agent": line["what"],
                "clicks/s": "one after an idle minute" if line["rate"] == 0 else f"{line['rate']:,.0f}",
                **{f"{name}, ms": line[name] for name in ("p50", "p90", "p99", "p99.9")},
                "worker's CPU, µs/click": line["cpu_us_per_click"] if line["rate"] else None,
            }
            for line in _figures(results, "latency")
        ]
    )


def scale(results: Results) -> Iterator[str]:
    """Rate and cost of a click against the catalogue's size and the number of workers."""
    keys = {
        "clicks_per_s": "clicks/s", "cpu_us_per_click": "workers' CPU, µs/click",
        "broker_cpu_us_per_click": "Kafka's, µs/click", "peak_rss_mb": "memory of a worker, MB",
    }  # fmt: skip
    yield from markdown(
        [
            {"items": line["items"], "index": line["index"], "workers": line["workers"]}
            | {name: line.get(key) for key, name in keys.items()}
            for line in _figures(results, "scale")
        ]
    )


def memory(results: Results) -> Iterator[str]:
    """What open sessions take."""
    yield from markdown(
        [
            {
                "open sessions": line["sessions"],
                "record, mean bytes": line["record_bytes"]["mean"],
                "disk, MB": line["disk_mb"],
                "changelog, MB": line["changelog_mb"],
                "worker's memory, MB": line["peak_rss_mb"],
                "open files": line["open_files"],
                "clicks/s": line["clicks_per_s"],
            }
            for line in _figures(results, "memory")
        ]
    )


def recovery(results: Results) -> Iterator[str]:
    """How soon a worker serves."""
    yield from markdown(
        [
            {
                "start": line["start"],
                "ready after, s": line["ready_s"],
                "worker's CPU, s": line["worker_cpu_s"],
            }
            for line in _figures(results, "recovery")
        ]
    )


def swap(results: Results) -> Iterator[str]:
    """What swaps do to clicks under load."""
    yield from markdown(
        [
            {
                "items": line["items"],
                "swaps": line["swaps"],
                "p99 without, ms": line["calm_p99"],
                "p99 within, ms": line["swap_p99"],
                "longest delay, median of swaps, ms": line["swap_delay_p50"],
                "longest of all, ms": line["swap_delay_max"],
                "… without swaps, ms": line["calm_delay"],
                "memory after ÷ before": line["rss_after/before"],
            }
            for line in _figures(results, "swap")
        ]
    )


SIZED = (
    sizing.Load(1_000, items=20_000),
    sizing.Load(20_000, items=100_000),
    sizing.Load(1_000_000, items=1_000_000, expiry_hours=1),
)


def sized(results: Results) -> Iterator[str]:
    """What three loads take."""
    found = sizing.measured(results)
    yield from markdown([] if found is None else sizing.lines(SIZED, found))


def one_worker(results: Results) -> Iterator[str]:
    """The measured figures that the sizes are reckoned from."""
    found = sizing.measured(results)
    if found is None:
        yield from markdown([])
        return
    for_items = [
        {
            "items": cost.items,
            "clicks/s": cost.clicks_per_s,
            "worker's CPU, µs/click": cost.cpu_us,
            "Kafka's, µs/click": cost.broker_cpu_us,
            "worker's memory, MB": cost.memory_mb,
        }
        for cost in found.costs
    ]
    yield from markdown(for_items)
    others: Mapping[str, float] = {
        "a session's record, mean, bytes": found.record_bytes,
        "a session on the worker's disk, bytes": found.disk_bytes,
        "memory of the filled caches of 8 partitions, MB": found.cache_mb,
        "a click on its topic, bytes": found.click_bytes,
        "an answer of 20 items, bytes": found.answer_bytes,
        "changelog records for each click": found.changelog_records,
        "sessions read again per second": found.recovered_per_s,
        "start without any session, s": found.start_s,
    }
    yield ""
    yield from markdown([{"": name, "measured": float(value)} for name, value in others.items()])
