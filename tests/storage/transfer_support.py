"""Rows that try everything, and a look at all that a database holds."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import URL, BigInteger, Boolean, Column, Integer, LargeBinary, Table, create_engine, insert

from xmppchat.storage import schema
from xmppchat.storage.migrate import alembic_config

#: Makes an empty database of PostgreSQL; its URL.
NewDatabase = Callable[[], str]

TEXTS = (
    "", " ", "'\"\\;-- DROP", "\x01\x08\x7f\x85\u2028", "\ufeff\ufffe\uffff", "e\u0301 é", "👩‍👩‍👧 \U0010ffff",
    "%s {} \\N \\.", "\t\r\n", "\u202egnp.exe", "ı" * 40_000, "NULL",
)  # fmt: skip
BYTES = (b"", b"\0", b"\\x00", bytes(range(256)), b"\xff\xfe" * 300_000, b"<message/>")
BIG = (0, -1, 1, 2**63 - 1, -(2**63), 2**53 + 1)
SMALL = (0, -1, 2**31 - 1, -(2**31))


def hostile_rows(table: Table, count: int = 12) -> Iterator[dict[str, Any]]:
    """Rows for `table`, each with another key."""
    for number in range(count):
        yield {column.name: _value(column, number) for column in table.columns}


def _value(column: Column[Any], number: int) -> Any:
    is_key = column.primary_key or column.name in ("domain", "localpart", "client_hash")
    if column.name == "subscription":
        return ("none", "to", "from", "both", "remove")[number % 5]
    if isinstance(column.type, Boolean):
        return number % 2 == 0
    if isinstance(column.type, LargeBinary):
        return BYTES[number % len(BYTES)] if not is_key else BYTES[number % len(BYTES)][:500] + bytes([number])
    if isinstance(column.type, Integer):
        if is_key:
            return number - 3 if not isinstance(column.type, BigInteger) else (BIG[number] if number < 6 else number)
        values = BIG if isinstance(column.type, BigInteger) else SMALL
        return values[number % len(values)]
    text = TEXTS[number % len(TEXTS)]
    return f"{text[:500]}{number}" if is_key else text


def fill(path: Path, *, count: int = 12, extra: tuple[Table, ...] = ()) -> None:
    """Hostile rows into each table of the database at `path`."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    with engine.begin() as connection:
        for table in (*schema.TABLES, *extra):
            connection.execute(insert(table), list(hostile_rows(table, count)))
    engine.dispose()


def make_database(path: Path, revision: str = "head", *, extra: tuple[Table, ...] = ()) -> None:
    """A database with the schema of `revision`, empty."""
    from alembic import command

    engine = create_engine(URL.create("sqlite", database=str(path)))
    with engine.connect() as connection:
        command.upgrade(alembic_config(connection), revision)
        with connection.begin():
            for table in extra:
                table.create(connection)
    engine.dispose()


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, with their types."""
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr) for name in sorted(names)}


def indexes(path: Path) -> list[tuple[str, ...]]:
    """All that the schema says."""
    with closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master"))


def run(path: Path, statement: str, *values: Any) -> None:
    """Execute one statement in the database at `path`."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, values)


def add_account(path: Path, number: int, version: int = 0) -> None:
    """An account more."""
    names = "id, localpart, domain, created_at, roster_version"
    run(path, f"INSERT INTO accounts ({names}) VALUES (?, ?, 'chat.example', 1, ?)", number, f"user{number}", version)


def add_accounts(path: Path, count: int) -> None:
    """Many accounts more."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO accounts (id, localpart, domain, created_at) VALUES (?, ?, 'chat.example', 1)",
            ((number, f"user{number}") for number in range(count)),
        )


async def query(url: str, statement: str) -> list[Any]:
    """Run one statement in a PostgreSQL database; its rows."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def url_of(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def without_versions(tables: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """Roster versions are set anew by a restore."""
    return {**tables, "accounts": sorted([row[:5] + row[7:] for row in tables["accounts"]], key=repr)}


def die(point: str, call: str, *arguments: str) -> None:
    """Run `call` of the backup module in a process that dies at `point`."""
    script = "import asyncio, sys; from pathlib import Path; from xmppchat.storage.backup import *; a = sys.argv; "
    script += call
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env={**os.environ, "XC_CRASHPOINT": point}, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 137, done.stderr


BACK_UP = "asyncio.run(back_up(a[1], Path(a[2]), hosts=[]))"
RESTORE = "asyncio.run(restore(Path(a[2]), a[1], force=True))"
