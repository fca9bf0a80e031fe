"""Items that no snapshot knows yet: how soon they are recommended, and how many clicks on them are foretold.

Live: shoppers click in a shop where a new item appears every few seconds, a worker answers through Kafka, and
for each item the time from its first click's arrival to the first answer that holds it is taken from the
topics. Then without Kafka: logs with clicks on new items are replayed in order, with fresh items and without.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import closing
from itertools import dropwhile, islice
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.fresh_replay import LOGS, SEED, Replayed, part, replay, snapshot_of
from benchmarks.report import Report, command, parser, print_table, say, telling
from benchmarks.running import BenchmarkError
from benchmarks.site import Site, open_site
from index.approximate import set_threads as set_index_threads
from model.threads import set_threads as set_model_threads
from model.training import TrainingConfig
from streams.clickfile import ClickFileError
from streams.fresh import FreshRules
from streams.kafka import TopicPartition, open_consumer
from streams.ranking import Ranking
from streams.replaying import at_speed, send_clicks
from streams.shoppers import Habits, generate_clicks, generate_columns
from streams.topics import TopicNames

MEDIAN_S, LONGEST_S = 5.0, 60.0
N_ITEMS, N_TRAINED, N_NEW = 500, 30_000, 20
PATIENCE_S = 60.0
TAIL_S = 10.0

Stamped = tuple[int, dict[str, Any]]
"""A record's time in ms, and what it holds."""


def main() -> None:
    """Measure, print and write."""
    flags = parser(__doc__)
    flags.add_argument("--rate", type=float, default=50.0, help="clicks a second")
    flags.add_argument("--every", type=float, default=5.0, help="seconds from one new item to the next")
    flags.add_argument("--logs", nargs="*", default=list(LOGS), choices=list(LOGS), help="to be replayed")
    flags.add_argument("--epochs", type=int, default=TrainingConfig().n_epochs, help="passes of training")
    asked = flags.parse_args()
    set_model_threads(1)
    set_index_threads(1)
    training = TrainingConfig(n_epochs=asked.epochs, seed=SEED)
    conditions = {"rate": asked.rate, "items": N_ITEMS, "new_items": N_NEW, "every_s": asked.every}
    conditions |= {"epochs": asked.epochs, "repeats": "all allowed in replays"}
    report = Report("fresh", conditions, asked.results, asked.note)
    asked.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fresh-", dir=asked.work) as name:
        folder = Path(name)
        report.body["live"] = live = measure_live(folder, asked.work, training, asked.rate, asked.every)
        print_table([live])
        print()
        report.body["replays"] = lines = []
        for log in asked.logs:
            lines += measure_replay(log, folder / "replayed", asked.data, training)
        print_table(lines)
    mark(report)
    report.write()


def mark(report: Report) -> None:
    """Set the figures beside what they should be."""
    live = report.body["live"]
    all_shown = live["recommended"] == live["items_clicked"] > 0
    marks = (("slowest", "longest_s", LONGEST_S), ("median", "median_s", MEDIAN_S))
    for which, name, most_s in marks:
        what = f"{which} new item: first click to first recommended, s"
        report.mark(what, f"<= {most_s:g}", live[name], all_shown and live[name] <= most_s)
    for line in report.body["replays"]:
        gain = line["recall"] - line["recall_without"]
        what = f"{line['log']}, {line['ranking']}: Recall@20 of all clicks, more than without"
        report.mark(what, "> 0", gain, gain > 0)


def measure_live(
    folder: Path, work: Path, training: TrainingConfig, rate: float, every_s: float
) -> dict[str, Any]:
    """Let shoppers click on items that appear while a worker serves."""
    past_ms = round(1000 * N_TRAINED / rate)
    habits = Habits(n_new_items=N_NEW, launch_every_ms=round(1000 * every_s), launch_from_ms=past_ms)
    with telling("training on the shop's past"):
        past = generate_columns(SEED, N_TRAINED, n_items=N_ITEMS, clicks_per_s=rate, habits=habits)
        snapshot = snapshot_of(part(past, past.time_ms < past_ms), folder / "live", training)
    n_clicks = round(rate * (every_s * N_NEW + LONGEST_S + TAIL_S))
    with open_site(work) as site:
        site.create(TopicNames(clicks=site.clicks_topic, snapshots=site.snapshots_topic))
        site.announce(snapshot)
        with site.run("fresh") as run, run.start_worker("w1", "--ranking", "nextclick") as worker:
            worker.wait_ready()
            say(f"{n_clicks:,} clicks, a new item every {every_s:g} s")
            begins_ms = round(1000 * time.time())
            clicks = generate_clicks(
                SEED, n_items=N_ITEMS, clicks_per_s=rate, start_ms=begins_ms - past_ms, habits=habits
            )
            live = dropwhile(lambda click: click.time_ms < begins_ms, clicks)
            send_clicks(site.connection, site.clicks_topic, islice(live, n_clicks), at_speed(1.0, begins_ms))
            return delays(
                read_values(site, site.clicks_topic, n_clicks),
                read_values(site, run.topics.recommendations, n_clicks),
                snapshot.vocabulary,
            )


