"""How good answers stay when what serves is refreshed all day, beside training from the start every time.

Without Kafka, by the trainer's own functions: a log's first part is trained on, the rest comes in slices, and
each is foretold by what was made of the clicks before it. One snapshot is never trained again, one is
refreshed before every slice, one is trained from the start before every slice; the gate judges each.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.report import Report, command, parser, print_table, say
from benchmarks.splits import SEED, newest_apart
from index.approximate import set_threads as set_index_threads
from model.blend_ranker import BlendRanker
from model.evaluation import measure
from model.metrics import METRICS
from model.prequential import Slice, Stream
from model.ranking import EncoderRanker, Ranker
from model.threads import set_threads as set_model_threads
from model.training import RefreshConfig, TrainingConfig
from streams.candidate import Candidate, Log
from streams.clickfile import ClickColumns, ClickFileError, read_click_file
from streams.gate import Ground, judge
from streams.kafka import KafkaConnection
from streams.manifest import Provenance, TrainingWindow
from streams.refreshing import refreshed, since
from streams.session import STATE_DTYPE
from streams.shoppers import Habits, drifting, generate_columns
from streams.snapshot import Snapshot, save_snapshot
from streams.topics import TopicNames
from streams.training import trained
from streams.training_plan import TrainerPlan
from streams.unfinished import Unfinished

GAP_MS: Final = 30 * 60_000
K: Final = 20
LEAST: Final = 0.98
"""Of the Recall@20 that training from the start before every slice has."""
REFRESHES: Final[Mapping[str, RefreshConfig]] = {
    "refresh": RefreshConfig(),
    "refresh, all passes": RefreshConfig(most_clicks=1_000_000_000),
}
"""As it is, and without the rule for many new clicks."""


class Case(NamedTuple):
    """A log, the share of its clicks that is trained on beforehand, and the slices of the rest."""

    read: Callable[[Path], ClickColumns]
    base: float
    n_slices: int


def _yoochoose64(folder: Path, newest: float = 1.0) -> ClickColumns:
    clicks = read_click_file(folder / "yoochoose64" / "train.tsv.gz")
    return clicks if newest == 1.0 else newest_apart(clicks, newest)[1]


def _drift(folder: Path) -> ClickColumns:
    """Five hours and a half of a shop that is another after six, in what is popular and what follows."""
    n_clicks, clicks_per_s = 40_000, 2.0
    habits = drifting(Habits(n_new_items=50, launch_every_ms=300_000), 6 * 3_600_000)
    return generate_columns(SEED, n_clicks, n_items=500, clicks_per_s=clicks_per_s, habits=habits)


CASES: Final[Mapping[str, Case]] = {
    "shoppers, a drift": Case(_drift, 0.6, 10),
    "yoochoose64, newest eighth": Case(partial(_yoochoose64, newest=0.125), 0.7, 10),
    "yoochoose64": Case(_yoochoose64, 0.7, 10),
    "yoochoose64, 100,000 new clicks": Case(_yoochoose64, 0.6, 2),
}
"""By name. The last is one large refresh; in the others each is of some thousand clicks."""
USUAL: Final = ("shoppers, a drift", "yoochoose64, newest eighth", "yoochoose64, 100,000 new clicks")


@dataclass
class Way:
    """A way of keeping a snapshot fresh, and how it did."""

    name: str
    learn: Callable[[Snapshot, "Moment"], Candidate] | None
    serving: Snapshot
    seconds: float = 0.0
    refused: int = 0
    recalls: list[float] = field(default_factory=list)
    targets: int = 0
    sums: Any = field(default_factory=lambda: np.zeros(len(METRICS)))


class Moment(NamedTuple):
    """What a trainer would find: clicks up to now, those that it reads, and where the gate compares."""

    log: Log
    ground: Ground


def main() -> None:
    """Measure, print and write."""
    flags = parser(__doc__)
    flags.add_argument("--logs", nargs="*", default=list(USUAL), choices=list(CASES))
    flags.add_argument("--slices", type=int, default=0, help="of each log; 0: as many as it has")
    flags.add_argument("--last", type=float, default=1.0, help="only this newest share of each log")
    flags.add_argument("--epochs", type=int, default=TrainingConfig().n_epochs, help="from the start")
    flags.add_argument("--seed", type=int, default=1)
    asked = flags.parse_args()
    set_model_threads(1)
    set_index_threads(1)
    training = TrainingConfig(n_epochs=asked.epochs, seed=asked.seed)
    conditions = {"epochs": asked.epochs, "seed": asked.seed, "refresh": str(RefreshConfig())}
    conditions |= {"last": asked.last, "first_slice": "left out, nothing is learnt before it"}
    report = Report("refresh", conditions, asked.results, asked.note)
    report.body["figures"] = lines = []
    asked.work.mkdir(parents=True, exist_ok=True)
    for name in asked.logs:
        case = CASES[name]
        try:
            clicks = case.read(asked.data)
        except ClickFileError as error:
            say(f"{name} is left out: {error}")
            continue
        clicks = clicks if asked.last == 1.0 else newest_apart(clicks, asked.last)[1]
        with tempfile.TemporaryDirectory(prefix="refresh-", dir=asked.work) as folder:
            day = Day(clicks, case.base, asked.slices or case.n_slices, Path(folder).absolute(), training)
            lines += [{"log": name} | line for line in day.run()]
        print_table([{key: value for key, value in line.items() if key != "recalls"} for line in lines])
    mark(report)
    report.write()


def mark(report: Report) -> None:
    """Set the figures beside what they should be."""
    for line in report.body["figures"]:
        if line["way"] == "refresh":
            what = f"{line['log']}: Recall@20 when refreshed, of that when always trained from the start"
            report.mark(what, f">= {LEAST:g}", line["of_full"], line["of_full"] >= LEAST)
        elif line["way"] == "never":
            report.mark(f"{line['log']}: the same when never trained again", "", line["of_full"], None)


class Day:
    """A log's slices, one after the other, foretold by every way."""

    def __init__(
        self, clicks: ClickColumns, base: float, n_slices: int, folder: Path, training: TrainingConfig
    ) -> None:
        self._clicks = clicks
        self._n_slices = n_slices
        self._folder = folder
        self._plan = TrainerPlan(KafkaConnection(), TopicNames(), str(folder), training=training)
        self._whole = Log.cut(clicks, clicks.time_ms, GAP_MS)
        self._begin_ms = int(clicks.time_ms[round(len(clicks) * base)])

    def run(self, refreshes: Mapping[str, RefreshConfig] = REFRESHES) -> list[dict[str, Any]]:
        """The figures of each way, without the first slice."""
        places = self._whole.places
        times_ms = self._clicks.time_ms[places.rows]
        n_before = int(np.searchsorted(self._whole.ended_ms, self._begin_ms))
        later = places.select(n_before, len(places))
        stream = Stream.of(later, times_ms[places.starts[n_before] :])
        began = time.perf_counter()
        first = self._moment(None, self._begin_ms, 0)
        made = self._publish(self._full(None, first), first, None)
        assert made is not None  # nothing is compared where nothing serves
        say(f"{len(first.log.clicks):,} of {len(self._clicks):,} clicks: {time.perf_counter() - began:.0f} s")
        ways = [
            Way("never", None, made),
            *(Way(name, partial(self._refresh, how), made) for name, how in refreshes.items()),
            Way("full", self._full, made),
        ]
        for number, part in enumerate(stream.slices(self._n_slices)):
            if number:
                for way in ways:
                    self._learn(way, part)
                    self._foretell(way, part, n_before)
                told = ", ".join(f"{way.name} {way.recalls[-1]:.4f}" for way in ways)
                say(f"slice {number + 1}, {part.n_targets:,} targets: {told}")
        full = ways[-1]
        return [_line(way, full) for way in ways]

    def _moment(self, serving: Snapshot | None, now_ms: int, from_ms: int) -> Moment:
        times_ms = self._clicks.time_ms
        part = slice(int(np.searchsorted(times_ms, from_ms)), int(np.searchsorted(times_ms, now_ms)))
        clicks = ClickColumns(
            self._clicks.session_ids[part], self._clicks.item_ids[part], self._clicks.time_ms[part]
        )
        log = Log.cut(clicks, clicks.time_ms, GAP_MS)
        return Moment(log, log.ground(None if serving is None else serving.manifest.provenance.window))

    def _learn(self, way: Way, part: Slice) -> None:
        """What a trainer of this way does at the slice's beginning; what the gate refuses is not served."""
        if way.learn is None:
            return
        from_ms, window = 0, way.serving.manifest.provenance.window
        if way.name != "full":
            found = since(window, GAP_MS, self._plan.rehearsed_clicks)
            assert found is not None
            from_ms = found
        moment = self._moment(way.serving, part.begin_ms, from_ms)
        began = time.perf_counter()
        candidate = way.learn(way.serving, moment)
        made = self._publish(candidate, moment, way.serving)
        way.seconds += time.perf_counter() - began
        if made is None:
            way.refused += 1
        else:
            way.serving = made

    def _full(self, serving: Snapshot | None, moment: Moment) -> Candidate:
        nowhere = Unfinished(None, "")
        candidate, _ = trained(
            self._plan, moment.log, moment.ground, nowhere, lambda stage, progress: None, lambda stage: None
        )
        return candidate

    def _refresh(self, refresh: RefreshConfig, serving: Snapshot, moment: Moment) -> Candidate:
        training = self._plan.training
        return refreshed(
            serving, moment.log, moment.ground, training, refresh, lambda progress: None, lambda: None
        )

    def _publish(self, candidate: Candidate, moment: Moment, serving: Snapshot | None) -> Snapshot | None:
        """Save it and have it judged; None where the gate refuses it."""
        log, ground = moment

        def verdict_on(saved: Snapshot) -> Provenance:
            trial = None if serving is None else log.trial(saved, serving, ground, candidate.blind)
            window = TrainingWindow(
                n_clicks=len(log.clicks),
                first_ms=int(log.arrival_ms[0]),
                until_ms=int(log.arrival_ms[-1]),
                learnt_until_ms=int(log.ended_ms[ground.n_learnt - 1]),
            )
            verdict = judge(saved, trial, candidate.sessions, self._plan.bounds)
            return Provenance(window=window, gate=verdict)

        parts = (candidate.encoder, candidate.vocabulary, candidate.index)
        saved = save_snapshot(
            str(self._folder), *parts, Provenance(), ranking=candidate.ranking, judge=verdict_on
        )
        verdict = saved.manifest.provenance.gate
        if verdict is not None and verdict.refused:
            say(f"refused: {'; '.join(verdict.reasons)}")
            return None
        return saved

    def _foretell(self, way: Way, part: Slice, n_before: int) -> None:
        sessions = self._whole.rows_for(way.serving, part.sessions + n_before)
        found = measure(_ranker(way.serving), sessions, K, ("all",), counted=part.counted)["all"]
        way.recalls.append(found.accuracy().recall)
        way.targets += int(found.targets.sum())
        way.sums += found.sums.sum(axis=0)


def _ranker(snapshot: Snapshot) -> Ranker:
    parts = (snapshot.encoder, snapshot.index.search, snapshot.vocabulary.counts)
    if snapshot.ranking is None:
        return EncoderRanker(*parts, STATE_DTYPE)
    return BlendRanker(*parts, snapshot.ranking, STATE_DTYPE)


def _line(way: Way, full: Way) -> dict[str, Any]:
    recall, mrr = (way.sums[METRICS.index(name)] / way.targets for name in ("recall", "mrr"))
    of_full = way.sums[METRICS.index("recall")] / full.sums[METRICS.index("recall")]
    return {
        "way": way.name,
        "targets": way.targets,
        "recall": round(float(recall), 4),
        "mrr": round(float(mrr), 4),
        "of_full": round(float(of_full), 4),
        "refused": way.refused,
        "seconds": round(way.seconds, 1),
        "recalls": [round(one, 4) for one in way.recalls],
    }


if __name__ == "__main__":
    command(main)
