"""Database: opens and migrates it, hands out the writer, answers queries.

The URL picks the engine. The event loop never waits for SQLite: each connection lives on a thread of its own, and a
call is one hop there and back however many statements it has. PostgreSQL is in :mod:`xmppchat.storage.postgresql`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Table, text
from sqlalchemy.exc import DBAPIError

from xmppchat.core.commit_gate import Settled, StorageUnavailable
from xmppchat.storage.faults import DatabaseError, DatabaseInUse, SchemaTooNew, reason, translate
from xmppchat.storage.migrate import migrate
from xmppchat.storage.postgresql import is_postgresql
from xmppchat.storage.sqlite import (
    ProcessLock,
    database_path,
    make_private,
    reading_engine,
    snapshot,
    writing_engine,
)
from xmppchat.storage.threads import ConnectionThreads
from xmppchat.storage.writer import GroupCommit, GroupCommitWriter

__all__ = ["Database", "DatabaseError", "DatabaseInUse", "SchemaTooNew", "SqliteDatabase"]

#: Connections that read: one can be held up by a long query, and the others serve on.
READERS = 3
#: How long a lock of another program's (a backup, an admin's shell) is waited for, s.
BUSY_TIMEOUT = 30.0

Query = tuple[Any, Mapping[str, Any] | None]
Rows = Sequence[Row[Any]]


class Database(ABC):
    """An open database. Make it with :meth:`open`. `writer` takes all writes, `name` is what it is called in texts."""

    name: str
    writer: GroupCommit

    @staticmethod
    async def open(
        url: str,
        *,
        on_settled: Settled | None = None,
        extra_tables: Sequence[Table] = (),
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> Database:
        """Lock, migrate and open the database at `url`: ``sqlite:///PATH``, made if absent, or ``postgresql://…``.

        `on_settled` is told of tickets, it may be set later (``database.writer.on_settled``). Those of `extra_tables`
        that are missing are created. A lock of another program's, or a server that cannot be reached, is waited for
        `busy_timeout` seconds. Raises :class:`DatabaseError`: :class:`DatabaseInUse`, :class:`SchemaTooNew`, or what
        else is in the way.
        """
        if not is_postgresql(url):
            return await SqliteDatabase.open_path(database_path(url), on_settled, extra_tables, busy_timeout)
        require_driver()
        from xmppchat.storage.postgresql.database import PostgresqlDatabase

        return await PostgresqlDatabase.open_url(
            url, on_settled=on_settled, extra_tables=extra_tables, patience=busy_timeout
        )

    @abstractmethod
    async def close(self) -> None:
        """Write what is queued, then close everything."""

    @abstractmethod
    async def fetch(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Rows:
        """Rows of one query. It sees what is committed, and cannot write.

        Raises :class:`~xmppchat.core.commit_gate.StorageUnavailable` where the database cannot be read.
        """

    @abstractmethod
    async def fetch_many(self, queries: Sequence[Query]) -> Sequence[Rows]:
        """Rows of several queries, which see the same state of the database, at little more than the cost of one."""

    @abstractmethod
    async def integrity_check(self) -> list[str]:
        """What is wrong with the database, nothing if it is sound."""


def require_driver() -> None:
    """Raise :class:`DatabaseError` where the package for PostgreSQL is not installed."""
    try:
        import asyncpg  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise DatabaseError("PostgreSQL needs a package more: pip install 'xmppchat[postgres]'") from None


class SqliteDatabase(Database):
    """A database in a file, at `path`."""

    def __init__(self, path: Path, lock: ProcessLock, on_settled: Settled | None, busy_timeout: float) -> None:
        self.path = path
        self.name = str(path)
        self._lock = lock
        self.writer = GroupCommitWriter(writing_engine(path, busy_timeout=busy_timeout), on_settled)
        reading = reading_engine(path, busy_timeout=busy_timeout)
        self._readers = ConnectionThreads(reading.connect, name="database-reader", count=READERS)

    @classmethod
    async def open_path(
        cls, path: Path, on_settled: Settled | None, extra_tables: Sequence[Table], busy_timeout: float
    ) -> SqliteDatabase:
        """See :meth:`Database.open`."""
        async with AsyncExitStack() as opened:
            try:
                lock = await asyncio.to_thread(_lock, path)
                opened.callback(lock.release)
                await asyncio.to_thread(_prepare, path, extra_tables, busy_timeout)
                database = cls(path, lock, on_settled, busy_timeout)
                opened.push_async_callback(database.writer.close)
                await database.writer.start()
                opened.push_async_callback(database._readers.close)
                await database._readers.start()
            except DBAPIError as error:
                raise DatabaseError(f"{path} cannot be opened: {reason(error) or error.orig}") from error
            except OSError as error:
                raise DatabaseError(f"{path} cannot be opened: {error.filename}: {error.strerror}") from error
            opened.pop_all()
        return database

    async def close(self) -> None:
        """See :meth:`Database.close`."""
        await self._readers.close()
        await self.writer.close()  # last, as its connection moves the log into the file
        self._lock.release()

    async def fetch(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Rows:
        """See :meth:`Database.fetch`."""
        return await self._readers.call(_fetch, statement, parameters)

    async def fetch_many(self, queries: Sequence[Query]) -> Sequence[Rows]:
        """See :meth:`Database.fetch_many`."""
        return await self._readers.call(_fetch_many, queries)

    async def integrity_check(self) -> list[str]:
        """What SQLite finds wrong with the file. Reads all of it: seconds per GiB."""
        return await self._readers.call(_integrity_check)


# --- on a thread ------------------------------------------------------------------------------------------------------

def _lock(path: Path) -> ProcessLock:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ProcessLock.take(path)


def _prepare(path: Path, extra_tables: Sequence[Table], busy_timeout: float) -> None:
    make_private(path)
    engine = writing_engine(path, busy_timeout=busy_timeout)
    with engine.connect() as connection:
        migrate(connection, str(path))
        with connection.begin():
            for table in extra_tables:
                table.create(connection, checkfirst=True)


def _fetch(connection: Connection, statement: Any, parameters: Mapping[str, Any] | None) -> Rows:
    try:
        return connection.execute(statement, parameters).all()
    except Exception as error:
        fault = translate(error)
        if fault is error:
            raise
        raise fault from error


def _fetch_many(connection: Connection, queries: Sequence[Query]) -> list[Rows]:
    if len(queries) < 2:
        return [_fetch(connection, *query) for query in queries]
    with snapshot(connection):
        return [_fetch(connection, *query) for query in queries]


def _integrity_check(connection: Connection) -> list[str]:
    try:
        problems = [str(row[0]) for row in _fetch(connection, text("PRAGMA integrity_check"), None)]
    except StorageUnavailable as error:  # damaged so much that it cannot even be looked at
        return [str(error)]
    return [] if problems == ["ok"] else problems
