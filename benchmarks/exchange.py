"""Clicks sent on a schedule that waits for nobody, and what came back for each, by processes of their own."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.backlog import Backlog
from benchmarks.running import BenchmarkError, Running
from benchmarks.site import Run

WARM_UP_S = 5.0
DRAIN_S = 180.0
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the shop noted of each click, what the front end of each answer, and CPU per click by process."""

    sent: Any
    answers: NDArray[np.float64]
    cpu_us: dict[str, float | None]


def exchange(
    run: Run,
    worker: Running,
    clicks: Backlog,
    rate: float,
    meanwhile: Callable[[], None] = lambda: None,
    *,
    copies: bool = False,
) -> Exchange:
    """Send at one rate and listen until every click is answered; ``meanwhile`` is called as that begins.

    With ``copies`` what comes out is the clicks themselves, in their places.
    """
    site, folder = run.site, run.folder
    answers, sent = folder / "answers.npy", folder / "sent.npz"
    n_answered = site.n_records(run.topics.recommendations)
    with _listener(run, answers, copies) as listener:
        path = folder / "clicks.msgpack"
        pairs = [(session_id, item_id) for _, session_id, item_id in clicks.clicks()]
        path.write_bytes(msgspec.msgpack.encode(pairs))
        flags = {"servers": site.connection.bootstrap_servers, "topic": site.clicks_topic, "rate": rate}
        arguments = [f"--{key}={value}" for key, value in flags.items()]
        before = (worker.cpu_s(), site.broker_cpu_s() or 0.0, listener.cpu_s())
        with run.start(
            "shop", "benchmarks.clients.shop", *arguments, f"--clicks={path}", f"--output={sent}"
        ) as shop:
            meanwhile()
            _wait(shop, len(clicks) / rate + DRAIN_S)
        _wait_answered(run, worker, n_answered + len(clicks))
        after = (worker.cpu_s(), site.broker_cpu_s() or 0.0, listener.cpu_s())
        listener.stop()
    arrays = dict(np.load(sent))
    used_us = [(late - early) / len(clicks) * 1e6 for early, late in zip(before, after, strict=True)]
    cpu = {
        "cpu_us_per_click": round(used_us[0], 1),
        "broker_cpu_us_per_click": round(used_us[1], 1) if site.brokers else None,
        "shop_cpu_us_per_click": round(float(arrays["cpu_s"]) / len(clicks) * 1e6, 1),
        "front_end_cpu_us_per_click": round(used_us[2], 1),
    }
    return Exchange(arrays, np.load(answers), cpu)


def _wait(shop: Running, timeout_s: float) -> None:
    try:
        code = shop.process.wait(timeout_s)
    except subprocess.TimeoutExpired as error:
        raise shop.failed(f"has not sent its clicks after {timeout_s:.0f} s") from error
    if code:
        raise shop.failed(f"ended with {code}")


def _wait_answered(run: Run, worker: Running, n_wanted: int) -> None:
    """Wait until every click has its answer; a moment more, for the listener to read the last ones."""
    deadline = time.monotonic() + DRAIN_S
    while run.site.n_records(run.topics.recommendations) < n_wanted:
        worker.check()
        if time.monotonic() > deadline:
            raise worker.failed(f"has not answered all clicks {DRAIN_S:.0f} s after the last one")
        time.sleep(0.25)
    time.sleep(0.5)


def _listener(run: Run, answers: Path, copies: bool) -> Running:
    site = run.site
    ready = answers.with_suffix(".ready")
    ready.unlink(missing_ok=True)
    flags = {
        "servers": site.connection.bootstrap_servers,
        "topic": run.topics.recommendations,
        "partitions": site.n_partitions,
        "output": answers,
    }
    arguments = [f"--{key}={value}" for key, value in flags.items()] + ["--copies"] * copies
    listener = run.start("front-end", "benchmarks.clients.front_end", *arguments)
    while not ready.exists():
        listener.check()
        time.sleep(0.05)
    return listener


def waited_ms(sent: Any, answers: NDArray[np.float64], since: str = "due") -> NDArray[np.float64]:
    """Join clicks and answers by partition and offset: milliseconds from when each click was due.

    ``since`` "awake" begins when the sender set to work on it, after its own waking up.
    """
    arrived: dict[tuple[int, int], float] = {}
    for partition, offset, at_s in answers.tolist():
        arrived.setdefault((int(partition), int(offset)), at_s)
    places = zip(sent["partition"].tolist(), sent["offset"].tolist(), strict=True)
    at_s = np.array([arrived.get(place, np.inf) for place in places])
    if np.isinf(at_s).any():
        raise BenchmarkError(f"{int(np.isinf(at_s).sum())} of {len(at_s)} clicks have no answer")
    found: NDArray[np.float64] = (at_s - sent[since]) * 1e3
    return found


def latencies_ms(
    sent: Any, answers: NDArray[np.float64], warm_up_s: float, since: str = "due"
) -> dict[str, Any]:
    """Quantiles in milliseconds, without what was due in the first ``warm_up_s``."""
    due, left = sent["due"], sent["sent"]
    counted = due >= due[0] + warm_up_s
    waited = waited_ms(sent, answers, since)[counted]
    late = (left - due)[counted] * 1e3
    return {
        "clicks": len(waited),
        **{name: round(float(np.quantile(waited, q)), 2) for name, q in QUANTILES.items()},
        "max": round(float(waited.max()), 2),
        "sent_late_p99": round(float(np.quantile(late, 0.99)), 2),
    }
