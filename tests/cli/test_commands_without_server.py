"""Commands from `@command` declarations, run in this process as no server is running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xmppchat.cli import invoke


@pytest.fixture
def config(cli: Any, tmp_path: Path) -> Path:
    cli.done("init", "chat.example")
    return tmp_path / "xmppchat.toml"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is typed at a terminal."""
    answers: list[str] = []
    monkeypatch.setattr("getpass.getpass", lambda _: answers.pop(0))
    monkeypatch.setattr(invoke, "_has_terminal", lambda: True)
    return answers


def test_accounts(cli: Any, config: Path) -> None:
    assert cli.done("user", "add", "romeo@chat.example", "--password-stdin", stdin="pass word\n").startswith("added: ")
    cli.done("user", "disable", "romeo@chat.example")
    assert cli.done("user", "list").splitlines()[1].split() == ["romeo@chat.example", "yes", "set", "0"]
    cli.done("user", "disable", "romeo@chat.example", "--enable")
    [account] = json.loads(cli.done("user", "list", "--json"))
    assert account == {"account": "romeo@chat.example", "disabled": False, "password": "set", "sessions": 0}
    cli.done("user", "delete", "romeo@chat.example")
    result = cli("user", "list")
    assert (result.out, result.err) == ("", "none\n")


def test_a_password_is_asked_for_twice(cli: Any, config: Path, typed: list[str]) -> None:
    typed += ["secret", "secret"]
    cli.done("user", "add", "a@chat.example")
    typed += ["secret", "sceret"]
    result = cli("user", "passwd", "a@chat.example")
    assert (result.status, result.err) == (1, "xmppchat: the two differ; nothing was done\n")
    typed += [""]
    assert cli("user", "passwd", "a@chat.example").status == 1


def test_a_password_is_no_argument(cli: Any, config: Path) -> None:
    assert cli("user", "add", "a@chat.example", "secret").status == 2
    assert cli("user", "add", "a@chat.example", "--password", "secret").status == 2


@pytest.mark.parametrize(
    ("arguments", "stdin", "text"),
    [
        (["a@chat.example"], "", "there is no terminal to ask for the password; use --password-stdin"),
        (["a@chat.example", "--password-stdin"], "", "standard input holds no password"),
        (["a@chat.example", "--password-stdin"], "\n", "standard input holds no password"),
        (["a b@chat.example", "--password-stdin"], "p\n", "a b@chat.example"),
        (["a@other.example", "--password-stdin"], "p\n", "other.example"),
        (["chat.example", "--password-stdin"], "p\n", "chat.example"),
    ],
)
def test_what_cannot_be_done_is_told(cli: Any, config: Path, arguments: list[str], stdin: str, text: str) -> None:
    result = cli("user", "add", *arguments, stdin=stdin)
    assert (result.status, result.out) == (1, "")
    assert text in result.err


def test_an_account_that_exists_and_one_that_does_not(cli: Any, config: Path) -> None:
    cli.done("user", "add", "a@chat.example", "--password-stdin", stdin="p\n")
    result = cli("user", "add", "a@chat.example", "--password-stdin", stdin="p\n")
    assert (result.status, "taken" in result.err) == (1, True)
    result = cli("user", "passwd", "b@chat.example", "--password-stdin", stdin="p\n")
    assert (result.status, "b@chat.example" in result.err) == (1, True)


def test_stages_and_sessions(cli: Any, config: Path) -> None:
    assert "screen" in cli.done("stages")
    assert cli.done("sessions") == ""


def test_the_configuration_is_found(
    cli: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = cli("user", "list")
    assert (result.status, "make one by `xmppchat init DOMAIN`" in result.err) == (1, True)
    assert cli("user", "list", "--config", str(config)).status == 0
    monkeypatch.setenv("XMPPCHAT_CONFIG", str(config))
    assert cli("user", "list").status == 0


@pytest.mark.parametrize(("arguments", "guess"), [(["usr", "list"], "user"), (["user", "lst"], "list")])
def test_a_mistyped_command(cli: Any, config: Path, arguments: list[str], guess: str) -> None:
    result = cli(*arguments)
    assert (result.status, f"'{guess}'" in result.err) == (2, True)


def test_help_names_all_commands(cli: Any) -> None:
    out = cli("--help").out
    assert all(name in out for name in ("init", "serve", "check", "config", "user", "sessions", "stages"))
    assert all(name in cli("user", "--help").out for name in ("add", "passwd", "list", "disable", "delete"))


def test_commands_of_a_third_party(cli: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_counter.py").write_text(
        "from typing import Annotated\n"
        "from xmppchat.core.commands import CommandError, Parameter\n"
        "from xmppchat.core.component import Component, ComponentConfig, command\n"
        "from xmppchat.jid import JID\n"
        "class Counter(Component[ComponentConfig]):\n"
        '    name = "counter"\n'
        '    @command("counter of account")\n'
        "    async def count(self, jid: Annotated[JID, Parameter('whose')],\n"
        "                    by: Annotated[int, Parameter('step')] = 1) -> dict[str, object]:\n"
        '        """Count."""\n'
        "        if by == 0:\n"
        "            raise CommandError('nothing moves; use another step')\n"
        "        return {'jid': jid, 'by': by}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with config.open("a") as file:
        file.write('[components]\nload = ["my_counter"]\n')
    assert cli.done("counter", "of", "account", "A@x.example", "--by", "2") == "jid: a@x.example\nby: 2\n"
    result = cli("counter", "of", "account", "a@x.example", "--by", "0")
    assert (result.status, result.err) == (1, "xmppchat: nothing moves; use another step\n")
    assert cli("counter", "of", "account", "a@x.example", "--by", "x").status == 2
    assert "is not an address" in cli("counter", "of", "account", "a b@x.example").err


def test_version(cli: Any) -> None:
    assert cli.done("--version").strip()
