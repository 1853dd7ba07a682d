"""`xmppchat check`: a line for everything looked at."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
from peers.postgresql import Postgresql

from xmppchat.cli.findings import coloured
from xmppchat.cli.probe import doors
from xmppchat.core.config import ServerConfig
from xmppchat.network.certificates import CertificateFiles, write_self_signed
from xmppchat.network.control import ControlServer
from xmppchat.storage.postgresql import looking
from xmppchat.storage.sqlite import ProcessLock

ADDRESS = "127.0.0.1"


@pytest.fixture
def port() -> int:
    """A port that is free."""
    with socket.create_server((ADDRESS, 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def config(cli: Any, tmp_path: Path, port: int) -> Path:
    cli.done("init", "chat.example", "--listen", ADDRESS)
    path = tmp_path / "xmppchat.toml"
    edit(path, "[listen]", f"[listen]\nstarttls_port = {port}\ndirect_tls_port = 0")
    return path


@pytest.fixture
def busy(port: int) -> Iterator[None]:
    """Somebody listens on the port."""
    with socket.create_server((ADDRESS, port)):
        yield


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_all_is_well(cli: Any, config: Path, port: int) -> None:
    before = sorted(config.parent.rglob("*"))
    out = cli.done("check")
    assert f"ok: {config}: serves chat.example\n" in out
    assert "its key fits" in out
    assert "xmppchat.db: will be made at the first start\n" in out
    assert f"ok: {ADDRESS} port {port}: free\n" in out
    assert "error" not in out
    assert sorted(config.parent.rglob("*")) == before


def test_faults_of_the_file_are_told_with_their_lines(cli: Any, config: Path) -> None:
    edit(config, 'mode = "closed"', 'mode = "opn"')
    result = cli("check")
    assert (result.status, result.out) == (1, "")
    assert f"{config}:" in result.err
    assert 'did you mean "open"?' in result.err


def test_a_certificate_for_another_name(cli: Any, config: Path, tmp_path: Path) -> None:
    edit(config, 'hosts."chat.example"', 'hosts."other.example"')
    result = cli("check")
    assert (result.status, "the name other.example is missing" in result.out) == (1, True)


def test_a_key_of_another_certificate(cli: Any, config: Path, tmp_path: Path) -> None:
    write_self_signed(CertificateFiles("chat.example", tmp_path / "x.pem", tmp_path / "x.key"))
    edit(config, '"certificates/chat.example.key"', '"x.key"')
    result = cli("check")
    assert result.status == 1
    assert "error: " in result.out


@pytest.mark.usefixtures("busy")
def test_a_port_that_somebody_else_has(cli: Any, config: Path, port: int) -> None:
    result = cli("check")
    assert result.status == 1
    assert f"error: {ADDRESS} port {port}: in use by another program" in result.out


def test_an_address_that_is_not_here(cli: Any, config: Path) -> None:
    edit(config, f'"{ADDRESS}"', '"192.0.2.1"')
    result = cli("check")
    assert (result.status, "this machine does not have that address" in result.out) == (1, True)


def test_no_port_at_all(cli: Any, config: Path, port: int) -> None:
    edit(config, f"= {port}", "= 0")
    result = cli("check")
    assert (result.status, "both ports in [listen] are off" in result.out) == (1, True)


@pytest.mark.usefixtures("busy")
async def test_while_the_server_runs_its_port_and_database_are_in_use(
    cli: Any, config: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xmppchat.cli.probe.SECONDS", 0.2)

    async def execute(name: str, arguments: dict[str, object]) -> object:
        return None

    server = ControlServer(config.parent / "data" / "control.sock", execute)
    await server.start()
    try:
        status, out, _ = await asyncio.to_thread(lambda: astuple(cli("check")))
    finally:
        await server.stop()
    # Who has the port answers nothing at all, so no client gets in.
    assert (status, f"error: chat.example: {ADDRESS} port {port}: no answer in 0.2 s; look whether" in out) == (1, True)
    assert f"ok: {ADDRESS} port {port}: in use, and the server is running\n" in out
    assert "xmppchat.db: in use by the server" in out


def test_a_database_that_exists(cli: Any, config: Path) -> None:
    cli.done("user", "list")
    assert "xmppchat.db: can be opened\n" in cli.done("check")


def test_a_database_of_a_newer_version(cli: Any, config: Path) -> None:
    cli.done("user", "list")
    with sqlite3.connect(config.parent / "data" / "xmppchat.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    result = cli("check")
    assert (result.status, "written by a newer version" in result.out) == (1, True)


def test_a_file_that_is_no_database(cli: Any, config: Path) -> None:
    (config.parent / "data" / "xmppchat.db").write_text("not a database" * 100)
    result = cli("check")
    assert (result.status, "the file is not a database" in result.out) == (1, True)


def test_a_database_that_another_process_has(cli: Any, config: Path) -> None:
    cli.done("user", "list")
    lock = ProcessLock.take(config.parent / "data" / "xmppchat.db")
    try:
        result = cli("check")
    finally:
        lock.release()
    assert (result.status, "is in use by the process" in result.out) == (1, True)


def test_a_data_dir_that_others_can_read(cli: Any, config: Path) -> None:
    (config.parent / "data").chmod(0o755)
    assert "warning: " in cli.done("check")


def test_a_data_dir_that_is_a_file(cli: Any, config: Path) -> None:
    edit(config, 'data_dir = "data"', 'data_dir = "xmppchat.toml"')
    result = cli("check")
    assert (result.status, "is no directory" in result.out) == (1, True)


def test_limits_for_trials(cli: Any, config: Path) -> None:
    with config.open("a") as file:
        file.write('[limits]\nprofile = "benchmark"\n')
    assert "warning: limits.profile is 'benchmark'" in cli.done("check")


def test_admins_without_an_account(cli: Any, config: Path) -> None:
    edit(config, '# admins = ["admin@chat.example"]', 'admins = ["boss@chat.example", "a@elsewhere.example"]')
    warning = "warning: boss@chat.example is an admin by the configuration, and has no account"
    assert f"{warning}: `xmppchat user add boss@chat.example` makes it\n" in cli.done("check")
    cli.done("user", "add", "romeo@chat.example", "--password-stdin", stdin="secret\n")
    assert warning in cli.done("check")
    cli.done("user", "add", "boss@chat.example", "--password-stdin", stdin="secret\n")
    out = cli.done("check")
    assert "is an admin" not in out
    assert "elsewhere" not in out


def test_in_json(cli: Any, config: Path) -> None:
    found = json.loads(cli.done("check", "--json"))
    assert list(found) == ["check"]
    assert {"severity": "ok", "text": f"{config}: serves chat.example"} in found["check"]


def test_figures_for_everybody(cli: Any, config: Path, port: int) -> None:
    with config.open("a") as file:
        file.write(f'[metrics]\nport = {port}\naddress = "0.0.0.0"\n')
    assert "warning: metrics.address 0.0.0.0: whoever reaches it can read the figures" in cli.done("check")


def test_the_port_of_the_metrics(cli: Any, config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = int(somebody.getsockname()[1])
        with config.open("a") as file:
            file.write(f"[metrics]\nport = {taken}\n")
        result = cli("check")
        assert result.status == 1
        assert f"error: 127.0.0.1 port {taken}: in use by another program" in result.out
    assert f"ok: 127.0.0.1 port {taken}: free" in cli.done("check")


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert coloured("error") == "error"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert coloured("error", 6) == "\x1b[31merror \x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert coloured("error") == "error"


def test_where_a_server_on_all_addresses_is_reached() -> None:
    config = ServerConfig.for_tests()
    assert [str(door) for door in doors(config)] == ["127.0.0.1 port 5223", "127.0.0.1 port 5222"]
    assert [str(door) for door in doors(config, "chat.example")] == ["chat.example port 5223", "chat.example port 5222"]


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

@pytest.fixture
def on_postgresql(config: Path, postgresql: Postgresql) -> tuple[Path, str]:
    """A configuration with a database of its own, by a user who has a password; the database's name."""
    name = postgresql.new_database()
    postgresql.sql("postgres", f"ALTER DATABASE {name} OWNER TO keyed")
    url = f"postgresql://keyed@127.0.0.1:{postgresql.port}/{name}"
    (config.parent / "db.password").write_text("right\n")
    text = config.read_text()
    storage = f'[storage]\nurl = "{url}"\npassword = {{file = "db.password"}}\n'
    config.write_text(re.sub(r"(?m)^\[storage\]\n(.+\n)*", "", text) + "\n" + storage)
    return config, name


