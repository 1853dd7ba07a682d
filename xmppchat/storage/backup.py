"""Backups: one file with everything, taken while the server works, and put back while none runs.

The file is a SQLite database, whatever the server uses: its tables at one instant, and ``backup_info``, which says what
it is (`format`, `schema`, `taken_at`, `version`, `hosts`, `rows` of each table, perhaps `configuration`). It holds
what passwords are checked with and all that people wrote: mode 0600, to be kept encrypted (docs/admin/backup.md).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Executable, case, delete, or_, update

from xmppchat.core.crash_points import crash_point
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema, transfer, transfer_sqlite
from xmppchat.storage.database import require_driver
from xmppchat.storage.postgresql import is_postgresql
from xmppchat.storage.sqlite import ProcessLock, database_path
from xmppchat.storage.transfer import INFO_TABLE, VERSION_TABLE, Report, Source, Target, TransferError, silent
from xmppchat.storage.transfer_sqlite import SqliteFile, SqliteSource

#: Of the file. One that says more than this was written by a later version.
FORMAT = 1

#: Instructions of SQLite between two reports of progress: some ten a second.
_INSTRUCTIONS = 100_000


@dataclass(frozen=True, slots=True)
class BackupInfo:
    """What a backup says of itself. `rows` are those of each table; `configuration` is "" if it was not wanted."""

    schema: str
    taken_at: datetime
    version: str
    hosts: tuple[str, ...]
    rows: Mapping[str, int]
    configuration: str = ""


def uses_postgresql(url: str) -> bool:
    """Whether `url` is a PostgreSQL database, else it is a SQLite one. Raises DatabaseError for what is neither."""
    if not is_postgresql(url):
        database_path(url)
        return False
    require_driver()
    return True


# --- backup ----------------------------------------------------------------------------------------------------------

async def back_up(
    url: str, file: Path, *, hosts: Sequence[str], configuration: str = "", report: Report = silent
) -> BackupInfo:
    """Write what the database at `url` holds at this instant into `file`, which must not exist.

    A server that uses the database works on. The file appears when it is whole and on the disk. Raises
    :class:`TransferError`, :class:`~xmppchat.storage.faults.SchemaTooNew`.
    """
    with transfer_sqlite.new_file(file) as partial:
        taken_at = datetime.now(UTC)
        if uses_postgresql(url):
            await _from_postgresql(url, partial, report)
        else:
            _from_sqlite(database_path(url), partial, report)
        crash_point("during-backup")
        with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
            info = _info(connection, file, taken_at, hosts, configuration)
            _write_info(connection, info)
    return info


def _from_sqlite(path: Path, partial: Path, report: Report) -> None:
    with transfer_sqlite.read_database(path) as connection:
        size = connection.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        total = int(size.fetchone()[0])

        def progress() -> None:
            report("bytes", min(partial.stat().st_size, total), total)

        connection.set_progress_handler(progress, _INSTRUCTIONS)
        # One read transaction: writers go on, and are not seen. (SQLite's online backup would begin anew with each of
        # their commits.)
        connection.execute("VACUUM INTO ?", (str(partial),))
        report("bytes", total, total)


async def _from_postgresql(url: str, partial: Path, report: Report) -> None:
    from xmppchat.storage import transfer_postgresql

    target = SqliteFile(partial)
    try:
        async with transfer_postgresql.reading(url) as source:
            await transfer.copy(source, target, report)
    finally:
        target.close()


def _info(
    connection: sqlite3.Connection, file: Path, taken_at: datetime, hosts: Sequence[str], configuration: str
) -> BackupInfo:
    names = transfer_sqlite.names_in(connection) - {VERSION_TABLE}
    if not names:
        raise TransferError(f"there is nothing to back up: the database has no tables yet, so {file} was not written")
    revision = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()[0]  # noqa: S608
    rows = {name: transfer_sqlite.count_in(connection, name) for name in sorted(names)}
    return BackupInfo(revision, taken_at, version("xmppchat"), tuple(hosts), rows, configuration)


def _write_info(connection: sqlite3.Connection, info: BackupInfo) -> None:
    values = {
        "format": str(FORMAT),
        "schema": info.schema,
        "taken_at": info.taken_at.isoformat(timespec="milliseconds"),
        "version": info.version,
        "hosts": json.dumps(info.hosts),
        "rows": json.dumps(info.rows),
    }
    if info.configuration:
        values["configuration"] = info.configuration
    connection.execute("PRAGMA journal_mode=OFF")  # the file has no name yet, so it needs no way back
    connection.execute(f"CREATE TABLE {INFO_TABLE} (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    connection.executemany(f"INSERT INTO {INFO_TABLE} VALUES (?, ?)", values.items())  # noqa: S608


# --- restore ---------------------------------------------------------------------------------------------------------

@contextmanager
def open_backup(file: Path) -> Iterator[tuple[sqlite3.Connection, BackupInfo]]:
    """Open a backup and see that it is whole: what it says of itself, SQLite's check, the rows of each table.

    Raises :class:`TransferError`, :class:`~xmppchat.storage.faults.SchemaTooNew`.
    """
    with transfer_sqlite.read_file(file) as connection:
        info = read_info(connection, file)
        transfer.known(info.schema, str(file))
        transfer_sqlite.check_integrity(connection, file)
        names = transfer_sqlite.names_in(connection) - {VERSION_TABLE, INFO_TABLE}
        rows = {name: transfer_sqlite.count_in(connection, name) for name in sorted(names)}
        for name in sorted(rows.keys() | info.rows.keys()):
            if rows.get(name) != info.rows.get(name):
                raise TransferError(
                    f"{file} says that {name} has {info.rows.get(name, 'no')} rows, and it has {rows.get(name, 'no')}: "
                    f"it was changed after it was written, nothing was restored. Take another backup"
                )
        yield connection, info


def read_info(connection: sqlite3.Connection, file: Path) -> BackupInfo:
    """What the backup says of itself. Raises :class:`TransferError`."""
    if INFO_TABLE not in transfer_sqlite.names_in(connection):
        raise TransferError(f"{file} is no backup of xmppchat: it has no table {INFO_TABLE}")
    values = dict(connection.execute(f"SELECT name, value FROM {INFO_TABLE}"))  # noqa: S608
    try:
        if int(values["format"]) > FORMAT:
            raise TransferError(f"{file} was written by xmppchat {values['version']}, restore it with that version")
        return BackupInfo(
            values["schema"], datetime.fromisoformat(values["taken_at"]), values["version"],
            tuple(json.loads(values["hosts"])), json.loads(values["rows"]), values.get("configuration", ""),
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise TransferError(f"{file} is no backup of xmppchat: {INFO_TABLE} cannot be read ({error})") from None


async def restore(file: Path, url: str, *, force: bool = False, report: Report = silent) -> BackupInfo:
    """Put the backup in `file` into the database at `url`, all or nothing, at this version's schema.

    No server may use the database, and it must be empty. With `force` it need not be: a SQLite file is kept as
    ``PATH.before-restore``, tables of PostgreSQL in a schema of that name. Raises
    :class:`~xmppchat.storage.faults.DatabaseError`.
    """
    with open_backup(file) as (connection, info):
        if uses_postgresql(url):
            from xmppchat.storage import transfer_postgresql

            async with transfer_postgresql.replacing(url, force=force) as target:
                await transfer.copy(SqliteSource(connection, str(file)), target, report)
                await target.complete(_after_restore())
        else:
            with transfer_sqlite.replacing(database_path(url), force=force) as new:
                _copy_file(file, new, report)
                with closing(sqlite3.connect(new, isolation_level=None)) as copied:
                    copied.execute(f"DROP TABLE {INFO_TABLE}")
                transfer_sqlite.finish(new, _after_restore())
    return info


def _after_restore() -> list[Executable]:
    """What must not go back in time.

    Roster versions (RFC 6121 §2.6): a client may know one that was given out after the backup. If the same number
    came again for another change, it would miss that change for good. Nobody counts one change a millisecond, so the
    time is above all versions ever given out; and none below it is known, so each client gets its whole roster once.

    Ratchets of bots' devices (XEP-0384 §4.3): what they would encrypt next was encrypted before, for another message.
    They go, their keys stay: the next message to or from somebody begins with an exchange of keys.
    """
    accounts, now = schema.accounts, time.time_ns() // 1_000_000
    before = accounts.c.roster_version
    # Above the time if the clock is wrong; the last case is not reached by counting.
    version = case((before < now, now), (before < 2**62, before + 1), else_=before)
    names = schema.omemo_values.c.name
    ratchets = or_(*[names.like(f"/{namespace}/%/%") for namespace in (NS.OMEMO, NS.OMEMO_AXOLOTL)])
    return [
        update(accounts).values(roster_version=version, roster_floor=version),
        delete(schema.omemo_values).where(ratchets),
    ]


def _copy_file(file: Path, new: Path, report: Report) -> None:
    total, done = file.stat().st_size, 0
    with file.open("rb") as source, new.open("wb") as target:
        while chunk := source.read(1 << 20):
            target.write(chunk)
            done += len(chunk)
            report("bytes", done, total)


# --- from one database to another ------------------------------------------------------------------------------------

async def copy_database(source: str, target: str, report: Report = silent) -> dict[str, int]:
    """Move everything from one database to another, which must be empty; returns the rows of each table.

    No server may use either. Raises :class:`~xmppchat.storage.faults.DatabaseError`.
    """
    if source == target:
        raise TransferError("source and target are the same database")
    async with _standing_still(source) as of, _coming_to_be(target) as to:
        moved = await transfer.copy(of, to, report)
        await to.complete()
    return moved


@asynccontextmanager
async def _standing_still(url: str) -> AsyncIterator[Source]:
    if uses_postgresql(url):
        from xmppchat.storage import transfer_postgresql

        async with transfer_postgresql.reading(url, alone=True) as source:
            yield source
        return
    path = database_path(url)
    with transfer_sqlite.read_database(path) as connection:
        lock = ProcessLock.take(path)
        try:
            connection.execute("BEGIN")
            yield SqliteSource(connection, str(path))
        finally:
            lock.release()


@asynccontextmanager
async def _coming_to_be(url: str) -> AsyncIterator[Target]:
    if uses_postgresql(url):
        from xmppchat.storage import transfer_postgresql

        async with transfer_postgresql.replacing(url, force=False) as target:
            yield target
        return
    with transfer_sqlite.replacing(database_path(url), force=False) as new, closing(SqliteFile(new)) as file:
        yield file
