"""Clients that take nothing (F-07, limits 19, 20): memory is bounded, others are served, what is archived is there."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from attack_client import Attacker, auth, failure, sasl_step
from attack_target import PASSWORD, Target
from live_server import wait_for
from observation import MIB

SM = "urn:xmpp:sm:3"
MAM = "urn:xmpp:mam:2"
#: Stanzas that are more than limit 20 allows.
MANY = 1_100


@pytest.fixture
def sender(target: Target) -> Iterator[Attacker]:
    with target.login("mallory", resource="sender") as client:
        yield client


class Memory:
    """How much the server's memory grew since, at most, bytes."""

    def __init__(self, target: Target) -> None:
        self._process = target.process
        self._before = self._process.rss
        self.growth = 0

    def look(self) -> None:
        self.growth = max(self.growth, self._process.rss - self._before)


def lazy(target: Target, user: str, resource: str) -> Attacker:
    """A client whose system takes little from the network when the client reads nothing."""
    client = target.connect()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return client.secure().login(user, PASSWORD, resource).available()


def managed(client: Attacker) -> str:
    """Enable stream management; the id of the session."""
    client.send(f"<enable xmlns='{SM}' resume='true'/>".encode()).until(b"<enabled ")
    found = re.search(rb"<enabled [^>]*id='([^']+)'", client.received)
    assert found is not None, client.received
    return found[1].decode()


def flood(sender: Attacker, to: str, bodies: Iterator[str], memory: Memory) -> None:
    """Send one message after the other, which the server has dealt with when this returns."""
    for number, body in enumerate(bodies, 1):
        sender.send(f"<message type='chat' to='{to}'>{body}</message>".encode())
        if number % 50 == 0:
            memory.look()
    sender.restart()
    sender.barrier("flooded")
    memory.look()


def numbered(mark: str, count: int = MANY) -> Iterator[str]:
    return (f"<body>{mark} {number}.</body>" for number in range(count))


def archived(target: Target, user: str, mark: str) -> list[int]:
    """The numbers of the messages with that mark, as a new client finds them."""
    with target.login(user, resource="reader") as client:
        found: list[int] = []
        after = ""
        while True:
            where = f"<after>{after}</after>" if after else ""
            client.restart()
            client.send((
                f"<iq type='set' id='page'><query xmlns='{MAM}'><set xmlns='http://jabber.org/protocol/rsm'>"
                f"<max>250</max>{where}</set></query></iq>"
            ).encode()).until(lambda data: re.search(rb"<fin .*</iq>", data))  # fmt: skip
            found += [int(number) for number in re.findall(rf"<body>{mark} (\d+)\.</body>".encode(), client.received)]
            last = re.search(rb"<last>(\d+)</last>", client.received)
            if last is None or b"complete='true'" in client.received:
                return found
            after = last[1].decode()


def test_who_takes_nothing_is_cut_off_at_four_mebibytes(
    target: Target, sender: Attacker, bystander: Callable[[], float]
) -> None:
    """Limit 19."""
    with lazy(target, "romeo", "lazy") as reader:
        memory = Memory(target)
        flood(sender, reader.jid, numbered("large", 50), memory)
        large = f"<body>{'x' * 60_000}</body><no-store xmlns='urn:xmpp:hints'/>"
        flood(sender, reader.jid, (large for _ in range(800)), memory)
        assert bystander() < 1
        assert memory.growth < 24 * MIB, "48 MB were sent to it"
        assert len(reader.until_closed()) < 24 * MIB, "the rest was dropped with its connection"
    assert archived(target, "romeo", "large") == list(range(50))


def test_a_waiting_session_that_is_sent_too_much_ends(
    target: Target, sender: Attacker, bystander: Callable[[], float]
) -> None:
    """Limit 20, for a client whose connection is lost: what waited for it is in the archive."""
    with target.login("romeo", resource="gone") as reader:
        previous = managed(reader.available())
        jid = reader.jid
        reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    memory = Memory(target)
    flood(sender, jid, numbered("gone"), memory)
    assert bystander() < 1
    assert memory.growth < 16 * MIB
    with target.connect() as reader:
        step = sasl_step(reader.secure(), auth("PLAIN", f"\0romeo\0{PASSWORD}".encode()))
        assert failure(step) == ""
        reader.open().send(f"<resume xmlns='{SM}' previd='{previous}' h='0'/>".encode()).until(b"</failed>")
        assert b"item-not-found" in reader.received
    assert archived(target, "romeo", "gone") == list(range(MANY))


def test_a_connected_session_that_acknowledges_nothing_ends_after_ten_seconds(
    target: Target, sender: Attacker, bystander: Callable[[], float]
) -> None:
    """Limit 20, for a client that is there and does not say what it has."""
    with target.login("romeo", resource="silent") as reader:
        managed(reader.available())
        memory = Memory(target)
        flood(sender, reader.jid, numbered("silent"), memory)
        assert bystander() < 1

        def has_ended() -> bool:  # it is looked at when something more is sent
            sender.send(f"<message type='chat' to='{reader.jid}'><body>more</body></message>".encode())
            return "acknowledge what you are sent" in target.log()

        wait_for(has_ended, 20, "the end of a session that acknowledges nothing")
        memory.look()
        assert memory.growth < 16 * MIB
        reader.until_closed()
        assert reader.condition == "resource-constraint"
    assert archived(target, "romeo", "silent") == list(range(MANY))
