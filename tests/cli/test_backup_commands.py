"""`xmppchat backup`, `restore` and `db copy` at the command line."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from peers.postgresql import Postgresql

from xmppchat.cli import backup
from xmppchat.storage.sqlite import ProcessLock


@pytest.fixture
def home(cli: Any, tmp_path: Path) -> Path:
    """The directory of a server with one account, not running."""
    cli.done("init", "chat.example")
    cli.done("user", "add", "juliet@chat.example", "--password-stdin", stdin="secret\n")
    return tmp_path


def names(cli: Any, *arguments: str) -> list[str]:
    return [line.split()[0] for line in cli.done("user", "list", *arguments).splitlines()[1:]]


def test_backup_and_restore(cli: Any, home: Path) -> None:
    out = cli.done("backup", "file.db", "--with-config")
    assert out.startswith("file.db: ")
    assert " UTC, schema 0" in out
    with closing(sqlite3.connect(home / "file.db")) as connection:
        info = dict(connection.execute("SELECT name, value FROM backup_info"))
    assert info["configuration"] == (home / "xmppchat.toml").read_text()
    assert info["hosts"] == '["chat.example"]'
    cli.done("user", "add", "romeo@chat.example", "--password-stdin", stdin="secret\n")
    refused = cli("restore", "file.db")
    assert (refused.status, refused.out) == (1, "")
    assert "holds something already; with --force" in refused.err
    assert cli.done("restore", "file.db", "--force").startswith("restored ")
    assert names(cli) == ["juliet@chat.example"]
    assert (home / "data" / "xmppchat.db.before-restore").exists()


def test_the_configuration_is_not_in_it_unless_wanted(cli: Any, home: Path) -> None:
    cli.done("backup", "file.db")
    with closing(sqlite3.connect(home / "file.db")) as connection:
        assert "configuration" not in dict(connection.execute("SELECT name, value FROM backup_info"))


def test_restored_elsewhere_it_says_which_domains_are_not_served(cli: Any, home: Path) -> None:
    cli.done("backup", "file.db")
    cli.done("init", "other.example", "--dir", "other")
    result = cli("restore", "file.db", "--config", "other/xmppchat.toml")
    assert result.status == 0
    assert 'chat.example: served by the server of the backup and not by this one' in result.err


@pytest.mark.parametrize("command", [("restore", "file.db", "--force"), ("db", "copy", "--to", "sqlite:///new.db")])
def test_while_a_server_runs(cli: Any, home: Path, command: tuple[str, ...]) -> None:
    cli.done("backup", "file.db")
    lock = ProcessLock.take(home / "data" / "xmppchat.db")
    result = cli(*command)
    assert result.status == 1
    assert "stop that server first" in result.err
    cli.done("backup", "second.db")
    lock.release()


def test_mistakes_are_told_in_a_line(cli: Any, home: Path) -> None:
    for arguments, words in (
        (("backup", "xmppchat.toml"), "exists already"),
        (("backup", "nowhere/file.db"), "No such file or directory"),
        (("restore", "nowhere.db"), "there is no such file"),
        (("restore", "xmppchat.toml"), "not a database"),
        (("db", "copy"), "say where to copy to"),
        (("db", "copy", "--to", "mysql://x/y"), "mysql"),
        (("db", "copy", "--to", "nonsense"), "'nonsense' is no database"),
        (("db", "copy", "--to", "sqlite:///x.db", "--from", "sqlite:///none.db"), "there is no database yet"),
    ):
        result = cli(*arguments)
        assert result.status == 1, arguments
        assert words in result.err
        assert len(result.err.splitlines()) == 1, result.err


def test_copy_to_another_file(cli: Any, home: Path) -> None:
    out = cli.done("db", "copy", "--to", f"sqlite:///{home}/new.db")
    assert "compared one by one" in out
    assert f'set url = "sqlite:///{home}/new.db" in [storage]' in out
    with closing(sqlite3.connect(home / "new.db")) as connection:
        assert connection.execute("SELECT localpart FROM accounts").fetchall() == [("juliet",)]


def test_copy_to_postgresql_and_back(cli: Any, home: Path, postgresql: Postgresql) -> None:
    url = postgresql.url(postgresql.new_database())
    out = cli.done("db", "copy", "--to", url)
    assert "[storage]" in out
    (home / "data" / "xmppchat.db").unlink()
    out = cli.done("db", "copy", "--from", url)
    assert "[storage]" not in out, "the configured database is in use already"
    assert names(cli) == ["juliet@chat.example"]


def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with backup.progress("backup") as report:
        report("accounts", 1, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with backup.progress("backup") as report:
        report("accounts", 1, 2)
    assert "accounts" in capsys.readouterr().err
