"""A training that was interrupted ends as one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.encoder import EncoderConfig, SessionEncoder
from model.resuming import Checkpoint
from model.sequences import Sequences
from model.threads import set_threads
from model.training import Progress, TrainingConfig, train
from tests.model.markov import markov_sessions

N_ITEMS = 30
ENCODER = EncoderConfig(n_units=8, embedding_dim=8)
TRAINING = TrainingConfig(n_epochs=2, n_lanes=8)
LONGER = replace(TRAINING, n_epochs=6)
"""Lasts some tenths of a second, to be killed within."""


class Interrupted(Exception):
    """What whoever is told of progress may raise."""


class After:
    """Interrupts a training some updates after it began."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, progress: Progress) -> None:
        self.n -= 1
        if self.n < 0:
            raise Interrupted


@pytest.fixture(autouse=True)
def told_of_every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.training.PROGRESS_EVERY_S", 0.0)


@pytest.fixture(scope="module")
def sessions() -> Sequences:
    return markov_sessions(60, N_ITEMS, 0.1, seed=2)  # 26 updates in a pass


def weights(encoder: SessionEncoder) -> dict[str, torch.Tensor]:
    return dict(encoder.state_dict())


def assert_equal(one: SessionEncoder, other: SessionEncoder) -> None:
    for name, value in weights(one).items():
        assert torch.equal(value, weights(other)[name]), name


@pytest.mark.parametrize(
    "config",
    [
        TRAINING,
        replace(TRAINING, full_softmax_up_to=10, n_negatives=16),
        replace(TRAINING, optimizer="adagrad", learning_rate=0.05),
    ],
    ids=["all items", "sampled", "adagrad"],
)
def test_interrupted_again_and_again_it_ends_as_if_it_never_was(
    sessions: Sequences, tmp_path: Path, config: TrainingConfig
) -> None:
    whole = train(sessions, N_ITEMS, ENCODER, config)
    n_interrupted = 0
    while True:
        checkpoint = Checkpoint(tmp_path / "run.safetensors")
        try:
            stop = After(7)
            resumed = train(sessions, N_ITEMS, ENCODER, config, on_progress=stop, checkpoint=checkpoint)
            break
        except Interrupted:
            n_interrupted += 1
    assert n_interrupted > 3
    assert_equal(resumed, whole)
    again = train(sessions, N_ITEMS, ENCODER, config, checkpoint=Checkpoint(tmp_path / "run.safetensors"))
    assert_equal(again, whole)  # nothing was left to do


def test_progress_goes_on_from_where_it_was(sessions: Sequences, tmp_path: Path) -> None:
    path, told = tmp_path / "run.safetensors", list[Progress]()
    with pytest.raises(Interrupted):
        train(sessions, N_ITEMS, ENCODER, TRAINING, on_progress=After(30), checkpoint=Checkpoint(path))
    train(sessions, N_ITEMS, ENCODER, TRAINING, on_progress=told.append, checkpoint=Checkpoint(path))
    assert told[0].clicks_done > 30
    assert told[-1].clicks_done == told[-1].clicks_total == 2 * sessions.n_targets


def test_what_is_of_another_run_is_not_gone_on_with(sessions: Sequences, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        train(sessions, N_ITEMS, ENCODER, TRAINING, on_progress=After(30), checkpoint=Checkpoint(path))
    fewer = sessions.select(0, len(sessions) - 1)
    for others, config in ((fewer, TRAINING), (sessions, replace(TRAINING, seed=1))):
        found = train(others, N_ITEMS, ENCODER, config, checkpoint=Checkpoint(path))
        assert_equal(found, train(others, N_ITEMS, ENCODER, config))


def test_a_damaged_file_costs_the_checkpoint_and_not_the_training(
    sessions: Sequences, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(Interrupted):
        train(sessions, N_ITEMS, ENCODER, TRAINING, on_progress=After(30), checkpoint=Checkpoint(path))
    path.write_bytes(path.read_bytes()[:100])
    whole = train(sessions, N_ITEMS, ENCODER, TRAINING)
    assert_equal(train(sessions, N_ITEMS, ENCODER, TRAINING, checkpoint=Checkpoint(path)), whole)
    (tmp_path / "file").write_text("")
    nowhere = Checkpoint(tmp_path / "file" / "run.safetensors", every_s=0.0)
    assert_equal(train(sessions, N_ITEMS, ENCODER, TRAINING, checkpoint=nowhere), whole)


def train_on(folder: Path) -> None:
    """Train with a checkpoint after every update, and save the weights."""
    given = json.loads((folder / "sessions.json").read_text())
    checkpoint = Checkpoint(folder / "run.safetensors", every_s=0.0)
    (folder / "started").touch()
    encoder = train(Sequences.from_lists(given), N_ITEMS, ENCODER, LONGER, checkpoint=checkpoint)
    save_file(weights(encoder), folder / "done.safetensors")


def kill_at_random_moments(folder: Path, n_kills: int) -> None:
    """Let children train until one is left to end; each begins as a fork, for torch takes long to import."""
    set_threads(1)
    moments = random.Random(4)
    for kills_left in range(n_kills, -1, -1):
        (folder / "started").unlink(missing_ok=True)
        if (child := os.fork()) == 0:
            try:
                train_on(folder)
            finally:
                os._exit(0 if (folder / "done.safetensors").exists() else 1)
        while not (folder / "started").exists():
            time.sleep(0.002)
        if kills_left:
            time.sleep(moments.uniform(0.0, 0.15))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_killed_at_random_moments_it_ends_as_if_it_never_was(sessions: Sequences, tmp_path: Path) -> None:
    lists = [sessions.session(i).tolist() for i in range(len(sessions))]
    (tmp_path / "sessions.json").write_text(json.dumps(lists))
    subprocess.run([sys.executable, "-m", __name__, str(tmp_path)], cwd=Path.cwd(), check=True, timeout=120)
    whole = weights(train(sessions, N_ITEMS, ENCODER, LONGER))
    for name, value in load_file(tmp_path / "done.safetensors").items():
        assert torch.equal(value, whole[name]), name


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    kill_at_random_moments(Path(sys.argv[1]), n_kills=3)
