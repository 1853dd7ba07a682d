"""Migrations: they make the schema of `schema.py`, survive a crash, and a newer schema is left alone."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from storage_support import child, finish, of_dialect

from xmppchat.storage import migrate, schema
from xmppchat.storage.database import Database, SchemaTooNew
from xmppchat.storage.sqlite import writing_engine


def objects(path: Path) -> dict[str, str]:
    """Tables and indexes of a database and the SQL that makes them, of this package's tables."""
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    finally:
        connection.close()
    return {name: re.sub(r"\s+", " ", sql) for name, sql in rows if name != "alembic_version"}


def migrated(path: Path) -> None:
    with writing_engine(path, busy_timeout=1).connect() as connection:
        migrate.migrate(connection, str(path))


def test_sqlite_the_migrations_make_the_schema(tmp_path: Path) -> None:
    migrated(tmp_path / "migrated.db")
    with writing_engine(tmp_path / "made.db", busy_timeout=1).begin() as connection:
        schema.metadata.create_all(connection, tables=schema.TABLES)
    assert objects(tmp_path / "migrated.db") == objects(tmp_path / "made.db")


def test_sqlite_alembic_finds_nothing_to_change(tmp_path: Path) -> None:
    path = tmp_path / "migrated.db"
    migrated(path)
    ours = {table.name for table in schema.TABLES}
    with writing_engine(path, busy_timeout=1).connect() as connection:
        context = MigrationContext.configure(connection, opts={
            "compare_type": True, "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name in ours,
            "include_object": of_dialect("sqlite"),
        })  # fmt: skip
        assert compare_metadata(context, schema.metadata) == []


def test_revisions_are_what_alembic_finds(tmp_path: Path) -> None:
    with writing_engine(tmp_path / "test.db", busy_timeout=1).connect() as connection:
        scripts = ScriptDirectory.from_config(migrate.alembic_config(connection))
    assert migrate.revisions() == [script.revision for script in scripts.walk_revisions()][::-1]
    assert scripts.get_heads() == [migrate.revisions()[-1]]


def test_sqlite_every_number_is_63_bits_and_no_index_is_made_for_an_id(tmp_path: Path) -> None:
    """In SQLite an id must be the row's own number, which ``BIGINT PRIMARY KEY`` is not."""
    path = tmp_path / "test.db"
    migrated(path)
    connection = sqlite3.connect(path)
    for table in ("accounts", "offline_messages"):
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE id = 5").fetchone()[3]
        assert "INTEGER PRIMARY KEY" in plan
    plan = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM roster_items WHERE account_id = 5").fetchone()[3]
    assert "USING PRIMARY KEY" in plan
    connection.close()


async def test_sqlite_a_start_without_anything_to_do_changes_nothing(sqlite_url: str, tmp_path: Path) -> None:
    await (await Database.open(sqlite_url)).close()
    before = (tmp_path / "test.db").read_bytes()
    await (await Database.open(sqlite_url)).close()
    assert (tmp_path / "test.db").read_bytes() == before


async def test_sqlite_data_survives_another_start(sqlite_url: str, tmp_path: Path) -> None:
    await (await Database.open(sqlite_url)).close()
    with sqlite3.connect(tmp_path / "test.db") as connection:
        connection.execute("INSERT INTO secrets VALUES ('a', 'b')")
    connection.close()
    database = await Database.open(sqlite_url)
    assert await database.fetch(text("SELECT name FROM secrets")) == [("a",)]
    await database.close()


@pytest.mark.parametrize("revision", ["9999", "f3ab"])
async def test_sqlite_a_newer_schema_is_refused_and_left_alone(sqlite_url: str, tmp_path: Path, revision: str) -> None:
    path = tmp_path / "test.db"
    await (await Database.open(sqlite_url)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])
    connection.close()
    before = path.read_bytes()
    known = migrate.revisions()[-1]
    with pytest.raises(SchemaTooNew, match=f"has schema {revision} .* by a newer version .* up to {known}"):
        await Database.open(sqlite_url)
    assert path.read_bytes() == before


@pytest.mark.parametrize("kills", [1, 3])
async def test_sqlite_a_crash_during_migration_needs_no_care(sqlite_url: str, tmp_path: Path, kills: int) -> None:
    for _ in range(kills):
        process = child("writing_child.py", sqlite_url, 0, 0, environment={"XC_CRASHPOINT": "during-migration"})
        assert finish(process)[:2] == (137, "")
        assert set(objects(tmp_path / "test.db")) == set(), "half a schema"
    database = await Database.open(sqlite_url)
    assert await database.integrity_check() == []
    await database.close()
    with writing_engine(tmp_path / "made.db", busy_timeout=1).begin() as connection:
        schema.metadata.create_all(connection, tables=schema.TABLES)
    assert objects(tmp_path / "test.db") == objects(tmp_path / "made.db")
