import numpy as np

from benchmarks.sessions import OFFSET, OpenSessions, states_of
from benchmarks.vectors import Catalogue, Trained
from model.encoder import EncoderConfig, SessionEncoder
from model.sequences import Sequences
from model.vocabulary import Vocabulary
from streams.session import MAX_ITEMS, decode_session, encode_session

N_ITEMS = 50


def make_trained() -> tuple[Trained, Catalogue]:
    encoder = SessionEncoder(EncoderConfig(n_units=8, embedding_dim=8), N_ITEMS).eval()
    vocabulary = Vocabulary([f"i{n}" for n in range(N_ITEMS)], np.arange(N_ITEMS, 0, -1))
    sessions = Sequences.from_lists([[1, 2, 3], list(range(30)), [4, 5]])
    trained = Trained("made up", encoder, vocabulary, sessions, 1)
    return trained, Catalogue(encoder, vocabulary, np.arange(N_ITEMS))


def test_records_are_what_a_worker_writes() -> None:
    trained, catalogue = make_trained()
    records = dict(OpenSessions(trained, catalogue, "a-snapshot", 7).records(now_ms=10**12))
    assert list(records) == [f"s-{n}" for n in range(7)]
    for session in records.values():
        stored = decode_session(encode_session(session))
        assert stored == session
        assert stored.offset == OFFSET
        assert len(stored.state) == 2 * catalogue.encoder.state_dim
    assert [item.item_id for item in records["s-0"].items] == ["i1", "i2", "i3"]
    assert [item.item_id for item in records["s-3"].items] == ["i1", "i2", "i3"]  # the log begins again
    assert len(records["s-1"].items) == MAX_ITEMS
    assert records["s-1"].items[-1].item_id == "i29"


def test_states_are_the_encoders_own() -> None:
    _, catalogue = make_trained()
    states = states_of(catalogue, Sequences.from_lists([[4], [1, 2]]))
    one = catalogue.encoder.initial_states(1)
    for row in (1, 2):
        one = catalogue.encoder.advance(one, np.array([row])).astype(np.float16).astype(np.float32)
    np.testing.assert_allclose(states[1], one[0].astype(np.float16), rtol=1e-2)


def test_clicks_are_on_the_sessions_that_there_are() -> None:
    trained, catalogue = make_trained()
    found = OpenSessions(trained, catalogue, "a-snapshot", 7).clicks(500)
    assert set(found.sessions.tolist()) == set(range(7))
    assert found.rows.max() < N_ITEMS
    assert found.rows.min() >= 0
