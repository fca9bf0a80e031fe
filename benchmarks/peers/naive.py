"""The naive app: the whole job one click at a time, with the parts that anybody would take.

A Faust table in RocksDB holds the sessions' states, a torch LSTM cell makes a step, a FAISS graph is
searched, the answer goes out as JSON by ``topic.send``. It makes no promise about crashes.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

from pathlib import Path
from typing import Any

import faiss
import faust
import msgspec
import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.peers.plain import arguments, make_app, raw_topic, run
from index.approximate import same_length
from model.checkpoint import load_encoder
from model.vocabulary import Vocabulary
from streams.snapshot import ENCODER_FILE, ITEMS_FILE, Snapshot

NEIGHBOURS, EF_CONSTRUCTION = 32, 200
EF_SEARCH = 32
"""As little as finds 99 % of the best 20 among 20,000 trained items."""
K = 20
GRAPH_FILE = "graph.faiss"


def prepare(snapshot: Snapshot, folder: Path) -> None:
    """Write the graph that the app searches; the rest it takes from the snapshot's folder."""
    vectors = same_length(snapshot.encoder.item_vectors())
    graph = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EF_CONSTRUCTION
    graph.hnsw.efSearch = EF_SEARCH
    graph.add(vectors)
    faiss.write_index(graph, str(folder / GRAPH_FILE))


class Model:
    """The network in torch's own parts, the graph, and the names of the items."""

    def __init__(self, folder: Path, graph: Path) -> None:
        encoder = load_encoder(folder / ENCODER_FILE)
        vocabulary = Vocabulary.load(folder / ITEMS_FILE)
        self.row_of = {item_id: row for row, item_id in enumerate(vocabulary.item_ids)}
        self.item_ids = vocabulary.item_ids
        self.n_units = encoder.config.n_units
        self._items = encoder.unit(encoder.items.detach()).contiguous()
        self._scale = float(torch.as_tensor(encoder.scale()).detach())
        self._cell = torch.nn.LSTMCell(encoder.config.embedding_dim, self.n_units)
        layer = dict(encoder.layers[0].named_parameters())
        with torch.no_grad():
            self._cell.weight_ih.copy_(layer["input_weight"])
            self._cell.weight_hh.copy_(layer["hidden_weight"])
            self._cell.bias_ih.copy_(layer["bias"])
            self._cell.bias_hh.zero_()
        self._graph = faiss.read_index(str(graph))
        self._query = np.zeros((1, self._graph.d), dtype=np.float32)
        self._query[0, self.n_units] = self._scale  # the coordinate of the item's bias

    def step(self, state: bytes | None, row: int) -> tuple[bytes, Any]:
        """One click: the state before and the item → the state after, and the query."""
        n = self.n_units
        with torch.inference_mode():
            if state is None:
                before = torch.zeros(1, 2 * n)
            else:
                before = torch.frombuffer(bytearray(state), dtype=torch.float32).view(1, 2 * n)
            h, c = self._cell(self._items[row : row + 1], (before[:, :n], before[:, n:]))
            self._query[0, :n] = F.normalize(h, dim=1).numpy()[0] * self._scale
            return torch.cat((h, c), dim=1).numpy().tobytes(), self._query

    def search(self, query: Any, last: int) -> list[dict[str, object]]:
        """The best items but the one just clicked."""
        scores, rows = self._graph.search(query, K + 1)
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        return [{"item_id": self.item_ids[row], "score": score} for row, score in found if row != last][:K]


def declare(app: faust.App, clicks: Any, output: Any, model: Model) -> None:
    """Declare the table and the agent."""
    sessions = app.Table("sessions", key_type=bytes, value_type=bytes)  # raw, as the app's serializers are
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

    async def recommend(stream: Any) -> None:
        async for event in stream.events():
            click = decode(event.value)
            row = model.row_of[click["item_id"]]
            sessions[event.key], query = model.step(sessions.get(event.key), row)
            answer = {"session_id": click["session_id"], "click": click, "items": model.search(query, row)}
            await output.send(key=event.key, value=encode(answer))

    app.agent(clicks, concurrency=1)(recommend)


def main() -> None:
    """Run the peer."""
    flags = arguments(__doc__)
    flags.add_argument("--graph", type=Path, required=True)
    asked = flags.parse_args()
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    app = make_app(asked)
    clicks, output = raw_topic(app, asked.clicks), raw_topic(app, asked.output)
    declare(app, clicks, output, Model(asked.model, asked.graph))
    run(app)


if __name__ == "__main__":
    main()
