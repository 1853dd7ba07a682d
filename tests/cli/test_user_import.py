"""`xmppchat user import`: files of accounts, with and without a running server."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from live_server import LiveServer, make_certificates

from xmppchat.components.accounts.passwords import Passwords
from xmppchat.protocol.errors import ResourceConstraint
from xmppchat.protocol.sasl import derive_keys

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
        (["account;password", "romeo;x"], "has to name the columns"),
        (["romeo,secret", "juliet,secret"], "has to name the columns"),
        (["account,account,password", "romeo,juliet,x"], "has to name the columns"),
        (['{"account": "romeo", "password": "x"', "{}"], "not a JSON object"),
        (['account,password', '"romeo,x'], "not CSV"),
    ],
)  # fmt: skip
def test_what_is_no_such_file(cli: Any, config: Path, lines: list[str], fault: str) -> None:
    result = cli("user", "import", write(config / "users", *lines))
    assert (result.status, fault in result.err) == (1, True), result.err


def test_a_head_line_that_is_missing_is_not_repeated(cli: Any, config: Path) -> None:
    result = cli("user", "import", write(config / "users", "hunter2,romeo@chat.example", "hunter3,juliet@chat.example"))
    assert result.status == 1
    assert "hunter" not in result.err


def test_a_line_without_end(cli: Any, config: Path) -> None:
    good = json.dumps({"account": "romeo", "bcrypt": HASH})
    endless = '{"account": "' + "x" * 100_000 + '"}'
    result = cli("user", "import", write(config / "users", good, endless, "{", good))
    faults = [line.partition("users:")[2] for line in result.err.splitlines()[:3]]
    assert faults == [
        "2: this line has more than 16,384 characters",
        "3: this is not a JSON object",
        "4: romeo@chat.example stands in line 1, too",
    ]


def test_faults_are_shown_up_to_a_number(cli: Any, config: Path) -> None:
    result = cli("user", "import", write(config / "users", "account,bcrypt", *["romeo,x"] * 1_000))
    assert len(result.err.splitlines()) == 22
    assert "and 980 more" in result.err


def test_an_import_that_stops_says_how_far_it_came(
    cli: Any, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts before stay, and importing the rest is safe."""
    monkeypatch.setattr("xmppchat.cli.user_import.PART", 2)
    derive = Passwords.derive

    async def derive_not_all(self: Passwords, password: str) -> Any:
        if password == "no":
            raise ResourceConstraint("too many passwords are being checked; try again in a moment")
        return await derive(self, password)

    monkeypatch.setattr(Passwords, "derive", derive_not_all)
    names = ["user0", "user1", "user2", "user3"]
    file = write(config / "users", "account,password", *[f"{n},{'no' if n == 'user3' else 'yes'}" for n in names])
    result = cli("user", "import", file)
    assert result.status == 1
    assert "stopped: 2 accounts were imported; import the rest with --skip-existing" in result.err
    assert "user3@chat.example: too many passwords" in result.err
    assert [row["account"][:5] for row in json.loads(cli.done("user", "list", "--json"))] == ["user0", "user1"]
    monkeypatch.setattr(Passwords, "derive", derive)
    assert cli.done("user", "import", file, "--skip-existing") == "2 added, 2 left as they are\n"


def test_columns_of_scram(cli: Any, config: Path) -> None:
    keys = derive_keys("SCRAM-SHA-1", "x", b"0123456789abcdef", 4_096)
    salt, stored, server = (base64.b64encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    head = "account,mechanism,iterations,salt,stored_key,server_key"
    file = write(config / "users.csv", head, f"romeo,SCRAM-SHA-1,4096,{salt},{stored},{server}")
    assert cli.done("user", "import", file) == "1 added\n"
    shown = cli.done("user", "export", "romeo@chat.example", "--with-credentials")
    assert f"<stored-key>{stored}</stored-key>" in shown


def test_a_file_that_is_not_there(cli: Any, config: Path) -> None:
    assert "No such file" in cli("user", "import", "nowhere.csv").err


def test_ten_thousand_accounts_into_a_running_server(server: LiveServer, tmp_path: Path) -> None:
    file = write(tmp_path / "users.csv", "account,bcrypt", *[f"user{n},{HASH}" for n in range(10_000)])
    config = ("--config", str(server.config_file))
    began = time.monotonic()
    assert server.run("user", "import", file, *config) == "10000 added\n"
    assert time.monotonic() - began < 30
    assert len(json.loads(server.run("user", "list", "--limit", "20000", "--json", *config))) == 10_000
    assert "10000" in server.run("user", "count", *config)
    assert HASH not in server.log()


def test_parts_fit_the_control_socket(server: LiveServer, tmp_path: Path) -> None:
    """Passwords as long as they may be, with characters that are quoted."""
    password = '\\"' * 500
    lines = [json.dumps({"account": f"long{n}", "password": password}) for n in range(1_000)]
    file = write(tmp_path / "users.jsonl", *lines)
    done = server.run("user", "import", file, "--dry-run", "--config", str(server.config_file))
    assert done == "1000 would be added\n"


def test_standard_input(cli: Any, config: Path) -> None:
    assert cli.done("user", "import", "-", stdin=f"account,bcrypt\nromeo,{HASH}\n") == "1 added\n"
