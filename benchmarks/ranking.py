"""What the served ranking costs a click: the recommender with ``ranking = nextclick`` beside ``lstm``.

No Kafka and no table: batches of clicks of real sessions go through ``Recommender.answer`` itself, in one
process and one thread. Each size of batch is measured in rounds, both rankings in turn, and the best round
counts: other programs only ever make one slower.
"""

import time
from collections.abc import Iterator

import numpy as np

from benchmarks.report import Report, Say, command, parser, print_table
from benchmarks.served import Served, serve
from benchmarks.vectors import Trained, trained_model
from index.approximate import set_threads as set_index_threads
from model.threads import set_threads as set_model_threads
from streams.events import Click
from streams.manifest import RANKING_FILE
from streams.ranking import Ranking
from streams.recommender import Arrival, Recommender, SessionRef
from streams.session import Session
from streams.snapshot import Snapshot

SIZES = (20_000, 100_000)
BATCHES = (1, 7, 100, 500)
N_CLICKS = 2_000
ROUNDS = 3
MARK_US = 130.0


def main() -> None:
    """Measure, print and write."""
    asked = parser(__doc__).parse_args()
    set_model_threads(1)
    set_index_threads(1)
    trained = trained_model(asked.work, asked.data, Say())
    conditions = {"clicks": trained.source, "batches": BATCHES, "rounds": ROUNDS, "clicks_a_round": N_CLICKS}
    report = Report("ranking", conditions, asked.results, asked.note)
    lines = []
    for n_items in SIZES:
        served = serve(asked.work, trained, n_items)
        snapshot, arrivals = served.snapshot, clicks_of(served, trained)
        for n_batch in BATCHES:
            micros = dict.fromkeys(Ranking, np.inf)
            for _ in range(ROUNDS):
                for ranking in Ranking:
                    micros[ranking] = min(micros[ranking], measure(snapshot, ranking, arrivals, n_batch))
            lstm_us, nextclick_us = micros[Ranking.LSTM], micros[Ranking.NEXTCLICK]
            lines.append(
                {
                    "items": n_items,
                    "batch": n_batch,
                    "lstm_us": round(lstm_us, 1),
                    "nextclick_us": round(nextclick_us, 1),
                    "extra_us": round(nextclick_us - lstm_us, 1),
                    "ranking_mb": round(snapshot.manifest.files[RANKING_FILE].bytes / 1e6, 1),
                }
            )
    print_table(lines)
    report.body["ranking"] = lines
    extra = max(line["extra_us"] for line in lines if (line["items"], line["batch"]) == (20_000, 500))
    report.mark("20,000 items, batches of 500: µs more a click", f"<= {MARK_US:g}", extra, extra <= MARK_US)
    report.write()


def clicks_of(served: Served, trained: Trained) -> list[Arrival]:
    """Clicks of held-out sessions, interleaved as a shop's are: the n-th of each of 500 side by side."""
    sessions = served.catalogue.sessions(trained.held_out)
    order = np.lexsort(
        (
            np.arange(sessions.n_clicks) - np.repeat(sessions.starts[:-1], sessions.lengths),
            np.repeat(np.arange(len(sessions)) // 500, sessions.lengths),
        )
    )
    owner = np.repeat(np.arange(len(sessions)), sessions.lengths)
    known = order[sessions.rows[order] >= 0][:N_CLICKS]
    names = served.snapshot.vocabulary.item_ids
    return [
        Arrival(Click(f"s-{owner[at]}", names[sessions.rows[at]], 0), 0, offset, 0)
        for offset, at in enumerate(known.tolist())
    ]


def measure(snapshot: Snapshot, ranking: Ranking, arrivals: list[Arrival], n_batch: int) -> float:
    """Microseconds a click."""
    recommender = Recommender(snapshot, ranking=ranking)
    sessions: dict[SessionRef, Session] = {}
    spent = 0.0
    for batch in batches(arrivals, n_batch):
        began = time.perf_counter()
        answers = recommender.answer(batch, sessions, created_ms=0)
        spent += time.perf_counter() - began
        sessions |= answers.sessions
    return spent / len(arrivals) * 1e6


def batches(arrivals: list[Arrival], n_batch: int) -> Iterator[list[Arrival]]:
    """The clicks, so many at a time."""
    for begin in range(0, len(arrivals), n_batch):
        yield arrivals[begin : begin + n_batch]


if __name__ == "__main__":
    command(main)
