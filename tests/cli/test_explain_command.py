"""`xmppchat config explain`: options, their values, and where those come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CONFIG = """\
[hosts."chat.example"]
certificate = "c.pem"
key = "c.key"
[hosts."b.example"]
certificate = "b.pem"
key = "b.key"
[limits]
roster_items = 7
"""


@pytest.fixture
def config(cli: Any, tmp_path: Path) -> Path:
    path = tmp_path / "xmppchat.toml"
    path.write_text(CONFIG)
    return path


def test_without_a_configuration(cli: Any) -> None:
    out = cli.done("config", "explain", "limits.roster_items")
    assert out.splitlines() == [
        "limits.roster_items", "  contacts in a roster", "  whole number, 1 to 1,000,000,000 contacts",
        "  default: 2000",
    ]  # fmt: skip


def test_a_value_and_the_line_that_sets_it(cli: Any, config: Path) -> None:
    assert cli.done("config", "explain", "roster_items").endswith(f"  now: 7 ({config}:8)\n")


def test_a_default_that_applies(cli: Any, config: Path) -> None:
    assert '  now: "closed" (the default)\n' in cli.done("config", "explain", "register")


def test_options_of_hosts(cli: Any, config: Path) -> None:
    both = cli.done("config", "explain", "hosts.DOMAIN.key")
    assert both.count("now: ") == 2
    for key in ('hosts."b.example".key', "hosts.b.example.key"):
        one = cli.done("config", "explain", key)
        assert one.count("now: ") == 1
        assert one.endswith(f'now: hosts."b.example".key = "{config.parent}/b.key" ({config}:6)\n')


def test_everything(cli: Any, config: Path) -> None:
    out = cli.done("config", "explain")
    assert "\n\ncomponents.load\n" in out
    assert out.startswith("data_dir\n")


def test_json(cli: Any, config: Path) -> None:
    [option] = json.loads(cli.done("config", "explain", "limits.roster_items", "--json"))
    assert option["values"] == [{"key": "limits.roster_items", "value": 7, "set_at": f"{config}:8"}]
    assert option["default"] == 2_000


@pytest.mark.parametrize(
    ("key", "guess"),
    [("roster_itms", "roster_items"), ("rgister", "register"), ("limits.roster_itms", "limits.roster_items")],
)
def test_what_was_meant(cli: Any, key: str, guess: str) -> None:
    result = cli("config", "explain", key)
    assert (result.status, result.err) == (1, f"xmppchat: there is no option {key!r}; did you mean {guess!r}?\n")


def test_a_named_configuration_has_to_be_right(cli: Any, config: Path) -> None:
    config.write_text(CONFIG + "x = 1\n")
    assert cli("config", "explain", "load").status == 0
    assert cli("config", "explain", "load", "--config", str(config)).status == 1
