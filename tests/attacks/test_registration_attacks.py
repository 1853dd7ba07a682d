"""Registration from outside (reliability.md V-24, V-40, V-41): bulk, guessing, one token many times at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attack_client import Attacker
from attack_target import ADMIN, A, Target
from live_server import Certificates

PREAUTH = "<iq type='set' id='{id}'><preauth xmlns='urn:xmpp:pars:0' token='{token}'/></iq>"
MAKE = (
    "<iq type='set' id='{id}'><query xmlns='jabber:iq:register'><username>{name}</username>"
    "<password>top secret</password></query></iq>"
)
Open = Callable[[str], Target]


@pytest.fixture
def open_server(
    tmp_path: Path, hosts: tuple[Certificates, Certificates]
) -> Iterator[Open]:
    """Starts a server with the default limits, on which even the loopback has a budget."""
    made: list[Target] = []

    def start(mode: str) -> Target:
        server = Target(tmp_path / mode, *hosts, "default")
        server.directory.mkdir(parents=True, exist_ok=True)
        made.append(server)
        server.__enter__()
        server.stop()
        config = server.config_file.read_text()
        assert 'mode = "closed"' in config
        config = config.replace('mode = "closed"', f'mode = "{mode}"\nunlimited_networks = []\n#')
        server.config_file.write_text(config)
        server.start()
        return server

    yield start
    for server in made:
        server.__exit__(None, None, None)


def ask(client: Attacker, xml: str, id_: str) -> bytes:
    """Sends a request; returns what came until its answer."""
    client.restart()
    client.send(xml.encode())
    return client.until(lambda data: f"id='{id_}'".encode() in data and data.rstrip().endswith(b">"))


def test_a_hundred_registrations_of_one_network(open_server: Open) -> None:
    """V-40: two an hour, from whatever address of a /24."""
    server = open_server("open")
    made = 0
    for number in range(100):
        with server.connect(source=f"127.0.0.{number + 2}").secure() as client:
            made += b"type='result'" in ask(client, MAKE.format(id="r", name=f"spam{number}"), "r")
    assert made == 2
    with server.connect(source="127.0.77.1").secure() as client:
        assert b"type='result'" in ask(client, MAKE.format(id="r", name="honest"), "r")
    listed = json.loads(server.run("user", "list", "--json", "--config", str(server.config_file)))
    assert len(listed) == 3


def test_fifty_parallel_redemptions_of_one_invitation(open_server: Open) -> None:
    """V-41: exactly one account, over fifty connections that all show the token before any of them uses it."""
    server = open_server("invite")
    invited = json.loads(server.run("invite", "--json", "--config", str(server.config_file)))
    token = invited["uri"].partition("preauth=")[2]
    clients = [server.connect(source=f"127.0.{n}.2").secure() for n in range(50)]
    try:
        for client in clients:
            assert b"type='result'" in ask(client, PREAUTH.format(id="p", token=token), "p")
        for number, client in enumerate(clients):
            client.restart()
            client.send(MAKE.format(id="r", name=f"user{number}").encode())

        def answer(client: Attacker) -> bytes:
            return client.until(lambda data: b"id='r'" in data and data.rstrip().endswith(b">"))

        with ThreadPoolExecutor(10) as threads:
            answers = list(threads.map(answer, clients))
    finally:
        for client in clients:
            client.socket.close()
    assert sum(b"type='result'" in data for data in answers) == 1
    listed = json.loads(server.run("user", "list", "--json", "--config", str(server.config_file)))
    assert len(listed) == 1
    assert token not in server.log()


def test_nobody_registers_as_an_admin(open_server: Open) -> None:
    """V-30: the configuration names an admin who has no account yet; a stranger asks for exactly that name."""
    server = open_server("open")
    name = ADMIN.partition("@")[0]
    invited = json.loads(server.run("invite", "--json", "--config", str(server.config_file)))
    token = invited["uri"].partition("preauth=")[2]
    for spelling in (name, name.upper(), "".join(chr(ord(letter) + 0xFEE0) for letter in name)):  # full-width letters
        with server.connect().secure() as client:
            assert b"conflict" in ask(client, MAKE.format(id="r", name=spelling), "r")
            assert b"type='result'" in ask(client, PREAUTH.format(id="p", token=token), "p")
            assert b"conflict" in ask(client, MAKE.format(id="s", name=spelling), "s")
    assert json.loads(server.run("user", "list", "--json", "--config", str(server.config_file))) == []
    named = json.loads(server.run("invite", "--user", name, "--json", "--config", str(server.config_file)))
    with server.connect(source="127.0.66.1").secure() as client:
        token = named["uri"].partition("preauth=")[2]
        assert b"type='result'" in ask(client, PREAUTH.format(id="p", token=token), "p")
        assert b"type='result'" in ask(client, MAKE.format(id="r", name=name), "r")


def test_guessing_invitations(open_server: Open) -> None:
    """V-41: ten wrong ones, and a network waits; the one it then has right is not looked at."""
    server = open_server("invite")
    invited = json.loads(server.run("invite", "--json", "--config", str(server.config_file)))
    token = invited["uri"].partition("preauth=")[2]
    with server.connect().secure() as client:
        for guess in (f"guess{number}" for number in range(10)):
            assert b"item-not-found" in ask(client, PREAUTH.format(id=guess, token=guess), guess)
        assert b"item-not-found" in ask(client, PREAUTH.format(id="t", token=token), "t")
        assert b"not-allowed" in ask(client, MAKE.format(id="r", name="mallory"), "r")
    with server.connect(source="127.0.99.1").secure() as client:
        assert b"type='result'" in ask(client, PREAUTH.format(id="t", token=token), "t")


def test_tokens_of_invitations_are_not_in_the_database(open_server: Open) -> None:
    """V-24: a dump invites nobody."""
    server = open_server("invite")
    invited = json.loads(server.run("invite", "--json", "--config", str(server.config_file)))
    token = invited["uri"].partition("preauth=")[2].encode()
    server.stop()
    for path in (server.directory / "data").iterdir():
        if path.is_file():
            assert token not in path.read_bytes(), path
    server.start()


def test_hosts_do_not_share_invitations(open_server: Open) -> None:
    server = open_server("invite")
    invited = json.loads(server.run("invite", "--host", "b.test", "--json", "--config", str(server.config_file)))
    token = invited["uri"].partition("preauth=")[2]
    with server.connect(A).secure() as client:
        assert b"item-not-found" in ask(client, PREAUTH.format(id="p", token=token), "p")
