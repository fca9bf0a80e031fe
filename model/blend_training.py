"""How the blend is learnt: from clicks that its encoder and its memory have not seen.

A listwise softmax: among the candidates of a click the one that was clicked next is to score highest. Clicks
whose target is no candidate teach nothing and are left out. The network starts as the encoder's own order.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.arrays import Float32Array, Int64Array
from model.blend import CLICKS_AT_ONCE, Blend
from model.blend_candidates import FEATURES, NEAREST, gather
from model.blend_memory import ItemMemory
from model.blend_ranker import recent_rows
from model.encoder_protocol import Encoder
from model.optimizer import Adam
from model.ranking import Search, states_after_clicks
from model.sequences import Sequences

FEWEST_CLICKS: Final = 200
"""From fewer clicks no order is learnt that is better than the encoder's own."""
MOST_CLICKS: Final = 20_000
MOST_OF_A_SESSION: Final = 200
"""Nobody clicks so often; of a robot the last clicks count, which must not push everybody else out."""
N_UNITS: Final = 32
CLICKS_PER_UPDATE: Final = 128
N_UPDATES: Final = 1_000
MOST_PASSES: Final = 30
LEARNING_RATE: Final = 5e-3
WEIGHT_DECAY: Final = 1e-3


class Examples(NamedTuple):
    """Clicks with their candidates, all in one row; those of click i are `starts[i]:starts[i + 1]`."""

    features: Float32Array  # (n_candidates, n_features)
    starts: Int64Array  # (n_clicks + 1,)
    targets: Int64Array  # the place of the candidate that was clicked next; (n_clicks,)


def learn_blend(
    memory: ItemMemory,
    encoder: Encoder,
    search: Search,
    held_out: Sequences,
    seed: int = 0,
    state_dtype: npt.DTypeLike = np.float16,
) -> Blend | None:
    """Learn how to order candidates.

    Args:
        memory: made without the held-out sessions.
        encoder: trained without them.
        search: of an index of the encoder's items.
        held_out: what to learn from, oldest first; the newest `MOST_CLICKS` of it, and of a session its
            last `MOST_OF_A_SESSION`.
        seed: of weights and order.
        state_dtype: see `model.ranking.EncoderRanker`.

    Returns:
        None where there are fewer than `FEWEST_CLICKS` to learn from.
    """
    examples = collect(memory, encoder, search, _newest(held_out), state_dtype)
    return fit(examples, seed) if len(examples.targets) >= FEWEST_CLICKS else None


def _newest(held_out: Sequences) -> Sequences:
    sessions = held_out.drop_short(2).keep_last(MOST_OF_A_SESSION)
    targets = np.cumsum((sessions.lengths - 1)[::-1])
    n_taken = int(np.searchsorted(targets, MOST_CLICKS, side="right"))
    return sessions.select(len(sessions) - n_taken, len(sessions))


def collect(
    memory: ItemMemory,
    encoder: Encoder,
    search: Search,
    sequences: Sequences,
    state_dtype: npt.DTypeLike = np.float16,
) -> Examples:
    """Gather the candidates of all clicks whose next one is among them."""
    features: list[Float32Array] = [np.empty((0, len(FEATURES)), dtype=np.float32)]
    counts: list[Int64Array] = [np.empty(0, dtype=np.int64)]
    targets: list[Int64Array] = [np.empty(0, dtype=np.int64)]
    n_gathered = 0
    for clicks, states, known in states_after_clicks(encoder, sequences, state_dtype):
        clicks, states = clicks[known], states[known]
        for begin in range(0, len(clicks), CLICKS_AT_ONCE):
            part = clicks[begin : begin + CLICKS_AT_ONCE]
            scores, nearest = search(
                encoder.queries(states[begin : begin + CLICKS_AT_ONCE]), min(NEAREST, memory.n_items)
            )
            recent = recent_rows(sequences, part)
            found = gather(memory, scores, nearest, recent)
            of_click = np.repeat(np.arange(len(part)), found.counts)
            hits = found.rows == sequences.rows[part + 1][of_click]
            taught = np.bincount(of_click[hits], minlength=len(part)) > 0
            kept = taught[of_click]
            features.append(found.features[:, kept].T)
            counts.append(found.counts[taught])
            targets.append(n_gathered + np.flatnonzero(hits[kept]))
            n_gathered += int(kept.sum())
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return Examples(np.concatenate(features), starts, np.concatenate(targets))


