"""Backups: one whole file from a database in use, put back whole or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from transfer_support import (
    BACK_UP,
    RESTORE,
    add_account,
    add_accounts,
    contents,
    die,
    indexes,
    make_database,
    run,
    url_of,
    without_versions,
)

from xmppchat.storage import backup, transfer_sqlite
from xmppchat.storage.backup import back_up, open_backup, restore
from xmppchat.storage.database import Database
from xmppchat.storage.faults import DatabaseInUse, SchemaTooNew
from xmppchat.storage.migrate import revisions
from xmppchat.storage.sqlite import ProcessLock
from xmppchat.storage.transfer import TransferError

ACCOUNTS = text("SELECT id FROM accounts")

def beside(path: Path) -> list[str]:
    """What stands in its directory, without it and the lock."""
    return sorted(p.name for p in path.parent.iterdir() if p not in (path, Path(f"{path}.lock")))


# --- taking one ------------------------------------------------------------------------------------------------------

async def test_a_backup_is_one_private_file_that_says_what_it_is(source: Path, file: Path) -> None:
    file.parent.mkdir()
    info = await back_up(url_of(source), file, hosts=["chat.example", "ü.example"], configuration="[hosts]\n")
    assert beside(file) == []
    assert file.stat().st_mode & 0o777 == 0o600
    assert set(info.rows.values()) == {12}
    assert info.schema == revisions()[-1]
    with open_backup(file) as (_, read):
        assert (read.hosts, read.configuration, read.rows) == (("chat.example", "ü.example"), "[hosts]\n", info.rows)
        assert abs((read.taken_at - info.taken_at).total_seconds()) < 0.001
    stored = contents(file)
    del stored["backup_info"]
    assert stored == contents(source)


async def test_writers_go_on_and_are_not_seen(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits while the copy is being made: they do not wait for it, and it has none of them."""
    database = await Database.open(url_of(tmp_path / "live.db"), busy_timeout=0.1)
    add_accounts(database.path, 3_000)
    written: list[int] = []
    with closing(sqlite3.connect(database.path, timeout=0.1, isolation_level=None)) as writer:

        def report(_: str, __: int, ___: int) -> None:
            number = 100_000 + len(written)
            writer.execute(
                "INSERT INTO accounts (id, localpart, domain, created_at) VALUES (?, ?, 'x', 1)", (number, str(number))
            )
            written.append(number)

        file.parent.mkdir()
        monkeypatch.setattr(backup, "_INSTRUCTIONS", 1_000)
        info = await back_up(url_of(database.path), file, hosts=[], report=report)
    assert len(written) > 10
    assert info.rows["accounts"] == 3_000
    assert len(await database.fetch(ACCOUNTS)) == 3_000 + len(written)
    await database.close()


async def test_nothing_is_overwritten(source: Path, taken: Path) -> None:
    before = taken.read_bytes()
    with pytest.raises(TransferError, match="exists already"):
        await back_up(url_of(source), taken, hosts=[])
    assert taken.read_bytes() == before


async def test_what_a_killed_backup_left_behind_is_in_nobodys_way(source: Path, file: Path) -> None:
    file.parent.mkdir()
    for suffix in (".partial", ".partial-journal", ".partial-wal"):
        Path(f"{file}{suffix}").write_bytes(b"rubbish" * 1_000)
    await back_up(url_of(source), file, hosts=[])
    assert beside(file) == []
    with open_backup(file):
        pass


async def test_two_at_once_do_not_disturb_each_other(source: Path, file: Path) -> None:
    file.parent.mkdir()
    with transfer_sqlite.new_file(file) as partial:
        with pytest.raises(TransferError, match="another process is writing it"):
            await back_up(url_of(source), file, hosts=[])
        assert partial.exists()


@pytest.mark.parametrize("database", ["none.db", "empty.db"])
async def test_there_is_nothing_to_back_up(tmp_path: Path, database: str) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(TransferError, match=r"first start|nothing to back up"):
        await back_up(url_of(tmp_path / database), tmp_path / "file", hosts=[])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.db"]