def test_a_postgresql(cli: Any, on_postgresql: tuple[Path, str], postgresql: Postgresql) -> None:
    config, name = on_postgresql
    version = postgresql.sql(name, "SHOW server_version").split()[0]
    where = re.escape(f"postgresql://keyed@127.0.0.1:{postgresql.port}/{name} (PostgreSQL {version})")
    out = cli.done("check")
    assert re.search(f"ok: {where}: can be opened; the first start makes its tables\n", out)
    assert postgresql.sql(name, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
    cli.done("user", "list")
    assert re.search(f"ok: {where}: can be opened\n", cli.done("check"))
    edit(config, '# admins = ["admin@chat.example"]', 'admins = ["boss@chat.example"]')
    assert "`xmppchat user add boss@chat.example` makes it" in cli.done("check")
    cli.done("user", "add", "boss@chat.example", "--password-stdin", stdin="secret\n")
    assert "boss" not in cli.done("check")
    postgresql.sql(name, "UPDATE alembic_version SET version_num = '9999'")
    result = cli("check")
    assert (result.status, "written by a newer version" in result.out) == (1, True)


def test_a_postgresql_that_cannot_be_reached(cli: Any, on_postgresql: tuple[Path, str]) -> None:
    config, _ = on_postgresql
    (config.parent / "db.password").write_text("hunter2\n")
    result = cli("check")
    assert (result.status, "check user and password in [storage]" in result.out) == (1, True)
    assert "hunter2" not in result.out


def test_a_postgresql_that_a_server_has(cli: Any, on_postgresql: tuple[Path, str], postgresql: Postgresql) -> None:
    _, name = on_postgresql
    command = [sys.executable, "-c", f"""
import asyncio
from xmppchat.storage.database import Database
async def main():
    database = await Database.open("postgresql://keyed:right@127.0.0.1:{postgresql.port}/{name}")
    print("open", flush=True)
    await asyncio.to_thread(input)
asyncio.run(main())
"""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "open\n":
            assert process.poll() is None
        result = cli("check")
        process.communicate("\n")
    assert (result.status, f"in use by xmppchat, process {process.pid} on" in result.out) == (1, True)


def test_a_postgresql_that_may_lose_what_was_acknowledged(
    cli: Any, on_postgresql: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(_: str) -> Any:
        return looking.Found("postgresql://x/y", "PostgreSQL 15.1", None, "", ["fsync is off there"])

    monkeypatch.setattr(looking, "look", look)
    assert "warning: postgresql://x/y: fsync is off there\n" in cli.done("check")
