"""A process whose files must not grow beyond a size: writes until that is reached, looks around, and goes on.

Argument: the URL.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from pathlib import Path

from storage_support import TABLES, Gate, note, values

from xmppchat.core import logs
from xmppchat.core.commit_gate import StorageUnavailable
from xmppchat.storage.database import Database, SqliteDatabase


async def main(url: str) -> None:
    gate = Gate()
    database = await Database.open(url, on_settled=gate.on_settled, extra_tables=TABLES)
    assert isinstance(database, SqliteDatabase)
    gate.attach(database.writer)
    size = Path(f"{database.path}-wal").stat().st_size
    unlimited, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, hard))
    while not gate.errors():
        gate.submit(note(gate.last + 1, "x" * 5_000 + str(gate.last)))
        gate.submit(note(gate.last + 1, "y" * 5_000 + str(gate.last)))
        await gate.settled()
    assert all(isinstance(error, StorageUnavailable) for error in gate.errors().values())
    print("full")
    acknowledged = [ticket for ticket, error in gate.results if error is None]
    assert [number for number, _ in await values(database)] == acknowledged
    print("readable")
    assert await database.integrity_check() == []
    print("sound")
    resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, hard))
    gate.submit(note(1_000_000))
    await gate.settled()
    assert gate.last not in gate.errors()
    await database.close()
    database = await Database.open(url)
    assert [number for number, _ in await values(database)] == [*acknowledged, 1_000_000]
    await database.close()
    print("recovered")


logs.configure()  # to stderr
asyncio.run(main(sys.argv[1]))
