"""A process that opens a database, and writes until it is killed or told to end.

Arguments: the URL, the number of tickets that are open at a time, and of those written in all (0: without end). It
prints "ready", then the number of each committed ticket.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from storage_support import MARKS, TABLES, note

from xmppchat.core import logs
from xmppchat.storage.database import Database, DatabaseError


async def main(url: str, width: int, total: int) -> None:
    ended = asyncio.Event()
    submitted = 0

    def submit() -> None:
        nonlocal submitted
        submitted += 1
        # Two tables: after a crash both rows of a ticket are there, or none.
        database.writer.submit(submitted, (note(submitted), note(submitted, table=MARKS)))

    def on_settled(results: Sequence[tuple[int, BaseException | None]]) -> None:
        for ticket, error in results:
            assert error is None, error
            print(ticket, flush=True)
            if ticket == total:
                ended.set()
            elif not total or submitted < total:
                submit()

    try:
        database = await Database.open(url, on_settled=on_settled, extra_tables=TABLES)
    except DatabaseError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print("ready", flush=True)
    for _ in range(width):
        submit()
    await ended.wait()
    await database.close()


logs.configure()  # to stderr
asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
