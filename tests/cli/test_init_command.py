"""`xmppchat init`: what it writes, what it refuses, what it says next."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xmppchat.components import BUILTIN
from xmppchat.components.register import Register
from xmppchat.core.config import load_config
from xmppchat.network.certificates import CertificateFiles, write_self_signed


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_writes_what_a_server_needs(cli: Any, tmp_path: Path) -> None:
    out = cli.done("init", "chat.example")
    config = load_config(tmp_path / "xmppchat.toml", BUILTIN)
    host = config.hosts["chat.example"]
    assert (mode(host.key), mode(config.data_dir)) == (0o600, 0o700)
    assert host.certificate.exists()
    assert config.component(Register).mode == "closed"
    assert "xmppchat user add YOU@chat.example\n" in out
    assert "self-signed" in out


def test_options_reach_the_file(cli: Any, tmp_path: Path) -> None:
    out = cli.done(
        "init", "Chat.Example", "--dir", "a b", "--listen", "127.0.0.9", "--listen", "::1", "--registration", "open",
        "--admin", "Me@chat.example",
    )  # fmt: skip
    config = load_config(tmp_path / "a b" / "xmppchat.toml", BUILTIN)
    assert config.listen.addresses == ("127.0.0.9", "::1")
    assert config.component(Register).mode == "open"
    assert [admin.full for admin in config.hosts["chat.example"].admins] == ["me@chat.example"]
    assert "xmppchat serve --config 'a b/xmppchat.toml'" in out


def test_the_file_is_short(cli: Any, tmp_path: Path) -> None:
    cli.done("init", "chat.example")
    assert len((tmp_path / "xmppchat.toml").read_text().splitlines()) < 25


def test_a_given_certificate_stays_where_it_is(cli: Any, tmp_path: Path) -> None:
    files = CertificateFiles("chat.example", tmp_path / "tls" / "c.pem", tmp_path / "tls" / "c.key")
    write_self_signed(files)
    cli.done("init", "chat.example", "--dir", "x", "--certificate", "tls/c.pem", "--key", "tls/c.key")
    host = load_config(tmp_path / "x" / "xmppchat.toml", BUILTIN).hosts["chat.example"]
    assert (host.certificate, host.key) == (files.certificate, files.key)
    assert not (tmp_path / "x" / "certificates").exists()


def test_a_certificate_for_another_name_is_taken_but_told(cli: Any, tmp_path: Path) -> None:
    write_self_signed(CertificateFiles("other.example", tmp_path / "c.pem", tmp_path / "c.key"))
    out = cli.done("init", "chat.example", "--certificate", "c.pem", "--key", "c.key")
    assert "the name chat.example is missing" in out


def test_nothing_is_overwritten(cli: Any, tmp_path: Path) -> None:
    cli.done("init", "chat.example")
    before = (tmp_path / "xmppchat.toml").read_text()
    result = cli("init", "other.example")
    assert (result.status, "exists already and is left alone" in result.err) == (1, True)
    assert (tmp_path / "xmppchat.toml").read_text() == before


def test_after_the_configuration_was_removed_the_certificate_is_kept(cli: Any, tmp_path: Path) -> None:
    cli.done("init", "chat.example")
    certificate = tmp_path / "certificates" / "chat.example.pem"
    before = certificate.read_bytes()
    (tmp_path / "xmppchat.toml").unlink()
    assert "Kept certificates/chat.example.pem" in cli.done("init", "chat.example")
    assert certificate.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["a b"], "'a b' is not a domain"),
        (["me@chat.example"], "what stands behind the @"),
        (["chat.example", "--listen", "localhost"], "--listen localhost: this is no IP address"),
        (["chat.example", "--registration", "opne"], "not 'opne'; did you mean open?"),
        (["chat.example", "--admin", "chat.example"], "no account's address"),
        (["chat.example", "--certificate", "x.pem"], "go together"),
        (["chat.example", "--certificate", "x.pem", "--key", "x.key"], "x.pem"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    cli: Any, tmp_path: Path, arguments: list[str], text: str
) -> None:
    result = cli("init", *arguments)
    assert result.status == 1
    assert text in result.err
    assert list(tmp_path.iterdir()) == []


def test_it_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    code = (
        "import sys; from xmppchat.cli.app import run; status = run(['init', 'chat.example']);"
        "print(sorted({'sqlalchemy', 'alembic', 'asyncio'} & set(sys.modules)), status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout.splitlines()[-1].endswith("] 0"), done.stderr
    assert "sqlalchemy" not in done.stdout
    assert "alembic" not in done.stdout
