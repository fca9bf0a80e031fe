import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.encoder_context import ContextCoder
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns
from streams.sequencing import cut_sessions
from streams.session import gap_exceeded

GAP_MS = 100


def columns(clicks: list[tuple[str, str, int]]) -> ClickColumns:
    sessions, items, times = zip(*clicks, strict=True) if clicks else ((), (), ())
    return ClickColumns(
        np.array(sessions, dtype=object), np.array(items, dtype=object), np.array(times, dtype=np.int64)
    )


def cut(clicks: list[tuple[str, str, int]], gap_ms: int | None) -> list[list[str]]:
    vocabulary = Vocabulary.from_clicks([item for _, item, _ in clicks] or ["none"])
    cut = cut_sessions(columns(clicks), vocabulary, gap_ms)
    return [[vocabulary.item_id(int(row)) for row in cut.select(i, i + 1).rows] for i in range(len(cut))]


def fold(clicks: list[tuple[str, str, int]], gap_ms: int | None) -> list[list[str]]:
    """What a worker does, click by click."""
    latest: dict[str, int] = {}
    opened: dict[str, tuple[list[str], list[int]]] = {}
    done: list[tuple[list[str], list[int]]] = []
    for place, (session_id, item_id, time_ms) in enumerate(clicks):
        begins = session_id not in latest or (
            gap_ms is not None and gap_exceeded(latest[session_id], time_ms, gap_ms)
        )
        if begins:
            if session_id in opened:
                done.append(opened[session_id])
            opened[session_id] = ([], [])
        opened[session_id][0].append(item_id)
        opened[session_id][1].append(place)
        latest[session_id] = max(latest.get(session_id, time_ms), time_ms)
    sessions = sorted([*done, *opened.values()], key=lambda session: session[1][-1])
    return [items for items, _ in sessions]


def test_a_pause_longer_than_the_gap_ends_a_session() -> None:
    clicks = [("s", "a", 0), ("t", "x", 50), ("s", "b", 100), ("s", "c", 201), ("t", "y", 120)]
    assert cut(clicks, GAP_MS) == [["a", "b"], ["c"], ["x", "y"]]
    assert cut(clicks, None) == [["a", "b", "c"], ["x", "y"]]


def test_a_late_click_does_not_shorten_the_wait() -> None:
    clicks = [("s", "a", 1000), ("s", "b", 900), ("s", "c", 1090)]
    assert cut(clicks, GAP_MS) == [["a", "b", "c"]]


def test_no_clicks_are_no_sessions() -> None:
    assert cut([], GAP_MS) == []


@given(
    st.lists(st.tuples(st.sampled_from("stu"), st.sampled_from("abcd"), st.integers(-500, 10**13))),
    st.sampled_from([None, 0, 100, 10**12]),
)
def test_sessions_are_cut_as_a_worker_cuts_them(
    clicks: list[tuple[str, str, int]], gap_ms: int | None
) -> None:
    assert cut(clicks, gap_ms) == fold(clicks, gap_ms)


def test_codes_of_context_stay_with_their_clicks() -> None:
    clicks = ClickColumns(
        np.array(["a", "b", "a", "a"], dtype=object),
        np.array(["w", "x", "y", "z"], dtype=object),
        np.array([0, 1_000, 3_000, 3_600_000], dtype=np.int64),
        np.array(["view", "cart", "cart", "unheard-of"], dtype=object),
    )
    coder = ContextCoder(("view", "cart"))
    vocabulary = Vocabulary.from_clicks(clicks.item_ids)
    cut = cut_sessions(clicks, vocabulary, 100_000, coder)  # b, then a up to the pause, then a again
    assert [vocabulary.item_id(int(row)) for row in cut.rows] == ["x", "w", "y", "z"]
    assert cut.codes is not None
    assert cut.codes.tolist() == [[2, 0, 0], [1, 0, 0], [2, 2, 0], [0, 0, 1]]
    assert cut_sessions(clicks, vocabulary, 100_000).codes is None
