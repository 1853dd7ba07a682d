"""Readers for PostgreSQL: a few connections that cannot write, each serving one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Row

from xmppchat.core.commit_gate import StorageUnavailable
from xmppchat.storage.postgresql.faults import is_lost, reason, translate
from xmppchat.storage.postgresql.link import Link, roll_back
from xmppchat.storage.postgresql.statements import prepare, rows

Query = tuple[Any, Mapping[str, Any] | None]
Answer = list[list[Row[Any]]]
_Job = tuple[Sequence[Query], asyncio.Future[Answer]]

#: How often a call is begun whose connection is lost each time.
_ATTEMPTS = 3


class Readers:
    """Connections by `links`. `patience`: how long a lost connection is waited for, s.

    A call runs in a task of its connection, not of its caller: whoever goes away leaves nothing half done.
    """

    def __init__(self, links: Sequence[Link], *, patience: float) -> None:
        self._links = links
        self._patience = patience
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the connections. Raises :class:`~xmppchat.storage.faults.DatabaseError`."""
        await asyncio.gather(*(link.open() for link in self._links))
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._serve(link), name="database reader") for link in self._links]

    def fetch(self, queries: Sequence[Query]) -> asyncio.Future[Answer]:
        """The rows of each query, all of one state of the database."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._jobs.put_nowait((queries, future))
        return future

    async def close(self) -> None:
        """Answer what was asked, then end."""
        for _ in self._tasks:
            self._jobs.put_nowait(None)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links:
            await link.close()

    async def _serve(self, link: Link) -> None:
        while (job := await self._jobs.get()) is not None:
            queries, future = job
            if future.done():  # its caller has gone
                continue
            try:
                answer = await self._answer(link, queries)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(answer)
            job = queries = future = answer = None  # type: ignore[assignment]  # an idle task keeps no rows alive

    async def _answer(self, link: Link, queries: Sequence[Query]) -> Answer:
        why = ""
        for _ in range(_ATTEMPTS):
            connection = await link.use(self._patience)
            try:
                if len(queries) == 1:
                    return [await _fetch(connection, *queries[0])]
                return await _snapshot(connection, queries)
            except Exception as error:
                if not is_lost(error):
                    await roll_back(connection)
                    raise translate(error) from None
                why = reason(error)
        raise StorageUnavailable(f"the connection to the database is lost again and again ({why})")


async def _fetch(
    connection: asyncpg.Connection, statement: Any, parameters: Mapping[str, Any] | None
) -> list[Row[Any]]:
    text, arguments = prepare(statement, parameters).call(parameters)
    return rows(await connection.fetch(text, *arguments))


async def _snapshot(connection: asyncpg.Connection, queries: Sequence[Query]) -> Answer:
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    answer = [await _fetch(connection, *query) for query in queries]
    await connection.execute("COMMIT")
    return answer
