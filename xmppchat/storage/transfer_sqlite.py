"""Transfers from and into SQLite files."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Boolean, Executable, Table, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from xmppchat.core.crash_points import crash_point
from xmppchat.storage.faults import DatabaseError, reason
from xmppchat.storage.migrate import alembic_config, migrate
from xmppchat.storage.sqlite import ProcessLock, writing_engine
from xmppchat.storage.transfer import (
    BATCH,
    MADE_BY_ITSELF,
    VERSION_TABLE,
    Row,
    Source,
    Target,
    TransferError,
    columns_of,
    quoted,
)

#: How long a lock of another program's is waited for, s.
BUSY_TIMEOUT = 30.0

#: Files that SQLite keeps beside a database.
BESIDE = ("-wal", "-shm", "-journal")


class SqliteSource(Source):
    """A SQLite database in one read transaction: the server that writes to it is not held up."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        super().__init__(name)
        self._connection = connection

    async def revision(self) -> str | None:
        if VERSION_TABLE not in await self.table_names():
            return None
        with translated(self.name):
            row = self._connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608
        return str(row[0]) if row else None

    async def table_names(self) -> set[str]:
        with translated(self.name):
            return names_in(self._connection)

    async def count(self, table: Table) -> int:
        with translated(self.name):
            return count_in(self._connection, table.name)

    async def batches(self, table: Table) -> AsyncIterator[list[Row]]:
        booleans = [index for index, column in enumerate(table.columns) if isinstance(column.type, Boolean)]
        with translated(self.name):
            cursor = self._connection.execute(f"SELECT {columns_of(table)} FROM {quoted(table.name)}")  # noqa: S608
        while True:
            with translated(self.name):
                rows = cursor.fetchmany(BATCH)
            if not rows:
                return
            yield [_with_booleans(row, booleans) for row in rows] if booleans else rows


class SqliteFile(SqliteSource, Target):
    """A new SQLite file, filled without care for crashes: whoever makes it gives it its name when it is whole."""

    def __init__(self, path: Path) -> None:
        super().__init__(sqlite3.connect(path, isolation_level=None), str(path))
        self.path = path
        self._is_open = True
        self._connection.execute("PRAGMA journal_mode=OFF")
        self._connection.execute("PRAGMA synchronous=OFF")

    async def create(self, revision: str, tables: Iterable[Table]) -> None:
        from alembic import command

        engine = create_engine(URL.create("sqlite", database=str(self.path)), poolclass=NullPool)
        with engine.connect() as connection:
            command.upgrade(alembic_config(connection), revision)
            with connection.begin():
                for table in tables:
                    table.create(connection, checkfirst=True)
        self._connection.execute("BEGIN")

    async def insert(self, table: Table, rows: Sequence[Row]) -> None:
        marks = ", ".join("?" * len(table.columns))
        statement = f"INSERT INTO {quoted(table.name)} ({columns_of(table)}) VALUES ({marks})"  # noqa: S608
        with translated(self.name):
            self._connection.executemany(statement, rows)

    async def complete(self, statements: Iterable[Executable] = ()) -> None:
        self.close()
        finish(self.path, statements)

    def close(self) -> None:
        """Commit and close. What is in the file may not be on the disk yet."""
        if self._is_open:
            self._is_open = False
            with translated(self.name), closing(self._connection):
                if self._connection.in_transaction:
                    self._connection.execute("COMMIT")


def _with_booleans(row: Row, booleans: Sequence[int]) -> Row:
    values = list(row)
    for index in booleans:
        if values[index] is not None:
            values[index] = bool(values[index])
    return tuple(values)


def names_in(connection: sqlite3.Connection) -> set[str]:
    """The names of all tables, SQLite's own left out."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' "
                              "ESCAPE '\\'")  # fmt: skip
    return {str(row[0]) for row in rows}


def count_in(connection: sqlite3.Connection, name: str) -> int:
    """Rows of the table called `name`."""
    return int(connection.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0])  # noqa: S608


@contextmanager
def read_file(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a file that nobody writes to, such as a backup; the medium may be read-only."""
    with translated(path):
        if not path.is_file():
            raise TransferError(f"{path}: there is no such file")
        uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            yield connection


