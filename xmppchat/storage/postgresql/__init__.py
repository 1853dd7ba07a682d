"""PostgreSQL: the same contract as SQLite, by asyncpg on the event loop (docs/adr/0009-postgresql.md).

Its modules import asyncpg, which is an extra: only :mod:`xmppchat.storage.database` imports them, when a URL says so.
"""
