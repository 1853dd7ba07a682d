"""PostgreSQL: the same contract as SQLite, by asyncpg on the event loop (docs/adr/0009-postgresql.md).

Its modules import asyncpg, which is an extra: only :mod:`xmppchat.storage.database` imports them, when a URL says so.
"""

from __future__ import annotations

#: Key of the advisory lock that a server holds, and whoever else must be alone with a database.
LOCK = 0x786D7070


def is_postgresql(url: str) -> bool:
    """Whether `url` names a database of PostgreSQL's."""
    return url.startswith(("postgresql:", "postgres:"))