def delays(clicks: Iterable[Stamped], answers: Iterable[Stamped], known: Container[str]) -> dict[str, Any]:
    """Seconds from the arrival of an item's first click to that of the first answer which holds it.

    Given are clicks and answers with the times of their records, in any order, and the items of the snapshot.
    Items first clicked within ``LONGEST_S`` of the last click are left out: their time may not be up.
    """
    first: dict[str, tuple[int, str]] = {}  # when, and in which session
    last_ms = 0
    for record_ms, click in clicks:
        last_ms = max(last_ms, record_ms)
        arrival = (record_ms, click["session_id"])
        if (item_id := click["item_id"]) not in known:
            first[item_id] = min(first.get(item_id, arrival), arrival)
    first = {
        item_id: arrival for item_id, arrival in first.items() if arrival[0] <= last_ms - 1000 * LONGEST_S
    }
    shown_ms: dict[str, int] = {}
    to_others_ms: dict[str, int] = {}
    for record_ms, answer in answers:
        for item_id in {item["item_id"] for item in answer["items"]} & first.keys():
            shown_ms[item_id] = min(shown_ms.get(item_id, record_ms), record_ms)
            if answer["session_id"] != first[item_id][1]:
                to_others_ms[item_id] = min(to_others_ms.get(item_id, record_ms), record_ms)
    waited_s, others_s = (
        [(at_ms - first[item_id][0]) / 1000 for item_id, at_ms in shown.items()]
        for shown in (shown_ms, to_others_ms)
    )
    return {
        "items_clicked": len(first),
        "recommended": len(waited_s),
        "median_s": median(waited_s) if waited_s else None,
        "longest_s": max(waited_s, default=None),
        "to_other_sessions": len(others_s),
        "others_median_s": median(others_s) if others_s else None,
        "others_longest_s": max(others_s, default=None),
    }


def read_values(site: Site, topic: str, n_records: int) -> Iterator[Stamped]:
    """Time stamps and values of a topic's records; raises BenchmarkError where there are not so many."""
    n_read = 0
    with closing(open_consumer(site.connection)) as consumer:
        consumer.assign([TopicPartition(topic, n) for n in range(site.n_partitions)])
        consumer.seek_to_beginning()
        while n_read < n_records:
            found = consumer.poll(timeout_ms=round(1000 * PATIENCE_S))
            if not found:
                raise BenchmarkError(f"{topic} holds {n_read:,} records, not {n_records:,}")
            for records in found.values():
                for record in records:
                    n_read += 1
                    yield record.timestamp, json.loads(record.value)


def measure_replay(log: str, folder: Path, data: Path, training: TrainingConfig) -> list[dict[str, Any]]:
    """Both rankings, with fresh items and without; nothing where the log is absent."""
    try:
        older, newer = LOGS[log](data)
    except ClickFileError as error:
        say(f"{log} is left out: {error}")
        return []
    with telling(f"training on {log}"):
        snapshot = snapshot_of(older, folder, training)
    lines = []
    for ranking in Ranking:
        say(f"replaying {log}, {ranking}")
        plain, found = (replay(snapshot, newer, ranking, rules) for rules in (None, FreshRules()))
        lines.append({"log": log, "ranking": str(ranking)} | _line(plain, found))
    shutil.rmtree(folder)
    return lines


def _line(plain: Replayed, found: Replayed) -> dict[str, Any]:
    figures = {
        "targets": found.all.targets,
        "on_new": found.new.targets,
        "recall": found.all.recall,
        "recall_without": plain.all.recall,
        "mrr": found.all.mrr,
        "mrr_without": plain.all.mrr,
        "new_recall": found.new.recall,
        "new_recall_without": plain.new.recall,
        "new_to_session_recall": found.new_to_session.recall,
        "known_recall": found.known.recall,
        "known_recall_without": plain.known.recall,
        "fresh_share": found.n_fresh / max(1, found.n_shown),
    }
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}


if __name__ == "__main__":
    command(main)
