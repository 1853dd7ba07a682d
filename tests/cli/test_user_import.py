"""`xmppchat user import`: files of accounts, with and without a running server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from live_server import LiveServer, make_certificates

HASH = bcrypt.hashpw(b"wherefore", bcrypt.gensalt(4)).decode()


@pytest.fixture
def config(cli: Any, tmp_path: Path) -> Path:
    cli.done("init", "chat.example")
    return tmp_path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with LiveServer(tmp_path_factory.mktemp("server"), make_certificates(tmp_path_factory.mktemp("tls"))) as running:
        yield running


def write(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def test_csv(cli: Any, config: Path) -> None:
    file = write(config / "users.csv", "account,password,bcrypt", f"romeo,,{HASH}", '"juliet@chat.example","a,b",')
    assert cli.done("user", "import", file) == "2 added\n"
    listed = {row["account"]: row["password"] for row in json.loads(cli.done("user", "list", "--json"))}
    assert listed == {"romeo@chat.example": "imported", "juliet@chat.example": "set"}


def test_json_lines(cli: Any, config: Path) -> None:
    lines = [json.dumps({"account": f"user{n}", "bcrypt": HASH}) for n in range(3)]
    file = write(config / "users.jsonl", *lines, "")
    assert cli.done("user", "import", file, "--dry-run") == "3 would be added\n"
    assert cli("user", "list").err == "none\n"
    assert cli.done("user", "import", file) == "3 added\n"
    again = cli("user", "import", file)
    assert again.status == 1
    assert "3 refused: 3 exist already" in again.err
    assert "user0@chat.example, user1@chat.example" in again.err
    assert cli.done("user", "import", file, "--skip-existing") == "0 added, 3 left as they are\n"
    assert cli.done("user", "import", file, "--replace-passwords") == "0 added, 3 given new passwords\n"


def test_every_fault_has_its_line_and_nothing_is_done(cli: Any, config: Path) -> None:
    file = write(
        config / "users.csv", "account,bcrypt", f"romeo,{HASH}", "juliet,$2b$04$nohash", f"Romeo,{HASH}", f"@,{HASH}",
        f"paris@elsewhere.example,{HASH}", "x,y,z",
    )  # fmt: skip
    result = cli("user", "import", file)
    assert result.status == 1
    assert [line.partition("users.csv:")[2].split(":")[0] for line in result.err.splitlines()[:5]] == list("34567")
    for text in ("no hash of bcrypt", "stands in line 2, too", "not served here", "more cells", "nothing was changed"):
        assert text in result.err
    assert "nohash" not in result.err
    assert cli("user", "list").err == "none\n"


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["account,password"], "holds no accounts"),
        ([], "holds no accounts"),
        (["account;password", "romeo;x"], "no such column"),
        (['{"account": "romeo", "password": "x"', "{}"], "not a JSON object"),
        (['account,password', '"romeo,x'], "not CSV"),
    ],
)  # fmt: skip
def test_what_is_no_such_file(cli: Any, config: Path, lines: list[str], fault: str) -> None:
    result = cli("user", "import", write(config / "users", *lines))
    assert (result.status, fault in result.err) == (1, True), result.err


def test_a_file_that_is_not_there(cli: Any, config: Path) -> None:
    assert "No such file" in cli("user", "import", "nowhere.csv").err


def test_ten_thousand_accounts_into_a_running_server(server: LiveServer, tmp_path: Path) -> None:
    file = write(tmp_path / "users.csv", "account,bcrypt", *[f"user{n},{HASH}" for n in range(10_000)])
    config = ("--config", str(server.config_file))
    began = time.monotonic()
    assert server.run("user", "import", file, *config) == "10000 added\n"
    assert time.monotonic() - began < 30
    assert len(json.loads(server.run("user", "list", "--limit", "20000", "--json", *config))) == 10_000
    assert HASH not in server.log()


def test_standard_input(cli: Any, config: Path) -> None:
    assert cli.done("user", "import", "-", stdin=f"account,bcrypt\nromeo,{HASH}\n") == "1 added\n"
