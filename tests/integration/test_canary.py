"""A canary in the real worker: its share of the sessions, each on one side, and a bad one given back."""

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deploy.cli.main import run
from index.build import build_index
from model.blend import Blend, BlendedRanking
from model.blend_candidates import FEATURES
from model.blend_memory import ItemMemory
from model.encoder import EncoderConfig, SessionEncoder
from model.sequences import Sequences
from model.vocabulary import Vocabulary
from streams.canary import is_on_canary_side
from streams.snapshot import Provenance, Snapshot, save_snapshot
from tests.integration.harness import Position, click_value, produce, wait_until_answered
from tests.integration.site import N_ITEMS, Site

pytestmark = pytest.mark.kafka

N_SESSIONS = 10_000
GIVEN_BACK_WITHIN_S = 60


def make_snapshot(folder: Path, seed: int, *, sabotaged: bool = False) -> Snapshot:
    """A snapshot that knows which item follows which, or has learnt that from noise."""
    order = np.random.default_rng(seed).permutation(N_ITEMS) if sabotaged else np.arange(N_ITEMS)
    sessions = [order[np.arange(begin, begin + 4) % N_ITEMS].tolist() for begin in range(N_ITEMS)]
    linear = np.zeros(len(FEATURES), dtype=np.float32)
    linear[FEATURES.index("forward")] = 1.0
    n_units, n_features = 1, len(FEATURES)
    shapes = {
        "first": (n_units, n_features),
        "first_bias": (n_units,),
        "second": (n_units, n_units),
        "second_bias": (n_units,),
        "output": (n_units,),
    }
    zeros = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes.items()}
    ranking = BlendedRanking(
        ItemMemory.remember(Sequences.from_lists(sessions), N_ITEMS), Blend(linear=linear, **zeros)
    )
    encoder = SessionEncoder(EncoderConfig(n_units=24, embedding_dim=24), N_ITEMS, seed=seed).eval()
    vocabulary = Vocabulary([f"item-{n}" for n in range(N_ITEMS)], np.arange(N_ITEMS, 0, -1, dtype=np.int64))
    index = build_index(encoder.item_vectors())
    return save_snapshot(str(folder), encoder, vocabulary, index, Provenance(), ranking=ranking)


class Shoppers:
    """People who click from item to item, until told to stop."""

    def __init__(self, site: Site, rate: float) -> None:
        self.positions: list[Position] = []
        self._site, self._rate = site, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.positions = produce(self._site.servers, self._site.topics.clicks, self._clicks(), self._rate)

    def _clicks(self) -> Iterator[tuple[bytes, bytes]]:
        chance, places, n = random.Random(1), [0] * 200, 0
        while not self._stop.is_set() and n < self._rate * 120:
            who, n = chance.randrange(len(places)), n + 1
            places[who] = (places[who] + chance.choice((1, 1, 1, 2))) % N_ITEMS
            session = f"shopper-{who}"
            yield session.encode(), click_value(session, f"item-{places[who]}")

    def __enter__(self) -> "Shoppers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def promote(*arguments: str) -> float:
    assert run(["snapshots", "promote", *arguments]) == 0
    return time.monotonic()


def answering(site: Site, n_clicks: int, name: str) -> dict[str, list[str]]:
    """Click once more in each of the sessions and give the versions that answered each, as they came."""
    clicks = [
        (f"{name}-{n}".encode(), click_value(f"{name}-{n}", f"item-{n % N_ITEMS}")) for n in range(n_clicks)
    ]
    positions = produce(site.servers, site.topics.clicks, clicks)
    return versions_by_session(site, positions)


def versions_by_session(site: Site, positions: list[Position]) -> dict[str, list[str]]:
    answers = wait_until_answered(site.servers, site.topics.recommendations, positions)
    versions: dict[str, list[str]] = {}
    for position in sorted(positions):
        for answer in answers[position]:
            versions.setdefault(answer["session_id"], []).append(answer["snapshot"])
    return versions


def test_a_tenth_of_the_sessions_stays_with_the_canary_and_a_bad_one_is_given_back(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NEXTCLICK_SNAPSHOTS", str(site.folder / "snapshots"))
    snapshots = site.folder / "snapshots"
    good, better = make_snapshot(snapshots, 1), make_snapshot(snapshots, 2)
    promote(good.version)
    promote(better.version, "--as", "canary")

    first = site.worker("w1").start().wait_ready()
    before = answering(site, N_SESSIONS, "s")
    assert first.stop() == 0
    second = site.worker("w2").start().wait_ready()
    after = answering(site, N_SESSIONS, "s")
    assert set(map(tuple, before.values())) == {(good.version,), (better.version,)}
    assert before == after  # each on its side, in another worker too
    on_canary = {session for session, versions in before.items() if versions == [better.version]}
    assert 0.09 <= len(on_canary) / N_SESSIONS <= 0.11

    bad = make_snapshot(snapshots, 3, sabotaged=True)
    with Shoppers(site, rate=200) as shoppers:
        time.sleep(3)
        announced_s = promote(bad.version, "--as", "canary", "--force")
        while "the canary is given back" not in second.text():
            assert time.monotonic() < announced_s + GIVEN_BACK_WITHIN_S, second.text()[-2000:]
            time.sleep(0.1)
        given_back_s = time.monotonic() - announced_s
        time.sleep(2)
    found = versions_by_session(site, shoppers.positions)
    assert given_back_s <= GIVEN_BACK_WITHIN_S
    assert bad.version in {version for versions in found.values() for version in versions}
    for session, versions in found.items():
        changes = [version for at, version in enumerate(versions) if at == 0 or versions[at - 1] != version]
        on_side = (better, bad, good) if is_on_canary_side(session, 0.1) else (good,)
        assert changes == [one.version for one in on_side if one.version in changes]
    capsys.readouterr()
    assert run(["snapshots", "canary"]) == 0
    assert f"no canary is announced; the last one: {bad.version} is worse" in capsys.readouterr().out
    assert run(["snapshots", "list", "--json"]) == 0
    rows = {row["version"]: row["serves"] for row in json.loads(capsys.readouterr().out)["snapshots"]}
    assert rows == {good.version: ["production"], better.version: [], bad.version: []}
    assert second.metric("nextclick_snapshot_decisions_total") == 1
    assert second.stop() == 0
