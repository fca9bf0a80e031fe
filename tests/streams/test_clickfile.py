import gzip
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.clickfile import ClickColumns, ClickFileError, Columns, read_click_file

Row = tuple[str, str, int]


def rows(clicks: ClickColumns) -> list[Row]:
    return list(zip(clicks.session_ids, clicks.item_ids, clicks.time_ms.tolist(), strict=True))


def write(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["c.tsv", "c.tsv.gz", "c.txt"])
def test_rows_come_by_time_and_rows_of_one_time_stay_in_order(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "SessionId\tItemId\tTime\n2\tb\t20\n1\tz\t10\n1\ta\t10\n2\tb\t10\n")
    assert rows(read_click_file(path)) == [
        ("1", "z", 10_000),
        ("1", "a", 10_000),
        ("2", "b", 10_000),
        ("2", "b", 20_000),
    ]


def test_csv_with_other_columns_in_another_order(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv.gz", 'when,"who",price,what\n5,s1,3,"x,y"\n')
    clicks = read_click_file(path, Columns(session="who", item="what", time="when"))
    assert rows(clicks) == [("s1", "x,y", 5_000)]


@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
def test_kinds_are_read_where_their_column_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "c.csv":
        write(path, "SessionId,ItemId,Time,what\n1,a,10,cart\n1,b,20,\n1,c,5,view\n")
    else:
        kinds = pa.array(["cart", None, "view"])
        ids = {"SessionId": ["1", "1", "1"], "ItemId": ["a", "b", "c"]}
        pq.write_table(pa.table(ids | {"Time": [10, 20, 5], "what": kinds}), path)
    clicks = read_click_file(path, Columns(kind="what"))
    assert clicks.item_ids.tolist() == ["c", "a", "b"]
    assert clicks.each_kind().tolist() == ["view", "cart", "view"]
    assert read_click_file(path).kinds is None
    with pytest.raises(ClickFileError, match="--columns kind=…"):
        read_click_file(path, Columns(kind="how"))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["1396808691", "1396808692"], [1396808691000, 1396808692000]),
        (["1396808691.295", "1396808692"], [1396808691295, 1396808692000]),
        (["1396808691295", "1396808691296"], [1396808691295, 1396808691296]),
        (["1.396808691295E9"], [1396808691295]),
        (["2014-04-06T18:24:51.295Z"], [1396808691295]),
        (["2014-04-06T20:24:51.295+02:00"], [1396808691295]),
        (["2014-04-06 18:24:51"], [1396808691000]),
        (["1", "2"], [1000, 2000]),
        (["-3600"], [-3_600_000]),
    ],
)
def test_times_are_seconds_milliseconds_or_dates(
    tmp_path: Path, times: list[str], expected: list[int]
) -> None:
    lines = "".join(f"s\ti\t{time}\n" for time in times)
    clicks = read_click_file(write(tmp_path / "c.tsv", "SessionId\tItemId\tTime\n" + lines))
    assert clicks.time_ms.tolist() == expected


def test_parquet_with_numbers_as_ids_and_real_dates(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    times = [datetime(2020, 6, 1, 0, 0, second, tzinfo=UTC) for second in (2, 1)]
    pq.write_table(pa.table({"SessionId": [81, 82], "ItemId": [7, 8], "Time": times}), path)
    assert rows(read_click_file(path)) == [("82", "8", 1590969601000), ("81", "7", 1590969602000)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("SessionId\tItemId\tTime\n", "holds no clicks"),
        ("session\titem\tts\n1\t2\t3\n", "no column 'SessionId' for the session; it has session, item, ts"),
        ("SessionId\tItemId\twhen\n1\t2\t3\n", "name it with --columns time=…"),
        ("SessionId\tItemId\tTime\n1\t2\n", "cannot be read"),
        ("SessionId\tItemId\tTime\n1\t2\tyesterday\n", "neither numbers nor ISO dates"),
        ("SessionId\tItemId\tTime\n1\t2\t3\n1\t2\t\n", "ISO dates"),
        ("SessionId\tItemId\tTime\n1\t2\tnan\n", "click 1 has no time"),
        ("SessionId\tItemId\tTime\n1\t2\t3\n\t2\t3\n", "click 2 has no session id"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ClickFileError, match=message) as caught:
        read_click_file(write(tmp_path / "c.tsv", text))
    assert "\n" not in str(caught.value)
    assert "c.tsv" in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ClickFileError, match="no such file"):
        read_click_file(tmp_path / "absent.tsv")
    with pytest.raises(ClickFileError, match="is a folder"):
        read_click_file(tmp_path)
    (tmp_path / "c.parquet").write_bytes(b"none")
    with pytest.raises(ClickFileError, match="cannot be read"):
        read_click_file(tmp_path / "c.parquet")
    whole = gzip.compress(b"SessionId\tItemId\tTime\n" + b"1\t2\t3\n" * 9999)
    (tmp_path / "c.tsv.gz").write_bytes(whole[:-20])
    with pytest.raises(ClickFileError, match="cannot be read"):
        read_click_file(tmp_path / "c.tsv.gz")


def test_columns_join_in_the_order_given() -> None:
    def one(session_id: str) -> ClickColumns:
        ids = np.array([session_id], dtype=object)
        return ClickColumns(ids, ids, np.array([1], dtype=np.int64))

    assert rows(ClickColumns.concatenate([one("b"), one("a")])) == [("b", "b", 1), ("a", "a", 1)]
    assert len(ClickColumns.concatenate([])) == 0
    assert ClickColumns.concatenate([one("b"), one("a")]).kinds is None
    bought = replace(one("b"), kinds=np.array(["purchase"], dtype=object))
    assert ClickColumns.concatenate([one("a"), bought]).each_kind().tolist() == ["view", "purchase"]
