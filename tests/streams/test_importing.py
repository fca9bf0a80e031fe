"""Public click logs: a few lines of each, written by hand in its format."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.archive import DAY_MS
from streams.clickfile import ClickColumns, ClickFileError, Columns, read_click_file, write_click_file
from streams.importing import Format, import_clicks
from tests.streams.test_archive import DAY, GOLDEN

Row = tuple[str, str, int, str]

YOOCHOOSE_CLICKS = """1,2014-04-07T10:51:09.277Z,214536502,0
2,2014-04-07T10:51:08.000Z,214662742,S
1,2014-04-07T10:54:09.868Z,214536500,0
"""
YOOCHOOSE_BUYS = """420374,2014-04-06T18:44:58.314Z,214537888,12462,1
420374,2014-04-06T18:44:58.325Z,214537850,10471,1
"""
RETAILROCKET = """timestamp,visitorid,event,itemid,transactionid
1433221332117,257597,view,355908,
1433221332118,257597,addtocart,355908,
1433221078505,599528,transaction,356475,4000
"""
DIGINETICA_VIEWS = """sessionId;userId;itemId;timeframe;eventdate
1;NA;81766;526309;2016-05-09
1;NA;31331;1031018;2016-05-09
2;17;32118;0;2016-05-08
"""
DIGINETICA_PURCHASES = """sessionId;userId;timeframe;eventdate;ordernumber;itemId
150;18278;17100868;2016-05-06;16421;25911
"""
OTTO = """{"session":12,"events":[{"aid":7,"ts":1661724000278,"type":"carts"},{"aid":8,"ts":1661724000300,"type":"orders"}]}
{"session": 13, "events": [{"aid": 8, "ts": 1661723999999, "type": "clicks"}]}
"""  # noqa: E501
TRIVAGO = """user_id,session_id,timestamp,step,action_type,reference,platform,city,device,current_filters,impressions,prices
00RL8Z82B2Z1,aff3928535f48,1541037460,1,search for poi,Newtown,AU,"Sydney, Australia",mobile,,,
00RL8Z82B2Z1,aff3928535f48,1541037522,2,interaction item image,666856,AU,"Sydney, Australia",mobile,,,
00RL8Z82B2Z1,aff3928535f48,1541037532,3,filter selection,Focus on Distance,AU,"Sydney, Australia",mobile,,,
00RL8Z82B2Z1,aff3928535f48,1541037542,4,clickout item,109038,AU,"Sydney, Australia",mobile,,109038|666856,162|25
00RL8Z82B2Z1,aff3928535f48,1541037543,5,clickout item,,AU,"Sydney, Australia",mobile,,109038|666856,162|25
"""  # noqa: E501

MAY_9 = 1_462_752_000_000

SAMPLES: list[tuple[Format, str, list[Row]]] = [
    (
        Format.YOOCHOOSE,
        YOOCHOOSE_CLICKS,
        [
            ("2", "214662742", 1396867868000, "view"),
            ("1", "214536502", 1396867869277, "view"),
            ("1", "214536500", 1396868049868, "view"),
        ],
    ),
    (
        Format.YOOCHOOSE,
        YOOCHOOSE_BUYS,
        [
            ("420374", "214537888", 1396809898314, "purchase"),
            ("420374", "214537850", 1396809898325, "purchase"),
        ],
    ),
    (
        Format.RETAILROCKET,
        RETAILROCKET,
        [
            ("599528", "356475", 1433221078505, "purchase"),
            ("257597", "355908", 1433221332117, "view"),
            ("257597", "355908", 1433221332118, "cart"),
        ],
    ),
    (
        Format.DIGINETICA,
        DIGINETICA_VIEWS,
        [
            ("2", "32118", MAY_9 - DAY_MS, "view"),
            ("1", "81766", MAY_9 + 526_309, "view"),
            ("1", "31331", MAY_9 + 1_031_018, "view"),
        ],
    ),
    (
        Format.DIGINETICA,
        DIGINETICA_PURCHASES,
        [("150", "25911", MAY_9 - 3 * DAY_MS + 17_100_868, "purchase")],
    ),
    (
        Format.OTTO,
        OTTO,
        [
            ("13", "8", 1661723999999, "view"),
            ("12", "7", 1661724000278, "cart"),
            ("12", "8", 1661724000300, "purchase"),
        ],
    ),
    (
        Format.TRIVAGO,
        TRIVAGO,
        [
            ("aff3928535f48", "666856", 1541037522000, "interaction item image"),
            ("aff3928535f48", "109038", 1541037542000, "clickout item"),
        ],
    ),
]


def rows(clicks: ClickColumns) -> list[Row]:
    times = clicks.time_ms.tolist()
    return list(zip(clicks.session_ids, clicks.item_ids, times, clicks.each_kind(), strict=True))


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize(("format", "text", "expected"), SAMPLES, ids=[sample[0] for sample in SAMPLES])
def test_a_public_log_is_read_and_told_by_its_first_line(
    tmp_path: Path, format: Format, text: str, expected: list[Row], zipped: bool
) -> None:
    path = tmp_path / ("log.gz" if zipped else "log.dat")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    assert rows(import_clicks(path, format)) == expected
    assert rows(import_clicks(path)) == expected


def test_line_ends_of_windows_are_none_of_the_names(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(b"SessionId,ItemId,Time,Kind\r\n1,a,10,cart\r\n")
    assert rows(import_clicks(path)) == [("1", "a", 10_000, "cart")]


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.parquet"])
def test_a_table_of_our_own_names_is_read_with_the_kinds_that_it_has(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    bought = import_clicks(_write(tmp_path / "log", OTTO))
    write_click_file(path, bought)
    assert rows(import_clicks(path)) == rows(bought)
    assert import_clicks(path, columns=Columns()).kinds is None, "named columns are those and no others"
    assert read_click_file(path).kinds is None


def test_a_table_with_columns_that_are_named(tmp_path: Path) -> None:
    path = tmp_path / "otto.parquet"
    columns = {"session": [1, 1], "aid": [7, 8], "ts": [1661724001, 1661724000], "type": ["clicks", None]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ClickFileError, match=r"no column 'SessionId' for the session.* --columns session=…"):
        import_clicks(path)
    clicks = import_clicks(path, Format.TABLE, Columns("session", "aid", "ts", "type"))
    assert rows(clicks) == [("1", "8", 1661724000000, "view"), ("1", "7", 1661724001000, "clicks")]


def test_a_file_of_the_archive_is_a_table_too() -> None:
    (path,) = GOLDEN.glob("archive-v1/*/*/*/*.parquet")
    assert rows(import_clicks(path))[1] == ("s0-3", "3:1", DAY * DAY_MS + 1_000, "cart")


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        (Format.AUTO, "", "is empty"),
        (Format.YOOCHOOSE, "1,yesterday,7,0\n", "cannot be read"),
        (Format.RETAILROCKET, DIGINETICA_VIEWS, "has no column 'timestamp'; it has sessionId, userId"),
        (Format.TRIVAGO, TRIVAGO.splitlines()[0] + "\n", "holds no clicks"),
        (Format.DIGINETICA, DIGINETICA_VIEWS.replace("526309", "soon"), "cannot be read"),
        (Format.OTTO, OTTO + '{"session": 1}\n', "line 3 is no session of OTTO's: .*`events`"),
        (Format.OTTO, "\n", "holds no clicks"),
    ],
)
def test_what_is_wrong_with_a_log_is_one_line(
    tmp_path: Path, format: Format, text: str, message: str
) -> None:
    with pytest.raises(ClickFileError, match=message) as caught:
        import_clicks(_write(tmp_path / "log.dat", text), format)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for format in Format:
        with pytest.raises(ClickFileError, match="no such file"):
            import_clicks(tmp_path / "absent", format)


def test_the_logs_that_are_here(data_folder: Path) -> None:
    clicks = import_clicks(data_folder / "trivago" / "events.csv.gz")
    assert len(clicks) == 87_608
    assert len(set(clicks.each_kind())) == 6
    assert len(import_clicks(data_folder / "serenade" / "test.tsv.gz")) == 1_233


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
