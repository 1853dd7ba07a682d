"""The process dies around a commit (F-01): nothing unacknowledged was shown, nothing acknowledged is gone.

Real server, real TCP, real ``SIGKILL`` semantics (``os._exit`` in the server at a named point). A roster set is the
write that is acknowledged here: its result and its push must not be seen before it is on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import Certificates, LiveServer, make_certificates, wait_for

from xmppchat.testing.wire_client import ClientFailure, TcpClient


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def prepared(tmp_path: Path, certificates: Certificates) -> Iterator[LiveServer]:
    """A server with two accounts, not running."""
    server = LiveServer(tmp_path, certificates)
    try:
        server.prepare()
        server.add_user("romeo", "secret")
        server.add_user("juliet", "secret")
        yield server
    finally:
        server._end_by_force()
        server.__exit__()


async def log_in(server: LiveServer, name: str) -> TcpClient:
    client = await TcpClient.connect(server.address, 5222, server.domain)
    await client.log_in(name, "secret", "x")
    return client


def stored(server: LiveServer, query: str) -> list[tuple[object, ...]]:
    """What is really on disk, read without the server."""
    connection = sqlite3.connect(next(server.directory.glob("**/*.db")))
    try:
        return list(connection.execute(query))
    finally:
        connection.close()


ROSTER_SET = "<query xmlns='jabber:iq:roster'><item jid='nurse@example.org' name='Nurse'/></query>"
CONTACTS = "SELECT contact FROM roster_items"
MESSAGES = "SELECT count(*) FROM offline_messages"


def buried(server: LiveServer) -> None:
    """The server has died by itself; it may be started again."""
    wait_for(server._has_ended, 10, "the server to die")
    server._end_by_force()


async def start_dying(server: LiveServer, point: str) -> TcpClient:
    """Start the server so that it dies at the next passage of `point` after a login."""
    server.environment = {"XC_CRASHPOINT": point}
    server.start()
    return await log_in(server, "romeo")


@pytest.mark.parametrize(("point", "is_on_disk"), [("before-commit", False), ("after-commit-before-release", True)])
async def test_a_roster_change_is_not_seen_before_it_is_on_disk(
    prepared: LiveServer, point: str, is_on_disk: bool
) -> None:
    client = await start_dying(prepared, point)
    await client.request("get", "<query xmlns='jabber:iq:roster'/>")  # now pushes would come here too
    with pytest.raises(ClientFailure):
        await client.request("set", ROSTER_SET)
    assert client.inbox == [], "neither the result nor the push may have been shown"
    buried(prepared)
    assert bool(stored(prepared, CONTACTS)) is is_on_disk
    prepared.environment = {}
    prepared.start()
    again = await log_in(prepared, "romeo")
    roster = await again.request("get", "<query xmlns='jabber:iq:roster'/>")
    query = roster.find("query", "jabber:iq:roster")
    assert query is not None
    assert [item.get("jid") for item in query.elements()] == (["nurse@example.org"] if is_on_disk else [])
    await again.close()
    prepared.stop()


@pytest.mark.parametrize(("point", "count"), [("before-commit", 0), ("after-commit-before-release", 1)])
async def test_a_message_for_later_is_not_acknowledged_before_it_is_on_disk(
    prepared: LiveServer, point: str, count: int
) -> None:
    client = await start_dying(prepared, point)
    # The recipient's account is in memory: of a cold one, only what is for it would wait.
    client.write(f"<iq type='get' id='warm' to='juliet@{prepared.domain}/none'><ping xmlns='urn:xmpp:ping'/></iq>")
    await client.take(lambda element: element.get("id") == "warm")
    client.write(f"<message to='juliet@{prepared.domain}' type='chat' id='m1'><body>Hi</body></message>")
    # What comes behind the message in the same session acknowledges it: it may not be answered either.
    with pytest.raises(ClientFailure):
        await client.request("get", "<query xmlns='jabber:iq:roster'/>")
    assert client.inbox == []
    buried(prepared)
    assert stored(prepared, MESSAGES) == [(count,)]
    prepared.environment = {}
    prepared.start()
    prepared.stop()


async def test_what_was_acknowledged_survives_kill_9(prepared: LiveServer) -> None:
    prepared.start()
    romeo = await log_in(prepared, "romeo")
    await romeo.request("set", ROSTER_SET)
    romeo.write(f"<iq type='get' id='warm' to='juliet@{prepared.domain}/none'><ping xmlns='urn:xmpp:ping'/></iq>")
    await romeo.take(lambda element: element.get("id") == "warm")
    juliet_jid = f"juliet@{prepared.domain}"
    for number in range(50):
        romeo.write(f"<message to='{juliet_jid}' type='chat' id='m{number}'><body>{number}</body></message>")
    await romeo.barrier()  # its answer stands behind all fifty
    prepared.kill()
    assert stored(prepared, MESSAGES) == [(50,)]
    assert stored(prepared, CONTACTS) == [("nurse@example.org",)]
    prepared.start()
    juliet = await log_in(prepared, "juliet")
    juliet.write("<presence/>")
    received = [await juliet.take(lambda element: element.name == "message") for _ in range(50)]
    assert [message.get("id") for message in received] == [f"m{number}" for number in range(50)]
    await juliet.close()
    prepared.stop()
