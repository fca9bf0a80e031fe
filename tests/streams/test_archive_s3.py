"""The archive in an object store: a real S3 server lists, takes, gives and loses its files."""

from collections.abc import Iterator

import pytest

from streams.archive_compaction import compact
from streams.archive_reading import read_archive
from streams.archive_store import ArchiveStore
from tests.object_store import s3_server
from tests.streams.test_archive import (
    DAY,
    Killed,
    MortalStore,
    archive_up_to,
    check_prefix,
    file,
    offsets_read,
)

LOCATION = "s3://nextclick/shop/archive"


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield


def test_an_archive_in_an_object_store_is_written_merged_and_read() -> None:
    store = ArchiveStore(LOCATION, "clicks")
    assert store.files() == []
    for end in (3, 5, 9):
        archive_up_to(store, {0: end, 1: end}, per_day=5)
    assert offsets_read(store) == {0: list(range(9)), 1: list(range(9))}
    assert store.n_bytes(store.files()[0]) > 1_000
    assert compact(store, DAY + 1).n_merged == 4
    assert [one.end for one in store.files()] == [5, 9, 5, 9]
    assert len(read_archive(LOCATION, "clicks")) == 18
    assert store.remove_left_over() == 0


def work(store: ArchiveStore) -> None:
    for end in (2, 4):
        archive_up_to(store, {0: end})


def test_an_archiver_killed_in_an_object_store_loses_and_doubles_nothing() -> None:
    for dies_at in range(6):
        store = MortalStore(f"{LOCATION}/{dies_at}", "clicks").mortal(dies_at)
        with pytest.raises(Killed):
            work(store)
        check_prefix(store)
        archive_up_to(store.mortal(-1), {0: 4})
        assert offsets_read(store) == {0: [0, 1, 2, 3]}
        compact(store, DAY + 1)
        assert store.files() == [file(0, 4)]
        store.remove_left_over(older_than_s=-1)
        assert len(store._paths()) == 1
