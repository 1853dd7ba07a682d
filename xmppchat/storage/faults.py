"""What can go wrong with a database, in words: for the operator at start, for tickets and readers later."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, IntegrityError

from xmppchat.core.commit_gate import StorageUnavailable, WriteConflict


class DatabaseError(Exception):
    """The database cannot be opened. The text is for the operator, and says what to do next."""


class DatabaseInUse(DatabaseError):
    """Another process has the database open."""


class SchemaTooNew(DatabaseError):
    """The database was written by a newer version of this program."""


#: Primary SQLite result codes that say "not now" of the database as a whole, not of one statement.
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "another program keeps the database locked",
    sqlite3.SQLITE_LOCKED: "another program keeps the database locked",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_READONLY: "the database is read-only; check the permissions of its file and directory",
    sqlite3.SQLITE_INTERRUPT: "the work was interrupted",
    sqlite3.SQLITE_IOERR: "the disk reports an error",
    sqlite3.SQLITE_CORRUPT: "the database file is damaged; stop the server and restore a backup",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "another program keeps the database locked",
    sqlite3.SQLITE_NOTADB: "the file is not a database",
}


def reason(error: BaseException) -> str | None:
    """Why the database as a whole does not work, None if the error is about something else."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        text = _UNAVAILABLE.get(code & 0xFF)  # extended codes have the primary one in their low byte
        return None if text is None else f"{text} ({original})"
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return f"the connection to the database is lost ({original})"
    return None


def translate(error: BaseException) -> BaseException:
    """The error in the words of the commit gate; one that is a mistake of this program's stays as it is."""
    if isinstance(error, IntegrityError):
        return WriteConflict(f"the write breaks a rule of the database: {error.orig}")
    why = reason(error)
    return error if why is None else StorageUnavailable(why)
