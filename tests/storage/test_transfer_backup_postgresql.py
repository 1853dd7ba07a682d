"""Backups of PostgreSQL, and into it: the same files as those of SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from peers.postgresql import Postgresql
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from storage_support import Gate
from transfer_support import RESTORE, NewDatabase, contents, die, query, run, url_of, without_versions

from xmppchat.core.commit_gate import Write
from xmppchat.storage import schema
from xmppchat.storage.backup import back_up, copy_database, restore
from xmppchat.storage.database import Database
from xmppchat.storage.migrate import alembic_config, revisions
from xmppchat.storage.postgresql.address import Address
from xmppchat.storage.transfer import TransferError


async def test_postgresql_there_and_back(source: Path, file: Path, tmp_path: Path, new_database: NewDatabase) -> None:
    database, other, back = new_database(), new_database(), tmp_path / "back.db"
    await copy_database(url_of(source), database)
    file.parent.mkdir()
    info = await back_up(database, file, hosts=["chat.example"])
    assert info.rows == dict.fromkeys(info.rows, 12)
    assert file.stat().st_mode & 0o777 == 0o600
    stored = contents(file)
    del stored["backup_info"]
    assert stored == contents(source)
    await restore(file, other)
    await copy_database(other, url_of(back))
    assert without_versions(contents(back)) == without_versions(contents(source))
    assert await query(other, "SELECT 1 FROM accounts WHERE roster_version <> roster_floor") == []


async def test_postgresql_is_written_to_meanwhile(
    source: Path, file: Path, postgresql: Postgresql, gate: Gate
) -> None:
    """A server has it open and commits between all steps of the backup, which has nothing of that."""
    name = postgresql.new_database()
    await copy_database(url_of(source), postgresql.url(name))
    server = await Database.open(postgresql.url(name), on_settled=gate.on_settled)
    gate.attach(server.writer)
    file.parent.mkdir()
    number = 100

    def report(table: str, _: int, __: int) -> None:
        nonlocal number
        number += 1
        postgresql.sql(name, f"INSERT INTO vcards VALUES ({number}, ''); INSERT INTO secrets VALUES ('{number}', '')")
        gate.submit(Write(insert(schema.secrets), {"name": f"server's {number}", "value": b""}))

    info = await back_up(postgresql.url(name), file, hosts=[], report=report)
    assert number > 110
    assert info.rows == dict.fromkeys(info.rows, 12)
    await gate.settled()
    assert gate.errors() == {}
    assert len(await server.fetch(select(schema.vcards))) == 12 + number - 100
    assert len(await server.fetch(select(schema.secrets))) == 12 + 2 * (number - 100)
    await server.close()


async def test_postgresql_with_force_keeps_the_old_tables(source: Path, taken: Path, new_database: NewDatabase) -> None:
    database = new_database()
    await copy_database(url_of(source), database)
    await query(database, "DELETE FROM accounts WHERE id <> 1")
    with pytest.raises(TransferError, match="--force"):
        await restore(taken, database)
    assert await query(database, "SELECT id FROM accounts") == [(1,)]
    for aside in ("before_restore", "before_restore_2"):
        await restore(taken, database, force=True)
        assert await query(database, "SELECT count(*) FROM accounts") == [(12,)]
        assert len(await query(database, f"SELECT id FROM {aside}.accounts")) == (12 if "2" in aside else 1)


async def test_postgresql_after_a_restore_that_died(source: Path, taken: Path, new_database: NewDatabase) -> None:
    database = new_database()
    await copy_database(url_of(source), database)
    await query(database, "DELETE FROM accounts WHERE id <> 1")
    die("before-replacing", RESTORE, database, str(taken))
    assert await query(database, "SELECT id FROM accounts") == [(1,)]


async def test_postgresql_of_an_older_version(tmp_path: Path, file: Path, new_database: NewDatabase) -> None:
    """The database was not migrated yet, and is backed up as it is; then it is restored and migrated."""
    old, database = new_database(), new_database()
    engine = create_async_engine("postgresql+asyncpg://", async_creator=Address.parse(old).connect, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), "0001"))
    await query(old, "INSERT INTO accounts (id, localpart, domain, created_at) VALUES (7, 'user7', 'chat.example', 1)")
    file.parent.mkdir()
    info = await back_up(old, file, hosts=[])
    assert (info.schema, info.rows["accounts"]) == ("0001", 1)
    assert "vcards" not in info.rows
    assert await query(old, "SELECT version_num FROM alembic_version") == [("0001",)], "as it was"
    for target in (database, url_of(tmp_path / "target.db")):
        await restore(file, target)
        server = await Database.open(target)
        assert [(row.id, row.skeleton) for row in await server.fetch(select(schema.accounts))] == [(7, "")]
        await server.close()
    assert await query(database, "SELECT version_num FROM alembic_version") == [(revisions()[-1],)]


async def test_postgresql_with_a_damaged_backup_stays_empty(taken: Path, new_database: NewDatabase) -> None:
    run(taken, "DELETE FROM vcards WHERE account_id = 1")
    database = new_database()
    with pytest.raises(TransferError, match="vcards has 12 rows"):
        await restore(taken, database)
    assert await query(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
