"""Transfers from and into PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
import structlog
from sqlalchemy import Connection, Executable, Table, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from xmppchat.core.crash_points import crash_point
from xmppchat.storage import schema
from xmppchat.storage.migrate import alembic_config
from xmppchat.storage.postgresql import ownership
from xmppchat.storage.postgresql.address import Address, check_server
from xmppchat.storage.postgresql.faults import reason
from xmppchat.storage.postgresql.link import FAILURES, make_synchronous
from xmppchat.storage.transfer import (
    BATCH,
    MADE_BY_ITSELF,
    VERSION_TABLE,
    Row,
    Source,
    Target,
    TransferError,
    columns_of,
    known,
    quoted,
    third_party_tables,
)

log = structlog.get_logger(__name__)

#: The schema that tables are moved to when a restore is forced.
ASIDE = "before_restore"


class PostgresSource(Source):
    """A PostgreSQL database in one transaction. Others may keep tables there, too."""

    is_ours_alone = False

    def __init__(self, connection: AsyncConnection, name: str) -> None:
        super().__init__(name)
        self.connection = connection

    async def revision(self) -> str | None:
        if VERSION_TABLE not in await self.table_names():
            return None
        found = await self.connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608
        return found.scalar()

    async def table_names(self) -> set[str]:
        return set(await self.connection.run_sync(lambda connection: inspect(connection).get_table_names()))

    async def count(self, table: Table) -> int:
        found = await self.connection.exec_driver_sql(f"SELECT count(*) FROM {quoted(table.name)}")  # noqa: S608
        return int(found.scalar_one())

    async def batches(self, table: Table) -> AsyncIterator[list[Row]]:
        driver = await driver_of(self.connection)
        rows: list[Row] = []
        # Read to its end it is closed, and the table may be altered again.
        select = f"SELECT {columns_of(table)} FROM {quoted(table.name)}"  # noqa: S608
        async for row in driver.cursor(select, prefetch=BATCH):
            rows.append(tuple(row))
            if len(rows) == BATCH:
                yield rows
                rows = []
        if rows:
            yield rows


class PostgresTarget(PostgresSource, Target):
    """The tables of a PostgreSQL database, all made and filled in one transaction."""

    def __init__(self, connection: AsyncConnection, name: str, *, force: bool) -> None:
        super().__init__(connection, name)
        self._force = force

    async def create(self, revision: str, tables: Iterable[Table]) -> None:
        tables = list(tables)
        await self._make_room({table.name for table in (*schema.TABLES, *third_party_tables(), *tables)})
        await self.connection.run_sync(_upgrade, revision)
        await self.connection.run_sync(_create_missing, tables)

    async def _make_room(self, names: set[str]) -> None:
        if (revision := await self.revision()) is not None:
            known(revision, self.name)
        present = await self.table_names() & (names | {VERSION_TABLE})
        is_occupied = [name for name in sorted(present - MADE_BY_ITSELF) if await self._has_rows(name)]
        if is_occupied and not self._force:
            raise TransferError(
                f"{self.name} holds something already ({', '.join(is_occupied)}); choose an empty database, or restore "
                f"with --force, which moves those tables to another schema"
            )
        aside = await self._new_schema() if is_occupied else ""
        for name in sorted(present):
            action = f"ALTER TABLE {quoted(name)} SET SCHEMA {quoted(aside)}" if aside else f"DROP TABLE {quoted(name)}"
            await self.connection.exec_driver_sql(action)

    async def _has_rows(self, name: str) -> bool:
        found = await self.connection.exec_driver_sql(f"SELECT 1 FROM {quoted(name)} LIMIT 1")  # noqa: S608
        return found.first() is not None

    async def _new_schema(self) -> str:
        taken = set(await self.connection.run_sync(lambda connection: inspect(connection).get_schema_names()))
        name, number = ASIDE, 1
        while name in taken:
            number += 1
            name = f"{ASIDE}_{number}"
        await self.connection.exec_driver_sql(f"CREATE SCHEMA {quoted(name)}")
        return name

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        columns = [column.name for column in table.columns]
        _refuse_nul(table.name, columns, rows)
        driver = await driver_of(self.connection)
        try:
            await driver.copy_records_to_table(table.name, records=rows, columns=columns)
        except (OverflowError, TypeError, ValueError) as error:
            raise TransferError(
                f"{table.name}: a value does not fit its column ({error}); nothing was changed. Correct that row"
            ) from error

    async def complete(self, statements: Iterable[Executable] = ()) -> None:
        await self.connection.run_sync(_upgrade, "head")
        for statement in statements:
            await self.connection.execute(statement)


def _refuse_nul(table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Name the place: PostgreSQL has no texts with the character 0, which SQLite and Python do not mind."""
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            if type(value) is str and "\0" in value:
                raise TransferError(
                    f"{table}.{column}: the row {row[0]!r} has the character 0 in a text, which PostgreSQL cannot "
                    f"hold; nothing was changed. Take it out of that row"
                )


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command

    command.upgrade(alembic_config(connection), revision)