async def test_a_full_disk_leaves_nothing(source: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.parent.mkdir()

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(backup, "_write_info", full)
    with pytest.raises(TransferError, match="disk is full"):
        await back_up(url_of(source), file, hosts=[])
    assert beside(file) == []
    assert not file.exists()


async def test_death_during_a_backup_leaves_no_file(source: Path, file: Path) -> None:
    file.parent.mkdir()
    die("during-backup", BACK_UP, url_of(source), str(file))
    assert not file.exists()
    await back_up(url_of(source), file, hosts=[])
    assert beside(file) == []


# --- putting it back -------------------------------------------------------------------------------------------------

async def test_restored_is_what_was_backed_up(source: Path, taken: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "target.db"
    reports: list[tuple[str, int, int]] = []
    info = await restore(taken, url_of(target), report=lambda *report: reports.append(report))
    assert info.rows["accounts"] == 12
    assert reports[-1][1] == reports[-1][2] == taken.stat().st_size
    assert without_versions(contents(target)) == without_versions(contents(source))
    assert indexes(target) == indexes(source)
    assert target.stat().st_mode & 0o777 == 0o600
    assert beside(target) == []
    database = await Database.open(url_of(target))
    assert await database.integrity_check() == []
    await database.close()


async def test_roster_versions_are_above_all_that_clients_may_know(taken: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    await restore(taken, url_of(target))
    with closing(sqlite3.connect(target)) as connection:
        rows = list(connection.execute("SELECT id, roster_version, roster_floor FROM accounts"))
    with closing(sqlite3.connect(taken)) as connection:
        before = dict(connection.execute("SELECT id, roster_version FROM accounts"))
    for number, version, floor in rows:
        assert version == floor, "no version of before is taken for a known one"
        assert version > min(before[number], 2**63 - 2)
        assert version > 1_700_000_000_000


async def test_a_database_that_holds_something_needs_force_and_is_kept(
    source: Path, taken: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target.db"
    make_database(target)
    add_account(target, 77)
    before = contents(target)
    with pytest.raises(TransferError, match="--force"):
        await restore(taken, url_of(target))
    assert contents(target) == before
    await restore(taken, url_of(target), force=True)
    assert without_versions(contents(target)) == without_versions(contents(source))
    kept = Path(f"{target}.before-restore")
    assert contents(kept) == before
    await restore(taken, url_of(target), force=True)
    assert contents(kept) == before, "what was kept is not overwritten"
    assert len(contents(Path(f"{kept}-2"))["accounts"]) == 12


def crash_with_log(path: Path) -> None:
    """A process writes to the database and dies: what it wrote is in the log beside it."""
    script = """
import os, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("PRAGMA journal_mode=WAL")
c.execute("INSERT INTO accounts (id, localpart, domain, created_at) VALUES (77, 'a', 'b', 1)")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    assert Path(f"{path}-wal").stat().st_size > 0


async def test_a_log_left_by_a_crash_goes_with_the_old_database(source: Path, taken: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    make_database(target)
    crash_with_log(target)
    await restore(taken, url_of(target), force=True)
    assert without_versions(contents(target)) == without_versions(contents(source))
    assert [row[0] for row in contents(Path(f"{target}.before-restore"))["accounts"]] == [77]


async def test_a_damaged_database_is_kept_with_its_log(source: Path, taken: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    make_database(target)
    crash_with_log(target)
    log = Path(f"{target}-wal").read_bytes()
    with target.open("r+b") as file:
        file.write(b"no database     ")
    with pytest.raises(TransferError, match="--force"):
        await restore(taken, url_of(target))
    await restore(taken, url_of(target), force=True)
    assert without_versions(contents(target)) == without_versions(contents(source))
    assert Path(f"{target}.before-restore").read_bytes().startswith(b"no database ")
    assert Path(f"{target}.before-restore-wal").read_bytes() == log


async def test_a_running_server_is_not_disturbed(taken: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    make_database(target)
    before = contents(target)
    lock = ProcessLock.take(target)
    with pytest.raises(DatabaseInUse, match="is in use"):
        await restore(taken, url_of(target), force=True)
    lock.release()
    assert contents(target) == before


@pytest.mark.parametrize("has_old", [True, False])
async def test_death_during_a_restore_leaves_the_old_database(taken: Path, tmp_path: Path, has_old: bool) -> None:
    target = tmp_path / "target.db"
    if has_old:
        make_database(target)
        add_account(target, 77)
    die("before-replacing", RESTORE, url_of(target), str(taken))
    database = await Database.open(url_of(target))
    assert len(await database.fetch(ACCOUNTS)) == has_old
    await database.close()
    await restore(taken, url_of(target), force=True)
    assert not list(tmp_path.glob("*.restoring*"))
    assert len(contents(target)["accounts"]) == 12


async def test_an_older_backup_is_migrated(tmp_path: Path, file: Path) -> None:
    old, target = tmp_path / "old.db", tmp_path / "target.db"
    make_database(old, "0001")
    add_account(old, 7)
    file.parent.mkdir()
    assert (await back_up(url_of(old), file, hosts=[])).schema == "0001"
    await restore(file, url_of(target))
    fresh = tmp_path / "fresh.db"
    await (await Database.open(url_of(fresh))).close()
    assert [entry[:3] for entry in indexes(target)] == [entry[:3] for entry in indexes(fresh)]
    assert [row[:4] for row in contents(target)["accounts"]] == [(7, "user7", "chat.example", 1)]


FAULTS = {
    "no backup": ("DROP TABLE backup_info", "is no backup of xmppchat"),
    "says nothing": ("DELETE FROM backup_info", "cannot be read"),
    "later format": ("UPDATE backup_info SET value = '2' WHERE name = 'format'", "restore it with that version"),
    "strange format": ("UPDATE backup_info SET value = 'x' WHERE name = 'format'", "cannot be read"),
    "later schema": ("UPDATE backup_info SET value = '9999' WHERE name = 'schema'", "written by a newer version"),
    "a row less": ("DELETE FROM vcards WHERE account_id = 1", "vcards has 12 rows, and it has 11"),
    "a row more": ("INSERT INTO vcards VALUES (4711, '')", "vcards has 12 rows, and it has 13"),
    "a table less": ("DROP TABLE vcards", "vcards has 12 rows, and it has no"),
    "a table more": ("CREATE TABLE pets (id)", "pets has no rows, and it has 0"),
}


@pytest.mark.parametrize(("statement", "words"), FAULTS.values(), ids=list(FAULTS))
async def test_what_is_wrong_with_a_backup_is_told(taken: Path, tmp_path: Path, statement: str, words: str) -> None:
    run(taken, statement)
    target = tmp_path / "target.db"
    make_database(target)
    before = contents(target)
    with pytest.raises((TransferError, SchemaTooNew), match=words):
        await restore(taken, url_of(target))
    assert contents(target) == before


@pytest.mark.parametrize("fault", ["absent", "text", "empty", "cut", "flipped"])
async def test_a_damaged_file_is_refused(taken: Path, tmp_path: Path, fault: str) -> None:
    data = bytearray(taken.read_bytes())
    if fault == "absent":
        taken.unlink()
    elif fault == "cut":
        taken.write_bytes(data[: len(data) // 2])
    elif fault == "flipped":
        for page in range(4096, len(data), 4096):  # where the cells of the page are
            data[page + 5 : page + 7] = b"\x00\x09"
        taken.write_bytes(data)
    else:
        taken.write_bytes(b"" if fault == "empty" else b"no backup\n" * 1_000)
    target = tmp_path / "target.db"
    with pytest.raises(TransferError):
        await restore(taken, url_of(target))
    assert not target.exists()
    assert not list(tmp_path.glob("*.restoring*"))


async def test_a_backup_may_lie_where_nobody_can_write(taken: Path, tmp_path: Path) -> None:
    taken.chmod(0o400)
    taken.parent.chmod(0o500)
    before = beside(taken)
    await restore(taken, url_of(tmp_path / "target.db"))
    assert beside(taken) == before
    taken.parent.chmod(0o700)
