"""A real sessions table over RocksDB, in a Faust app that never connects to anything."""

import asyncio
from pathlib import Path

import faust

from streams.table import SessionTable


def make_app(folder: Path) -> faust.App:
    async def make() -> faust.App:
        return faust.App(
            "nextclick", broker="kafka://nowhere:1", store="rocksdb://", datadir=folder, web_enabled=False
        )

    return asyncio.run(make())


def make_table(folder: Path, n_partitions: int = 2) -> SessionTable:
    app = make_app(folder)

    async def make() -> SessionTable:
        return SessionTable(app, n_partitions)

    return asyncio.run(make())
