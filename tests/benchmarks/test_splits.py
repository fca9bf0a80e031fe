from pathlib import Path

import numpy as np
import pytest

from benchmarks.splits import LOGS, Split, newest_apart
from streams.clickfile import ClickColumns


def clicks(sessions: str, items: str) -> ClickColumns:
    session_ids, item_ids = (np.array(list(text), dtype=object) for text in (sessions, items))
    return ClickColumns(session_ids, item_ids, np.arange(len(sessions), dtype=np.int64))


def test_the_sessions_that_end_last_are_the_newer_part() -> None:
    older, newer = newest_apart(clicks("abcabdcb", "12345678"), 0.5)
    assert "".join(older.session_ids) == "aad"  # a ends first, then d
    assert "".join(newer.item_ids) == "23578"


def test_what_is_foretold_is_known() -> None:
    split = Split.read("shoppers, 10,000 clicks", Path())
    assert split.newer.n_targets > 800
    assert split.older.rows.max() == len(split.vocabulary) - 1 >= split.newer.rows.max()
    assert split.newer.rows.min() >= 0


@pytest.mark.parametrize("log", ["yoochoose100k", "serenade", "trivago"])
def test_no_session_is_in_both_parts_of_a_log(log: str, data_folder: Path) -> None:
    older, newer = LOGS[log](data_folder)
    assert len(older) > len(newer) > 0
    assert not set(older.session_ids) & set(newer.session_ids)
    assert max(newer.time_ms) >= max(older.time_ms)
    if log == "trivago":
        assert set(older.each_kind()) > {"clickout item", "interaction item image"}
