"""A database on a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import structlog
from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from xmppchat.core.commit_gate import Settled, StorageUnavailable
from xmppchat.storage import migrate
from xmppchat.storage.database import READERS, Database, Query, Rows
from xmppchat.storage.faults import DatabaseError
from xmppchat.storage.postgresql.address import Address, check_server
from xmppchat.storage.postgresql.faults import reason
from xmppchat.storage.postgresql.link import FAILURES, Link
from xmppchat.storage.postgresql.ownership import Ownership
from xmppchat.storage.postgresql.readers import Readers
from xmppchat.storage.postgresql.writer import PostgresqlWriter

log = structlog.get_logger(__name__)

_INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready)"
_CHECKSUMS = "SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()"


class PostgresqlDatabase(Database):
    """See :class:`~xmppchat.storage.database.Database`."""

    writer: PostgresqlWriter

    def __init__(self, address: Address, owner: Ownership, on_settled: Settled | None, patience: float) -> None:
        self.name = address.name
        self.owner = owner
        milliseconds = f"{int(patience * 1_000)}ms"
        self._writing = Link(address, lock_timeout=milliseconds)
        self._reading = [Link(address, default_transaction_read_only="on") for _ in range(READERS)]
        self.writer = PostgresqlWriter(self._writing, owner, on_settled, patience=patience)
        self._readers = Readers(self._reading, patience=patience)
        owner.on_silence = self._drop

    @classmethod
    async def open_url(
        cls, url: str, *, on_settled: Settled | None, extra_tables: Sequence[Table], patience: float
    ) -> PostgresqlDatabase:
        """See :meth:`Database.open`."""
        address = Address.parse(url)
        async with AsyncExitStack() as opened:
            try:
                owner = Ownership(address)
                opened.push_async_callback(owner.close)
                connection = await owner.take()
                for danger in await check_server(connection, address.name):
                    log.warning("the database is not safe", database=address.name, reason=danger)
                await _prepare(address, connection, owner, extra_tables)
                database = cls(address, owner, on_settled, patience)
                opened.push_async_callback(database.writer.close)
                await database.writer.start()
                opened.push_async_callback(database._readers.close)
                await database._readers.start()
            except StorageUnavailable as error:
                raise DatabaseError(f"{address.name} cannot be opened: {error}") from None
            except DBAPIError as error:
                raise DatabaseError(f"{address.name} cannot be opened: {error.orig}") from None
            except FAILURES as error:
                raise DatabaseError(f"{address.name} cannot be opened: {reason(error)}") from None
            owner.watch()
            opened.pop_all()
        return database

    async def close(self) -> None:
        """See :meth:`Database.close`."""
        await self._readers.close()
        await self.writer.close()
        await self.owner.close()

    async def fetch(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Rows:
        """See :meth:`Database.fetch`."""
        return (await self._readers.fetch(((statement, parameters),)))[0]

    async def fetch_many(self, queries: Sequence[Query]) -> Sequence[Rows]:
        """See :meth:`Database.fetch_many`."""
        return await self._readers.fetch(queries) if queries else []

    async def integrity_check(self) -> list[str]:
        """What PostgreSQL knows to be wrong: indexes that are not whole, pages with wrong checksums."""
        from sqlalchemy import text

        problems = [f"the index {row[0]} is not whole: REINDEX it" for row in await self.fetch(text(_INVALID))]
        failures = (await self.fetch(text(_CHECKSUMS)))[0][0]
        if failures:
            problems.append(f"{failures} pages had wrong checksums; check the disk, restore a backup")
        return problems

    def _drop(self) -> None:
        for link in (self._writing, *self._reading):
            link.drop()


async def current_revision(connection: asyncpg.Connection) -> str | None:
    """The revision of the database, None for an empty one."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    return None if revision is None else str(revision)


async def _prepare(
    address: Address, connection: asyncpg.Connection, owner: Ownership, extra_tables: Sequence[Table]
) -> None:
    """Bring the schema up to date. `connection` holds the lock."""
    current = await current_revision(connection)
    is_current = migrate.is_current(current, address.name)
    await owner.claim()
    missing = [table for table in extra_tables if not await _exists(connection, table)]
    if is_current and not missing:
        return

    def change(connection: Connection) -> None:
        migrate.migrate(connection, address.name)
        with connection.begin():
            for table in missing:
                table.create(connection, checkfirst=True)

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=address.connect, poolclass=NullPool, hide_parameters=True
    )
    async with engine.connect() as changing:
        await changing.run_sync(change)
    await engine.dispose()


async def _exists(connection: asyncpg.Connection, table: Table) -> bool:
    quoted = '"' + table.name.replace('"', '""') + '"'
    return await connection.fetchval("SELECT to_regclass($1)", quoted) is not None
