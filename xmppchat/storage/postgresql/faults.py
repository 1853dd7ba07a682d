"""What can go wrong with PostgreSQL, in words. Texts never repeat what people wrote, nor a password."""

from __future__ import annotations

import asyncpg

from xmppchat.core.commit_gate import StorageUnavailable, WriteConflict

#: Classes of SQLSTATE (its first two characters) or whole ones that say "not now" of the database as a whole.
_UNAVAILABLE = {
    "53100": "the disk of the database is full",
    "53200": "the database has not enough memory",
    "53300": "the database takes no more connections",
    "53": "the database lacks resources",
    "55P03": "another program keeps a table or row locked",
    "40": "another program's transaction is in the way",
    "57014": "the work was interrupted",
    "25006": "the database is read-only",
    "58": "the database's system reports an error",
    "XX": "the database reports damage or an internal fault",
}


class BrokenStatement(Exception):
    """A statement or its parameters are wrong: a mistake of this program's."""


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of a server's error, "" for all other errors."""
    return str(error.sqlstate or "") if isinstance(error, asyncpg.PostgresError) else ""


def is_lost(error: BaseException) -> bool:
    """Whether the error means that the connection is gone, and so what was under way in it."""
    if isinstance(error, asyncpg.PostgresError):
        is_fatal = getattr(error, "severity_en", None) in ("FATAL", "PANIC")
        return is_fatal or sqlstate(error).startswith(("08", "57P"))
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, asyncpg.DataError)
    return isinstance(error, OSError | TimeoutError | asyncpg.InternalClientError)


def translate(error: BaseException) -> BaseException:
    """The error in the words of the commit gate; one that is a mistake of this program's as what it is."""
    state = sqlstate(error)
    if state.startswith("23"):
        return WriteConflict(f"the write breaks a rule of the database: {_message(error)}")
    why = _UNAVAILABLE.get(state) or _UNAVAILABLE.get(state[:2])
    if why is not None:
        return StorageUnavailable(f"{why} ({_message(error)})")
    if is_lost(error):
        return StorageUnavailable(f"the connection to the database is lost ({_message(error)})")
    if state.startswith("22") or isinstance(error, asyncpg.DataError | UnicodeError):
        # Their texts show the value.
        return BrokenStatement(f"a parameter does not fit its type ({type(error).__name__})")
    if state:
        return BrokenStatement(f"{_message(error)} ({state})")
    return error


def reason(error: BaseException) -> str:
    """Why the server cannot be reached, or does not let us in."""
    return _message(error) or type(error).__name__


def _message(error: BaseException) -> str:
    # Without the server's DETAIL, which quotes the row.
    return str(error.args[0]) if isinstance(error, asyncpg.PostgresError) and error.args else str(error)
