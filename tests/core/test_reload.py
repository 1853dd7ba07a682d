"""What a reload takes of a changed configuration, and what it leaves for a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from xmppchat.components import BUILTIN
from xmppchat.core.config import ServerConfig, load_config
from xmppchat.core.reload import plan

FILE = """\
data_dir = "data"
[hosts."one.example"]
certificate = "one.pem"
key = "one.key"
[hosts."two.example"]
certificate = "two.pem"
key = "two.key"
[limits]
roster_items = 10
[components.register]
mode = "closed"
"""


@pytest.fixture
def load(tmp_path: Path):  # type: ignore[no-untyped-def]
    def load(*changes: tuple[str, str]) -> ServerConfig:
        text = FILE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "xmppchat.toml"
        path.write_text(text)
        return load_config(path, BUILTIN)

    return load


def test_nothing_changed(load) -> None:  # type: ignore[no-untyped-def]
    change = plan(load(), load())
    assert (change.changed, change.restart) == ((), ())


def test_what_is_read_at_use_changes(load) -> None:  # type: ignore[no-untyped-def]
    change = plan(load(), load(
        ("roster_items = 10", "roster_items = 20"), ('mode = "closed"', 'mode = "open"'),
        ('key = "one.key"', 'key = "one.key"\nadmins = ["it@one.example"]'),
        ('data_dir = "data"', 'data_dir = "data"\n[logging]\nlevel = "debug"'),
    ))
    assert set(change.changed) == {
        "limits.roster_items", "components.register.mode", 'hosts."one.example".admins', "logging.level",
    }
    assert change.restart == ()
    assert change.config.limits.roster_items == 20
    assert [admin.bare for admin in change.config.hosts["one.example"].admins] == ["it@one.example"]


def test_sockets_and_storage_stay_until_a_restart(load) -> None:  # type: ignore[no-untyped-def]
    old = load()
    change = plan(old, load(
        ('data_dir = "data"', 'data_dir = "other"\n[listen]\nstarttls_port = 5555\n[metrics]\nport = 9000'),
        ("roster_items = 10", "roster_items = 20"),
    ))
    assert set(change.restart) == {"data_dir", "listen.starttls_port", "metrics.port", "storage.url"}
    assert change.changed == ("limits.roster_items",)
    for name in ("data_dir", "listen", "metrics", "storage"):
        assert getattr(change.config, name) == getattr(old, name)


def test_the_set_of_hosts_stays_and_their_options_change(load) -> None:  # type: ignore[no-untyped-def]
    old = load()
    change = plan(old, load(('"two.example"', '"three.example"'), ('"one.pem"', '"new.pem"')))
    assert set(change.restart) == {'hosts."two.example"', 'hosts."three.example"'}
    assert change.changed == ('hosts."one.example".certificate',)
    assert list(change.config.hosts) == ["one.example", "two.example"]
    assert change.config.hosts["two.example"] == old.hosts["two.example"]
    assert change.config.hosts["one.example"].certificate.name == "new.pem"


def test_external_components_come_and_go(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for name in ("a", "b"):
        (tmp_path / f"{name}.secret").write_text(name * 32)
    table = '[external_components."gateway.example"]\nsecret = {file = "a.secret"}\n'
    without, with_it = load(), load(("[limits]", f"{table}[limits]"))
    change = plan(without, with_it)
    assert change.restart == ()
    assert change.changed == ('external_components."gateway.example"',)
    assert list(change.config.external_components) == ["gateway.example"]
    assert plan(with_it, without).config.external_components == {}
    other_secret = load(("[limits]", f"{table.replace('a.secret', 'b.secret')}[limits]"))
    assert plan(with_it, other_secret).changed == ('external_components."gateway.example".secret',)


def test_a_host_that_becomes_a_component_does_so_at_a_restart(load, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.secret").write_text("a" * 32)
    change = plan(load(), load(
        ('[hosts."two.example"]\ncertificate = "two.pem"\nkey = "two.key"\n',
         '[external_components."two.example"]\nsecret = {file = "a.secret"}\n'),
    ))
    assert set(change.restart) == {'hosts."two.example"', 'external_components."two.example"'}
    assert list(change.config.hosts) == ["one.example", "two.example"]
    assert change.config.external_components == {}


def test_components_stay_with_their_options_for_the_start(load, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    register = next(cls for cls in BUILTIN if cls.name == "register")
    monkeypatch.setattr(register, "restart_options", ("mode",))
    change = plan(load(), load(('mode = "closed"', 'mode = "open"')))
    assert change.restart == ("components.register.mode",)
    assert change.config.component(register).mode == "closed"
