"""SQLite: the file, the lock that keeps other processes out, and the two kinds of connections.

WAL with ``synchronous=FULL``: a commit is on disk when it returns, also after a power cut, and readers never wait
for the writer nor it for them. Transactions are begun by us, not by the driver, which would begin too late.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from xmppchat.storage.faults import DatabaseError, DatabaseInUse

#: Page cache of the writer's connection and of each reader's, MiB.
WRITER_CACHE = 64
READER_CACHE = 16

_WRITER_PRAGMAS = (
    "synchronous=FULL",
    f"cache_size=-{WRITER_CACHE * 1024}",
    "wal_autocheckpoint=10000",  # pages: a checkpoint for every 40 MiB written
    "journal_size_limit=67108864",  # a log that grew behind a long reader shrinks again
    "temp_store=MEMORY",
)
_READER_PRAGMAS = (f"cache_size=-{READER_CACHE * 1024}", "temp_store=MEMORY", "query_only=ON")


def database_path(url: str) -> Path:
    """The file of ``sqlite:///PATH``. Raises :class:`DatabaseError` for everything else."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseError(f"{url!r} is no database; it looks like sqlite:////var/lib/xmppchat/xmppchat.db") from None
    if parsed.get_backend_name() != "sqlite":
        raise DatabaseError(f"{parsed.get_backend_name()} is not supported; use sqlite:///PATH or postgresql://…")
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise DatabaseError(f"{url!r} names no file; it looks like sqlite:////var/lib/xmppchat/xmppchat.db")
    return Path(parsed.database)


class ProcessLock:
    """Keeps a database to one process, whose memory is part of the truth: a lock on ``<file>.lock``.

    The system lets go of it when the process ends, however it ends. The file stays and has the holder's pid.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> ProcessLock:
        """Take the lock of the database at `path`. Raises :class:`DatabaseInUse`; OSError if it cannot be made."""
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f"the process {holder}" if holder else "another process"
            raise DatabaseInUse(
                f"{path} is in use by {who}: stop that server first"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let others in."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def make_private(path: Path) -> None:
    """Make the file if there is none. It holds what passwords are checked with: only its owner may open it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.fchmod(descriptor, 0o600)  # SQLite gives the files beside it the same mode
    finally:
        os.close(descriptor)


def writing_engine(path: Path, *, busy_timeout: float) -> Engine:
    """An engine whose transactions hold the write lock from their beginning. `busy_timeout` in seconds."""
    engine = _engine(path, busy_timeout)

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise DatabaseError(f"{path} is on a file system that cannot hold it (no shared memory); use a local disk")
        for pragma in _WRITER_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reading_engine(path: Path, *, busy_timeout: float) -> Engine:
    """An engine whose connections cannot write. Each query sees what is committed when it begins."""
    engine = _engine(path, busy_timeout, isolation_level="AUTOCOMMIT")

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in _READER_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return engine


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """All queries inside see the same state of the database."""
    connection.exec_driver_sql("BEGIN")
    try:
        yield
    finally:
        connection.exec_driver_sql("ROLLBACK")


def _engine(path: Path, busy_timeout: float, **options: Any) -> Engine:
    # hide_parameters: what people write must not get into a log by way of an error's text.
    return create_engine(
        URL.create("sqlite", database=str(path)), poolclass=NullPool, hide_parameters=True,
        connect_args={"timeout": busy_timeout}, **options,
    )