def fit(examples: Examples, seed: int = 0) -> Blend:
    """Find the weights: Adam with decay, its rate falling along half a cosine."""
    mean = examples.features.mean(axis=0)
    deviation = examples.features.std(axis=0) + np.float32(1e-3)
    network = _Network(np.float32(deviation[FEATURES.index("lstm")]), seed)
    inputs = torch.from_numpy((examples.features - mean) / deviation)
    parameters = list(network.parameters())
    optimizer = Adam()  # torch's own imports its compiler: some seconds, and more memory than the learning
    generator = np.random.default_rng(seed)
    n_clicks = len(examples.targets)
    n_updates = max(min(N_UPDATES, MOST_PASSES * n_clicks // CLICKS_PER_UPDATE), 1)
    n_passes = -(-n_updates * CLICKS_PER_UPDATE // n_clicks)
    order = np.concatenate([generator.permutation(n_clicks) for _ in range(n_passes)])
    for update in range(n_updates):
        clicks = order[update * CLICKS_PER_UPDATE : (update + 1) * CLICKS_PER_UPDATE]
        learning_rate = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * update / n_updates))
        gradients = torch.autograd.grad(_loss(network, inputs, examples, clicks), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            with torch.no_grad():
                parameter.mul_(1.0 - learning_rate * WEIGHT_DECAY)
            optimizer.update(parameter, gradient, learning_rate)
    return network.folded(mean, deviation)


class _Network(nn.Module):
    """The blend while it learns, over standardised features."""

    def __init__(self, encoder_weight: np.float32, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        n_features = len(FEATURES)
        self.linear = nn.Parameter(torch.zeros(n_features))
        self.first = nn.Parameter(torch.randn(N_UNITS, n_features, generator=generator) / n_features**0.5)
        self.first_bias = nn.Parameter(torch.zeros(N_UNITS))
        self.second = nn.Parameter(torch.randn(N_UNITS, N_UNITS, generator=generator) / N_UNITS**0.5)
        self.second_bias = nn.Parameter(torch.zeros(N_UNITS))
        self.output = nn.Parameter(torch.zeros(N_UNITS))
        with torch.no_grad():
            self.linear[FEATURES.index("lstm")] = float(encoder_weight)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of candidates; (n, n_features) → (n,)."""
        hidden = torch.relu(torch.addmm(self.first_bias, x, self.first.T))
        hidden = torch.relu(torch.addmm(self.second_bias, hidden, self.second.T))
        return hidden @ self.output + x @ self.linear

    def folded(self, mean: Float32Array, deviation: Float32Array) -> Blend:
        """The same for features as they are; a constant, equal for all candidates, is left out."""
        weights = {name: value.detach().numpy().copy() for name, value in self.named_parameters()}
        weights["first"] /= deviation
        weights["first_bias"] -= weights["first"] @ mean
        weights["linear"] /= deviation
        return Blend(**weights)


def _loss(network: _Network, inputs: Tensor, examples: Examples, clicks: Int64Array) -> Tensor:
    """Mean over the clicks of -log softmax of the target among the click's candidates."""
    starts = examples.starts[clicks]
    counts = examples.starts[clicks + 1] - starts
    ends = np.cumsum(counts)
    places = np.arange(int(ends[-1])) + np.repeat(starts - (ends - counts), counts)
    scores = network(inputs[torch.from_numpy(places)])
    of_click = torch.from_numpy(np.repeat(np.arange(len(clicks)), counts))
    largest = torch.full((len(clicks),), -math.inf).scatter_reduce(0, of_click, scores.detach(), "amax")
    sums = torch.zeros(len(clicks)).index_add(0, of_click, (scores - largest[of_click]).exp())
    targets = torch.from_numpy(examples.targets[clicks] - starts + (ends - counts))
    loss: Tensor = (sums.log() + largest - scores[targets]).mean()
    return loss