def _create_missing(connection: Connection, tables: Iterable[Table]) -> None:
    for table in tables:
        table.create(connection, checkfirst=True)


@asynccontextmanager
async def reading(url: str, *, alone: bool = False) -> AsyncIterator[PostgresSource]:
    """The database at `url` as it is now; a server may go on writing to it, unless `alone`.

    Raises :class:`~xmppchat.storage.faults.DatabaseInUse`, :class:`~xmppchat.storage.faults.DatabaseError`.
    """
    address = Address.parse(url)
    async with _connection(address, isolation_level="REPEATABLE READ", postgresql_readonly=True) as connection:
        if alone:  # before the transaction begins: what it sees is what the last server left
            await ownership.lock(await driver_of(connection), address.name)
        yield PostgresSource(connection, address.name)


@asynccontextmanager
async def replacing(url: str, *, force: bool) -> AsyncIterator[PostgresTarget]:
    """Make the tables in the database at `url` anew, all or nothing.

    No server may use it. Tables that hold something are refused; with `force` they are moved to the schema
    ``before_restore``. Raises :class:`~xmppchat.storage.faults.DatabaseInUse`,
    :class:`~xmppchat.storage.faults.DatabaseError`.
    """
    address = Address.parse(url)
    async with _connection(address) as connection:
        driver = await driver_of(connection)
        await ownership.lock(driver, address.name)
        for danger in await check_server(driver, address.name):
            log.warning("the database is not safe", database=address.name, reason=danger)
        await make_synchronous(driver)
        async with connection.begin():
            await connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{ownership.CLAIM_SECONDS:g}s'")
            # A server that has lost its connections to the database, and so its lock, must not come back to this one.
            await ownership.set_epoch(driver, secrets.randbits(62))
            yield PostgresTarget(connection, address.name, force=force)
            crash_point("before-replacing")


@asynccontextmanager
async def _connection(address: Address, **options: Any) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=address.connect, poolclass=NullPool, hide_parameters=True
    )
    with translated(address.name):
        connection = engine.connect()
        try:
            await connection.start()
        except FAILURES as error:
            raise address.refused(error) from error
        try:
            await connection.execution_options(**options)
            yield connection
        finally:
            await connection.close()


async def driver_of(connection: AsyncConnection) -> Any:
    """asyncpg's own connection, which knows COPY and cursors. It is in the same transaction, once that has begun."""
    return (await connection.get_raw_connection()).driver_connection


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Errors of PostgreSQL's and its driver's inside are told in words."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError, TimeoutError) as error:
        raise TransferError(f"{name}: {reason(error)}; nothing was changed") from error
    except DBAPIError as error:
        raise TransferError(f"{name}: {error.orig}; nothing was changed") from error