@contextmanager
def read_database(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the database of a server, which may run."""
    with translated(path):
        if not path.is_file():
            raise TransferError(f"{path}: there is no database yet; a server makes it at its first start")
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)) as connection:
            yield connection


@contextmanager
def translated(path: Path | str) -> Iterator[None]:
    """Errors of SQLite's inside are told in words."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a mistake of this program's
    except sqlite3.Error as error:
        raise TransferError(f"{path}: {reason(error) or error}") from error
    except DBAPIError as error:
        raise TransferError(f"{path}: {reason(error) or error.orig}") from error


def check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    """Read all of the file. Raises :class:`TransferError` if SQLite finds anything wrong."""
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise TransferError(
            f"{path} is damaged, nothing was changed: {'; '.join(found)}. Check the disk, or take an older backup"
        )


def finish(path: Path, statements: Iterable[Executable] = ()) -> None:
    """Bring the new database at `path` to the schema of this version, execute `statements`, put it on the disk."""
    engine = writing_engine(path, busy_timeout=BUSY_TIMEOUT)
    with engine.connect() as connection:
        migrate(connection, str(path))
        with connection.begin():
            for statement in statements:
                connection.execute(statement)
    with read_database(path) as written:
        check_integrity(written, path)
    sync(path)


# --- taking the place of a database ----------------------------------------------------------------------------------

@contextmanager
def replacing(path: Path, *, force: bool) -> Iterator[Path]:
    """The path of a new, private file that becomes the database `path` when the block ends without an error.

    No server may use the database. One that holds something is refused; with `force` it is kept as
    ``PATH.before-restore``. Until the last step, and after a crash at any moment, the old one is there, whole. Raises
    :class:`~xmppchat.storage.faults.DatabaseInUse`, :class:`TransferError`.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = ProcessLock.take(path)
    new = Path(f"{path}.restoring")
    try:
        is_kept = _is_occupied(path)
        if is_kept and not force:
            raise TransferError(
                f"{path} holds something already; with --force it is kept beside the new one (.before-restore)"
            )
        remove(new)
        make_private(new)
        try:
            with translated(new):
                yield new
            crash_point("before-replacing")
            _replace(path, new, is_kept=is_kept)
        finally:
            remove(new)
        _give_to_owner(path, Path(f"{path}.lock"))
    finally:
        lock.release()


def _is_occupied(path: Path) -> bool:
    if not path.exists() or not path.stat().st_size:
        return False
    if not _has_header(path):
        return True
    try:
        with read_database(path) as connection:
            return any(
                connection.execute(f"SELECT 1 FROM {quoted(name)} LIMIT 1").fetchone()  # noqa: S608
                for name in names_in(connection) - MADE_BY_ITSELF
            )
    except DatabaseError:
        return True  # damaged: perhaps somebody can still rescue something from it


def _has_header(path: Path) -> bool:
    """Whether SQLite may open it; of a file that is no database it would throw the log away."""
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _replace(path: Path, new: Path, *, is_kept: bool) -> None:
    log = Path(f"{new}-wal")
    if log.exists() and log.stat().st_size:
        raise TransferError(f"{log}: another program has the new file open; nothing was changed. Try again")
    _empty_log(path)
    if is_kept:
        aside = _free_name(path)
        for suffix in ("", "-wal"):  # there is a log only if the file is damaged
            if os.path.exists(f"{path}{suffix}"):
                _keep(Path(f"{path}{suffix}"), Path(f"{aside}{suffix}"))
        sync(path.parent)
    # SQLite would take an old log for the new file's own.
    for suffix in BESIDE:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    new.rename(path)
    sync(path.parent)


def _empty_log(path: Path) -> None:
    """Move what is in the write-ahead log into the file, and end the log."""
    if not path.exists() or not _has_header(path):
        return
    try:
        with read_database(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except DatabaseError:
        return  # damaged; it is kept with its log


def _free_name(path: Path) -> Path:
    name = Path(f"{path}.before-restore")
    number = 1
    while name.exists():
        number += 1
        name = Path(f"{path}.before-restore-{number}")
    return name


def _keep(path: Path, aside: Path) -> None:
    try:
        aside.hardlink_to(path)
    except OSError:  # not every file system can
        shutil.copy2(path, aside)
        sync(aside)


def _give_to_owner(*paths: Path) -> None:
    """What root restores must be usable by the user whose directory it is in."""
    if os.geteuid() == 0:
        for path in paths:
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)


# --- files -----------------------------------------------------------------------------------------------------------

@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A private file, PATH.partial, that is on the disk and called `path` when the block ends without an error.

    Raises :class:`TransferError` where `path` exists, or another process is about to make it.
    """
    partial = Path(f"{path}.partial")
    _refuse_existing(path)
    descriptor = make_private(partial, keep_open=True)
    try:
        _claim(descriptor, partial)
        try:
            remove(partial, but_not_itself=True)  # what one that was killed left behind
            os.ftruncate(descriptor, 0)
            with translated(partial):
                yield partial
            sync(partial)
            _refuse_existing(path)
            partial.rename(path)
            sync(path.parent)
        finally:
            remove(partial)
    finally:
        os.close(descriptor)


def _claim(descriptor: int, partial: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have given it its final name since it was opened.
        is_claimed = os.fstat(descriptor).st_ino == partial.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        is_claimed = False
    if not is_claimed:
        raise TransferError(f"{partial}: another process is writing it")


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise TransferError(f"{path} exists already; backups overwrite nothing, so give another name")


def make_private(path: Path, *, keep_open: bool = False) -> int:
    """Make an empty file that only its owner may open; returns its descriptor, closed unless `keep_open`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)
    if not keep_open:
        os.close(descriptor)
    return descriptor


def remove(path: Path, *, but_not_itself: bool = False) -> None:
    """Delete a database file and what SQLite keeps beside it; what is not there is no error."""
    for suffix in BESIDE if but_not_itself else ("", *BESIDE):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return once the file, or the names in the directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
