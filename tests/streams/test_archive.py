"""The archive without Kafka: what stands in it however its writers are killed, and what readers get."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.archive import DAY_MS, SCHEMA, ArchivedFile, ArchiveError, Gap, Piece, gaps, pieces
from streams.archive_compaction import compact
from streams.archive_reading import ArchiveReader, read_archive
from streams.archive_store import ArchiveStore
from streams.archive_writer import ArchiveWriter
from streams.growing_columns import GrowingColumns

TOPIC_ID = "6d0b6a52-7a3e-4a3f-9c63-0f7d3a1a9d11"
DAY = 20_000  # 2024-10-04
GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Record:
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


def record(partition: int, offset: int, day: int = DAY, **fields: Any) -> Record:
    """A click whose item names where it stands; those of one partition arrive a second apart."""
    session = f"s{offset // 3}-{partition}"
    click = {"session_id": session, "item_id": f"{partition}:{offset}", **fields}
    return Record(offset, session.encode(), json.dumps(click).encode(), day * DAY_MS + 1_000 * offset)


def file(first: int, end: int, day: int = DAY, partition: int = 0) -> ArchivedFile:
    return ArchivedFile(TOPIC_ID, partition, first, end, day)


def archive_up_to(store: ArchiveStore, ends: dict[int, int], per_day: int = 10**9, step: int = 10**9) -> None:
    """Archive offsets from where the files end, as one round does; ``per_day`` offsets arrive on each day."""
    reader = ArchiveReader(store)
    writer = ArchiveWriter(store, TOPIC_ID, reader.newest(TOPIC_ID), max_waiting=step)
    for partition, end in ends.items():
        newest = reader.newest(TOPIC_ID).get(partition)
        writer.begin_at(partition, newest.end if newest else 0)
        for offset in range(writer.end(partition), end):
            writer.take(partition, [record(partition, offset, DAY + offset // per_day)])
    writer.write_all()


def offsets_read(store: ArchiveStore, from_ms: int = 0) -> dict[int, list[int]]:
    """The offsets that a reader gets of each partition, in its order."""
    columns = GrowingColumns()
    ArchiveReader(store).read(columns, from_ms)
    found: dict[int, list[int]] = {}
    for item_id in columns.in_order_of_arrival().item_ids:
        partition, _, offset = item_id.partition(":")
        found.setdefault(int(partition), []).append(int(offset))
    return found


@pytest.fixture(params=["folder", "object store"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "archive") if request.param == "folder" else f"memory://{tmp_path.name}/archive"


def test_what_is_taken_stands_in_the_archive_with_all_its_fields(location: str) -> None:
    store = ArchiveStore(location, "clicks")
    fields: dict[str, Any] = {"kind": "cart", "user_id": "u", "event_id": "e", "context": {"device": "phone"}}
    writer = ArchiveWriter(store, TOPIC_ID, {})
    writer.begin_at(3, 7)
    late = record(3, 8, timestamp_ms=DAY * DAY_MS + 9_000, **fields)  # before its arrival only by the clock
    writer.take(3, [record(3, 7), late, Record(9, b"s", b"no json", late.timestamp)])
    assert (writer.n_clicks, writer.n_rejected, store.files()) == (0, 1, [])
    writer.write_all()
    assert (writer.n_clicks, writer.n_files) == (2, 1)
    assert store.files() == [file(7, 10, partition=3)]
    (table,) = store.row_groups(store.files()[0], SCHEMA.names)
    assert table.to_pylist()[1] == {
        "topic_id": TOPIC_ID,
        "partition": 3,
        "offset": 8,
        "arrival_ms": DAY * DAY_MS + 8_000,
        "session_id": "s2-3",
        "item_id": "3:8",
        "time_ms": DAY * DAY_MS + 8_000,
        **fields,
        "context": '{"device":"phone"}',
    }
    assert table["kind"].to_pylist() == ["view", "cart"]
    clicks = read_archive(location, "clicks")
    assert clicks.session_ids.tolist() == ["s2-3", "s2-3"]
    assert clicks.each_kind().tolist() == ["view", "cart"]


def test_days_are_files_of_their_own_and_a_clock_that_steps_back_makes_no_more(location: str) -> None:
    store = ArchiveStore(location, "clicks")
    writer = ArchiveWriter(store, TOPIC_ID, {})
    writer.begin_at(0, 0)
    writer.take(0, [record(0, n, day) for n, day in enumerate([DAY, DAY + 1, DAY, DAY + 1])])
    writer.write_all()
    assert store.files() == [file(0, 1), file(1, 4, DAY + 1)]
    assert (
        store.files()[0].path == f"{TOPIC_ID}/day=2024-10-04/00000-0000000000000000-0000000000000001.parquet"
    )
    next_writer = ArchiveWriter(store, TOPIC_ID, ArchiveReader(store).newest(TOPIC_ID))
    next_writer.take(0, [record(0, 4, DAY)])
    next_writer.write_all()
    assert store.files()[-1] == file(4, 5, DAY + 1)
    # The window goes by the arrival of each click, whatever day's folder it stands in.
    assert offsets_read(store, (DAY + 1) * DAY_MS) == {0: [1, 3]}


def test_rejected_records_alone_move_the_end_too(location: str) -> None:
    store = ArchiveStore(location, "clicks")
    writer = ArchiveWriter(store, TOPIC_ID, {})
    writer.begin_at(0, 0)
    writer.take(0, [Record(n, None, None, DAY * DAY_MS) for n in range(5)])
    writer.write_all()
    assert ArchiveReader(store).newest(TOPIC_ID) == {0: file(0, 5)}
    assert offsets_read(store) == {}
    archive_up_to(store, {0: 8})
    assert compact(store, DAY + 1).n_written == 1
    assert offsets_read(store) == {0: [5, 6, 7]}


def test_the_largest_partition_is_written_when_much_waits(tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    writer = ArchiveWriter(store, TOPIC_ID, {}, max_waiting=10)
    writer.begin_at(0, 0)
    writer.begin_at(1, 0)
    writer.take(0, [record(0, n) for n in range(4)])
    writer.take(1, [record(1, n) for n in range(5)])
    assert store.files() == []
    writer.take(0, [record(0, 4)])
    assert store.files() == [file(0, 5)]
    writer.write_all()
    assert store.files() == [file(0, 5), file(0, 5, partition=1)]


def test_large_contexts_are_written_before_they_are_many(tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    writer = ArchiveWriter(store, TOPIC_ID, {}, max_waiting_bytes=20_000)
    for partition in (0, 1):
        writer.begin_at(partition, 0)
    writer.take(0, [record(0, n) for n in range(5)])
    for n in range(4):
        writer.take(1, [record(1, n, context={"page": "x" * 4_000})])
    assert store.files() == []
    writer.take(1, [record(1, 4, context={"page": "x" * 4_000})])
    assert store.files() == [file(0, 5, partition=1)]  # the fewest bytes wait on
    writer.take(1, [record(1, 5, context={"page": "x" * 4_000})])
    assert len(store.files()) == 1
    writer.write_all()
    assert offsets_read(store) == {0: list(range(5)), 1: list(range(6))}


def test_an_offset_that_steps_back_is_another_topic(tmp_path: Path) -> None:
    writer = ArchiveWriter(ArchiveStore(str(tmp_path), "clicks"), TOPIC_ID, {0: file(0, 10)})
    with pytest.raises(ArchiveError, match="gave offset 9 after 9: the topic was made anew"):
        writer.take(0, [record(0, 9)])


def test_nothing_is_written_that_may_not(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ArchiveError("another topic")

    store = ArchiveStore(str(tmp_path), "clicks")
    writer = ArchiveWriter(store, TOPIC_ID, {}, before_write=refuse)
    writer.begin_at(0, 0)
    writer.take(0, [record(0, 0)])
    with pytest.raises(ArchiveError, match="another topic"):
        writer.write_all()
    with pytest.raises(ArchiveError, match="another topic"):
        writer.begin_at(0, 5)
    assert store.files() == []


def test_a_gap_stays_to_be_seen(tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    archive_up_to(store, {0: 5})
    writer = ArchiveWriter(store, TOPIC_ID, ArchiveReader(store).newest(TOPIC_ID))
    writer.begin_at(0, 8)
    writer.take(0, [record(0, n) for n in (8, 9)])
    writer.write_all()
    compact(store, DAY + 1)
    assert store.files() == [file(0, 5), file(8, 10)]
    assert ArchiveReader(store).gaps(TOPIC_ID) == [Gap(0, 5, 8)]
    assert str(Gap(0, 5, 8)) == "partition 0: 5 to 7"
    assert offsets_read(store) == {0: [0, 1, 2, 3, 4, 8, 9]}


def test_pieces_take_each_offset_once() -> None:
    files = [file(0, 10), file(5, 20), file(5, 12), file(20, 30), file(20, 25), file(40, 50)]
    chosen = pieces(files)
    assert chosen == [
        Piece(file(0, 10), 0),
        Piece(file(5, 20), 10),
        Piece(file(20, 30), 20),
        Piece(file(40, 50), 40),
    ]
    assert gaps(chosen) == [Gap(0, 30, 40)]
    assert file(0, 10).lies_in(file(0, 11))
    assert not file(0, 10).lies_in(file(0, 10, DAY + 1))
    assert not file(0, 10).lies_in(file(0, 11, partition=1))


def test_names_that_are_none_of_ours_are_passed_over(tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    archive_up_to(store, {0: 3})
    folder = (tmp_path / "clicks" / store.files()[0].path).parent
    for name in (
        "readme.txt",
        ".unfinished-1-00000-0000000000000003-0000000000000009.parquet",
        "3-4.parquet",
    ):
        (folder / name).write_bytes(b"")
    (folder.parent / "day=2024-99-99").mkdir()
    (folder.parent / "day=2024-99-99" / store.files()[0].path.rpartition("/")[2]).write_bytes(b"")
    assert store.files() == [file(0, 3)]


def test_a_window_leaves_out_older_days_and_rows(location: str) -> None:
    store = ArchiveStore(location, "clicks")
    archive_up_to(store, {0: 40, 1: 25}, per_day=10)
    from_ms = (DAY + 2) * DAY_MS + 1_000 * 25
    reader = ArchiveReader(store)
    assert reader.n_offsets(from_ms) == 20 + 5
    assert offsets_read(store, from_ms) == {0: list(range(25, 40))}
    found = reader.read(GrowingColumns(), from_ms)
    assert [(key, part.first, part.end) for key, part in found.items()] == [((TOPIC_ID, 0), 25, 40)]
    columns = GrowingColumns()
    ended = reader.read(columns, from_ms, ends={(TOPIC_ID, 0): 33})
    assert [(part.first, part.end) for part in ended.values()] == [(25, 33)]
    assert columns.in_order_of_arrival().item_ids.tolist() == [f"0:{n}" for n in range(25, 33)]


def test_clicks_come_by_arrival_over_partitions_and_topics(tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    for topic_id, days in (("new", DAY + 1), ("old", DAY)):
        writer = ArchiveWriter(store, topic_id, {})
        for partition in (1, 0):
            writer.begin_at(partition, 0)
            writer.take(partition, [record(partition, n, days) for n in range(2)])
        writer.write_all()
    items = read_archive(str(tmp_path), "clicks").item_ids.tolist()
    assert items == ["0:0", "1:0", "0:1", "1:1"] * 2
    assert ArchiveReader(store).topic_ids() == {"new", "old"}
    assert len(read_archive(str(tmp_path), "others")) == 0


def test_small_files_become_one_for_a_day_and_a_partition(location: str) -> None:
    store = ArchiveStore(location, "clicks")
    for end in range(2, 41, 2):
        archive_up_to(store, {0: end, 1: end}, per_day=20)
    assert len(store.files()) == 40
    before = offsets_read(store)
    assert compact(store, DAY, many=11).n_merged == 0
    assert compact(store, DAY + 1).n_merged == 20  # the first day is over
    assert compact(store, DAY + 1, many=10).n_merged == 20  # the second has many
    assert [(one.first, one.end, one.day) for one in store.files()] == [(0, 20, DAY), (20, 40, DAY + 1)] * 2
    assert offsets_read(store) == before == {0: list(range(40)), 1: list(range(40))}
    assert compact(store, DAY + 9).n_merged == 0


def test_merged_files_keep_to_a_size(tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    for end in (4, 8, 12, 13, 14):
        archive_up_to(store, {0: end})
    compact(store, DAY + 1, max_offsets=9)
    assert [(one.first, one.end) for one in store.files()] == [(0, 8), (8, 14)]


def test_merged_files_keep_to_a_size_in_bytes_too(location: str) -> None:
    store = ArchiveStore(location, "clicks")
    writer = ArchiveWriter(store, TOPIC_ID, {}, max_waiting=2)
    writer.begin_at(0, 0)
    for n in range(0, 12, 2):
        pages = [f"{offset:04d}" * 1_000 for offset in (n, n + 1)]  # that compress to next to nothing
        writer.take(0, [record(0, n + at, context={"page": page}) for at, page in enumerate(pages)])
    assert len(store.files()) == 6
    assert 8_000 < store.unpacked_bytes(store.files()[0]) < 20_000
    before = offsets_read(store)
    assert compact(store, DAY + 1, max_bytes=52_000).n_merged == 6
    assert [(one.first, one.end) for one in store.files()] == [(0, 6), (6, 12)]
    assert compact(store, DAY + 1, max_bytes=52_000).n_merged == 0
    assert offsets_read(store) == before


def test_files_that_cannot_be_joined_keep_no_others_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    for end in (5, 10):
        archive_up_to(store, {0: end, 1: end})
    joined = pa.concat_tables

    def overflowing(tables: Sequence[Any]) -> Any:
        if tables[-1]["partition"][0].as_py() == 0:
            raise pa.ArrowInvalid("offset overflow while concatenating arrays\nof strings")
        return joined(tables)

    monkeypatch.setattr("streams.archive_compaction.pa.concat_tables", overflowing)
    with pytest.raises(
        ArchiveError, match=r"parquet cannot be merged: offset overflow while concatenating arrays$"
    ):
        compact(store, DAY + 1)
    assert store.files() == [file(0, 5), file(5, 10), file(0, 10, partition=1)]


def test_a_file_of_another_format_is_named(tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    archive_up_to(store, {0: 3})
    path = tmp_path / "clicks" / store.files()[0].path
    pq.write_table(pq.ParquetFile(path).read().replace_schema_metadata({"nextclick.archive": "9"}), path)
    with pytest.raises(ArchiveError, match=r"parquet is of archive format 9, this nextclick reads 1"):
        read_archive(str(tmp_path), "clicks")
    path.write_bytes(b"none")
    with pytest.raises(ArchiveError, match="cannot be read"):
        read_archive(str(tmp_path), "clicks")


def test_the_golden_file_is_still_read() -> None:
    clicks = read_archive(str(GOLDEN / "archive-v1"), "clicks")
    assert clicks.session_ids.tolist() == ["s0-3", "s0-3", "s0-3", "s1-3"]
    assert clicks.item_ids.tolist() == ["3:0", "3:1", "3:2", "3:3"]
    assert clicks.each_kind().tolist() == ["view", "cart", "view", "view"]
    assert clicks.time_ms.tolist() == [DAY * DAY_MS + 1_000 * n for n in range(4)]


def test_a_place_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="archive 'gopher://x' cannot be opened"):
        ArchiveStore("gopher://x", "clicks")
    (tmp_path / "taken").write_text("")
    with pytest.raises(ArchiveError, match=r"taken cannot be written: Not a directory"):
        archive_up_to(ArchiveStore(str(tmp_path / "taken"), "clicks"), {0: 1})


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "half": content[: len(content) // 2], "garbage": b"PAR1" + bytes(99) + b"PAR1"}[how]
    )


@pytest.mark.parametrize("how", ["empty", "half", "garbage"])
def test_a_damaged_file_is_named_and_keeps_no_other_from_being_merged(tmp_path: Path, how: str) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    for end in (5, 10, 15):
        archive_up_to(store, {0: end, 1: end})
    path = tmp_path / "clicks" / file(5, 10).path
    damage(path, how)
    with pytest.raises(ArchiveError, match=f"archive {path} cannot be read: .") as refused:
        read_archive(str(tmp_path), "clicks")
    assert "\n" not in str(refused.value)
    with pytest.raises(ArchiveError, match=f"{path} cannot be read"):
        compact(store, DAY + 1)
    assert [one for one in store.files() if one.partition == 1] == [file(0, 15, partition=1)]
    assert len(store.files()) == 4


def test_no_flipped_bit_is_read_as_a_click(tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    archive_up_to(store, {0: 300})
    (path,) = tmp_path.rglob("*.parquet")
    whole, content = read_archive(str(tmp_path), "clicks"), path.read_bytes()
    n_refused = 0
    for at in range(0, len(content), 11):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        try:
            found = read_archive(str(tmp_path), "clicks")
        except ArchiveError:
            n_refused += 1
            continue
        for name in ("session_ids", "item_ids", "time_ms", "kinds"):  # the flip is in what is not read
            assert getattr(found, name).tolist() == getattr(whole, name).tolist()
    assert n_refused > len(content) / 11 / 2


def test_an_archiver_goes_on_before_a_gap_that_the_topic_can_fill(tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), "clicks")
    for end in (5, 10, 15, 20):
        archive_up_to(store, {0: end, 1: end})
    store.remove(file(5, 10))
    store.remove(file(15, 20, partition=1))
    reader = ArchiveReader(store)
    last = {number: one.end for number, one in reader.last_before_gaps(TOPIC_ID, {0: 0, 1: 0}).items()}
    assert last == {0: 5, 1: 15}
    for start, goes_on_at in ((9, 5), (10, 20)):  # of the gap the last offset is there; none of it is
        assert reader.last_before_gaps(TOPIC_ID, {0: start, 1: start})[0].end == goes_on_at


# ── killed at any step ──


class Killed(BaseException):
    """What kill -9 does: nothing that comes after is done, and no clean-up either."""


class MortalStore(ArchiveStore):
    """Is killed before or after its n-th step, or in the middle of one that writes."""

    steps: Iterator[int]
    dies_at: int

    def mortal(self, dies_at: int) -> "MortalStore":
        self.steps, self.dies_at = count(), dies_at
        return self

    def _live(self) -> None:
        if next(self.steps) == self.dies_at:
            raise Killed

    def _put(self, rows: Any, temporary: str) -> None:
        self._live()
        if next(self.steps) == self.dies_at:
            super()._put(rows, temporary)
            half = self._fs.cat_file(temporary)[: self._fs.size(temporary) // 2]
            self._fs.pipe_file(temporary, half)
            raise Killed
        super()._put(rows, temporary)

    def _publish(self, temporary: str, target: str) -> None:
        self._live()
        super()._publish(temporary, target)
        self._live()

    def remove(self, file: ArchivedFile) -> None:
        self._live()
        super().remove(file)


ROUNDS: Sequence[int] = (2, 5, 6)


def work(store: ArchiveStore) -> None:
    """Some rounds of an archiver over two days, and a compaction when the first day is over."""
    for end in ROUNDS:
        archive_up_to(store, {0: end, 1: 1}, per_day=3)
        if end > 3:
            compact(store, DAY + 1)


def check_prefix(store: ArchiveStore) -> None:
    """A reader gets each partition up to where it ends, every offset once and in order."""
    read = offsets_read(store)
    ends = {number: last.end for number, last in ArchiveReader(store).newest(TOPIC_ID).items()}
    assert read == {number: list(range(end)) for number, end in ends.items()}


def test_killed_at_any_step_no_row_is_lost_and_none_is_double(location: str) -> None:
    for dies_at in count():
        store = MortalStore(f"{location}/{dies_at}", "clicks")
        try:
            work(store.mortal(dies_at))
        except Killed:
            check_prefix(store)
            work(store.mortal(-1))
        else:
            break
        check_prefix(store)
        assert offsets_read(store) == {0: list(range(6)), 1: [0]}
        compact(store, DAY + 9)
        assert store.files() == [file(0, 3), file(3, 6, DAY + 1), file(0, 1, partition=1)]
        store.remove_left_over(older_than_s=-1)
        assert len(store._paths()) == 3
    assert dies_at > 20


Action = tuple[str, int]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["archive", "compact", "stale"]), st.integers(0, 12)), max_size=8),
    st.data(),
)
def test_two_archivers_that_are_killed_never_double_a_row(
    tmp_path_factory: pytest.TempPathFactory, actions: list[Action], data: st.DataObject
) -> None:
    """``stale`` is an archiver that listed the files before another one wrote."""
    store = MortalStore(str(tmp_path_factory.mktemp("archive")), "clicks").mortal(-1)
    end = 0
    listed = ArchiveReader(store).newest(TOPIC_ID)
    for action, dies_at in actions:
        store.mortal(dies_at)
        end += data.draw(st.integers(0, 4))
        try:
            if action == "archive":
                listed = ArchiveReader(store).newest(TOPIC_ID)
                archive_up_to(store, {0: end}, per_day=6)
            elif action == "compact":
                compact(store, DAY + 1, many=2)
            else:
                writer = ArchiveWriter(store, TOPIC_ID, listed)
                writer.begin_at(0, listed[0].end if listed else 0)
                for offset in range(writer.end(0), end):
                    writer.take(0, [record(0, offset, DAY + offset // 6)])
                writer.write_all()
        except Killed:
            pass
        check_prefix(store)
    archive_up_to(store.mortal(-1), {0: end}, per_day=6)
    check_prefix(store)
    assert offsets_read(store).get(0, []) == list(range(end))
