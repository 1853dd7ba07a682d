"""Transfer: everything in one database streamed into another, and compared there, table by table.

A source is a state of a database that stands still while it is read; a target is new until all of it is there. What
the tables look like comes from the migrations, so that a database of an older version can be moved as it is and
migrated where it arrives. Tables of third parties' components come from ``schema.metadata``, where they put them;
their columns may be integers, booleans, floats, texts and bytes.

To be used by a process that serves nobody: reading and writing SQLite blocks.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Boolean, Executable, Float, Integer, LargeBinary, MetaData, String, Table, create_engine

from xmppchat.storage import schema
from xmppchat.storage.faults import DatabaseError, SchemaTooNew
from xmppchat.storage.migrate import alembic_config, revisions

#: A row: integers, booleans, floats, texts, bytes, None, in the order of the table's columns.
Row = tuple[Any, ...]

#: Rows read and written at once. A stanza may have some hundred KiB, so this also bounds the memory.
BATCH = 200

#: Told of progress: what is done, how much of it, of how much in all.
Report = Callable[[str, int, int], None]

#: Where Alembic notes the revision.
VERSION_TABLE = "alembic_version"
#: In a backup: what it is (see :mod:`xmppchat.storage.backup`).
INFO_TABLE = "backup_info"
#: Rows that a server makes by itself at its first start: a database with nothing else is as good as empty.
MADE_BY_ITSELF = frozenset({VERSION_TABLE, INFO_TABLE, schema.secrets.name})

_TYPES = (Boolean, Integer, Float, String, LargeBinary)


class TransferError(DatabaseError):
    """It cannot be moved, and nothing has changed; the text says what to do."""


class Source(ABC):
    """A database as it was at one instant. `name` is for people; it has no password."""

    #: Whether nobody else keeps tables there.
    is_ours_alone = True

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    async def revision(self) -> str | None:
        """The revision of the schema, None where there is none yet."""

    @abstractmethod
    async def table_names(self) -> set[str]:
        """The names of all its tables."""

    @abstractmethod
    async def count(self, table: Table) -> int:
        """Rows of `table`."""

    @abstractmethod
    def batches(self, table: Table) -> AsyncIterator[list[Row]]:
        """All rows of `table`, in any order, at most :data:`BATCH` at once."""


class Target(Source):
    """A database that comes to be. It is whole when its context ends without an error, else it never was."""

    @abstractmethod
    async def create(self, revision: str, tables: Iterable[Table]) -> None:
        """Make the schema of `revision`, and those of `tables` that it does not have."""

    @abstractmethod
    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        """Add rows."""

    @abstractmethod
    async def complete(self, statements: Iterable[Executable] = ()) -> None:
        """Bring it to the schema of this version, then execute `statements`."""


class Digest:
    """Number and checksum of rows, whatever their order."""

    __slots__ = ("_sum", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, rows: Sequence[Row]) -> None:
        """Count `rows` in."""
        for row in rows:
            text = repr(row).encode("utf-8", "surrogatepass")
            self._sum += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
        self.rows += len(rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and (self.rows, self._sum) == (other.rows, other._sum)

    def __hash__(self) -> int:
        return hash((self.rows, self._sum))


def silent(_: str, __: int, ___: int) -> None:
    """A report to nobody."""


async def copy(source: Source, target: Target, report: Report = silent) -> dict[str, int]:
    """Move everything into `target`, at the source's revision; returns the rows of each table.

    Each table is read again where it has arrived: numbers and checksums must agree. Raises :class:`TransferError`,
    :class:`SchemaTooNew`.
    """
    revision = known(await source.revision(), source.name)
    tables = await tables_of(source, revision)
    await target.create(revision, tables)
    moved: dict[str, int] = {}
    for table in tables:
        total = await source.count(table)
        read, written = Digest(), Digest()
        report(table.name, 0, total)
        async for batch in source.batches(table):
            read.add(batch)
            await target.insert(table, batch)
            report(table.name, read.rows, total)
        async for batch in target.batches(table):
            written.add(batch)
        if read != written or read.rows != total:
            raise TransferError(
                f"{table.name}: of {total} rows {read.rows} were read and {written.rows} arrived, or not as they were; "
                f"nothing was changed. Check the disks of both databases"
            )
        moved[table.name] = total
    return moved


def known(revision: str | None, name: str) -> str:
    """The revision, if this version knows it. Raises :class:`SchemaTooNew`, :class:`TransferError` for none."""
    if revision is None:
        raise TransferError(f"{name} holds nothing of xmppchat; a server makes its database at its first start")
    if revision not in revisions():
        raise SchemaTooNew(
            f"{name} has schema {revision} and was written by a newer version of xmppchat; this one knows schemas up "
            f"to {revisions()[-1]}: install that newer version"
        )
    return revision


async def tables_of(source: Source, revision: str) -> list[Table]:
    """The tables to move. Raises :class:`TransferError` where one is not known, or holds what cannot be moved."""
    present = await source.table_names() - {VERSION_TABLE, INFO_TABLE}
    own = tables_at(revision)
    found = {table.name: table for table in (*own, *third_party_tables()) if table.name in present}
    missing = {table.name for table in own} - present
    if missing:
        lost = ", ".join(sorted(missing))
        raise TransferError(f"{source.name} has schema {revision} and should have {lost}; restore a backup")
    unknown = present - found.keys()
    if unknown and source.is_ours_alone:
        raise TransferError(
            f"{source.name}: {', '.join(sorted(unknown))}: no loaded component has such a table. Load the one that it "
            f"belongs to ([components] load), or drop it if nobody needs it"
        )
    for table in found.values():
        for column in table.columns:
            if not isinstance(column.type, _TYPES):
                raise TransferError(f"{table.name}.{column.name}: {column.type!r} cannot be moved")
    return list(found.values())


def tables_at(revision: str) -> list[Table]:
    """The tables that the migrations make up to `revision`."""
    from alembic import command

    engine = create_engine("sqlite://")
    tables = MetaData()
    with engine.connect() as connection:
        command.upgrade(alembic_config(connection), revision)
        tables.reflect(connection)
    engine.dispose()
    return [table for table in tables.sorted_tables if table.name != VERSION_TABLE]


def third_party_tables() -> list[Table]:
    """The tables that loaded components brought along."""
    return [table for table in schema.metadata.sorted_tables if table not in schema.TABLES]


def quoted(name: str) -> str:
    """An identifier, for SQL."""
    return '"' + name.replace('"', '""') + '"'


def columns_of(table: Table) -> str:
    """The table's columns, for SQL."""
    return ", ".join(quoted(column.name) for column in table.columns)
