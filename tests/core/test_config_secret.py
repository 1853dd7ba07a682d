"""Secrets of a configuration: read from elsewhere, shown nowhere."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
import structlog
from pydantic import Field

from xmppchat.core import logs
from xmppchat.core.component import Component, ComponentConfig
from xmppchat.core.config import ConfigError, load_config
from xmppchat.core.options import options, toml_value
from xmppchat.core.secret import Secret

HOST = '[hosts."chat.example"]\ncertificate = "c.pem"\nkey = "c.key"\n[components.vault]\n'


class VaultConfig(ComponentConfig):
    """Options of a component that keeps a secret."""

    key: Secret | None = Field(default=None, description="opens the vault")


class Vault(Component[VaultConfig]):
    """Keeps a secret."""

    name = "vault"
    Config = VaultConfig


def load(directory: Path, text: str) -> Secret | None:
    path = directory / "xmppchat.toml"
    path.write_text(HOST + text)
    return load_config(path, [Vault]).component(Vault).key


@pytest.mark.parametrize("content", ["s3cret", "s3cret\n", "s3cret\r\n"])
def test_from_a_file_beside_the_configuration(tmp_path: Path, content: str) -> None:
    (tmp_path / "vault.key").write_bytes(content.encode())
    secret = load(tmp_path, 'key = {file = "vault.key"}')
    assert secret is not None
    assert secret.reveal() == "s3cret"


def test_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_KEY", "s3cret")
    assert load(tmp_path, 'key = {env = "VAULT_KEY"}') == Secret("s3cret")


def test_it_may_be_left_out(tmp_path: Path) -> None:
    assert load(tmp_path, "") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('key = "s3cret"', 'a secret is {file = "PATH"} or {env = "VARIABLE"}'),
        ('key = {text = "s3cret"}', "a secret is {file"),
        ('key = {env = "A", file = "B"}', "a secret is {file"),
        ("key = {file = 3}", "a secret is {file"),
        ('key = {env = "NOT_SET_HERE"}', "the environment variable NOT_SET_HERE is not set"),
        ('key = {file = "missing"}', "missing cannot be read: No such file"),
        ('key = {file = "empty"}', "is empty"),
        ('key = {file = "binary"}', "is not UTF-8 text"),
        ('key = {file = "long"}', "is too long"),
    ],
)
def test_faults_have_a_line_and_never_the_secret(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "long").write_text("x" * 70_000)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    [fault] = caught.value.faults
    assert fault.line == 5
    assert fault.text.startswith("components.vault.key: ")
    assert sentence in fault.text
    assert "s3cret" not in str(caught.value)


def test_nothing_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    secret = Secret("s3cret", "env VAULT_KEY")
    shown = [repr(secret), str(secret), f"{secret}", toml_value(secret), json.dumps([secret], default=str),
             repr(VaultConfig(key=secret)), str(VaultConfig(key=secret).model_dump())]  # fmt: skip
    logs.configure("info", "json")
    structlog.get_logger("x").info("event", key=secret, config=VaultConfig(key=secret))
    structlog.reset_defaults()
    shown.append(capsys.readouterr().err)
    assert not any("s3cret" in text for text in shown)
    assert all("VAULT_KEY" in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)


def test_the_option_says_what_it_wants() -> None:
    [option] = options(VaultConfig)
    assert (option.type, option.default) == ("secret", None)
