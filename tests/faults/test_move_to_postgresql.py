"""From SQLite to PostgreSQL with a real server: stopped, copied, started again (docs/admin/backup.md)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from live_server import LiveServer, make_certificates
from peers.postgresql import Postgresql

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.wire_client import ClientFailure, TcpClient

ITEM = "<item jid='{0}' name='&lt;{1}&gt; é 👩‍👩‍👧'><group>friends</group></item>"
BODIES = [f"{number} é 👩‍👩‍👧 &lt;" for number in range(10)]


async def log_in(server: LiveServer, name: str, password: str = "a long secret") -> TcpClient:
    client = await TcpClient.connect(server.address, 5222, server.domain)
    await client.log_in(name, password, "x")
    return client


async def befriend(server: LiveServer) -> None:
    """romeo and juliet see each other; then romeo writes while juliet is away."""
    romeo, juliet = clients = await log_in(server, "romeo"), await log_in(server, "juliet")
    addresses = [f"{name}@{server.domain}" for name in ("romeo", "juliet")]
    for client, other in zip(clients, reversed(addresses), strict=True):
        await client.request("get", f"<query xmlns='{NS.ROSTER}'/>")
        await client.request("set", f"<query xmlns='{NS.ROSTER}'>{ITEM.format(other, client.jid)}</query>")
        client.write("<presence/>")
    for asking, asked in ((0, 1), (1, 0)):
        clients[asking].write(f"<presence to='{addresses[asked]}' type='subscribe'/>")
        await clients[asked].take(lambda element: element.get("type") == "subscribe")
        clients[asked].write(f"<presence to='{addresses[asking]}' type='subscribed'/>")
        await clients[asking].take(lambda element: element.get("type") == "subscribed")
    await juliet.close()
    for body in BODIES:
        romeo.write(f"<message to='{addresses[1]}' type='chat'><body>{body}</body></message>")
    await romeo.barrier()
    await romeo.close()


async def roster(server: LiveServer, name: str) -> tuple[str, list[str]]:
    """The version of the contact list, and its items."""
    client = await log_in(server, name)
    answer = await client.request("get", f"<query xmlns='{NS.ROSTER}' ver=''/>")
    await client.close()
    query = answer.find("query", NS.ROSTER)
    assert query is not None
    return query.get("ver"), sorted(item.to_xml() for item in query.elements())


async def inbox(server: LiveServer, name: str, last: str) -> list[Element]:
    """What waits for `name`, up to the body `last`."""
    client = await log_in(server, name)
    client.write("<presence/>")
    message = await client.take(lambda element: element.child_text("body") == last)
    await client.close()
    return [*(element for element in client.inbox if element.name == "message"), message]


def refused(server: LiveServer, *arguments: str) -> str:
    """What a command says that must fail."""
    command = [server.program, *arguments, "--config", str(server.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, ""), done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


async def test_the_server_goes_on_where_it_stopped(tmp_path: Path, postgresql: Postgresql) -> None:
    url = postgresql.url(postgresql.new_database())
    server = LiveServer(tmp_path / "server", make_certificates(tmp_path / "tls"))
    old = server.directory / "data" / "xmppchat.db"
    config = ("--config", str(server.config_file))
    with server:
        server.add_user("romeo", "a long secret")
        server.add_user("juliet", "a long secret")
        await befriend(server)
        rosters = {name: await roster(server, name) for name in ("romeo", "juliet")}
        assert "subscription='both'" in rosters["romeo"][1][0].replace('"', "'")
        assert f"{old} is in use" in refused(server, "db", "copy", "--to", url)
        server.stop()
        assert "compared one by one" in server.run("db", "copy", "--to", url, *config)
        server.config_file.write_text(f'{server.config_file.read_text()}\n[storage]\nurl = "{url}"\n')
        kept = old.rename(tmp_path / "kept.db")
        server.start()
        assert not old.exists()
        with pytest.raises(ClientFailure):
            await log_in(server, "romeo", "wrong")
        assert {name: await roster(server, name) for name in ("romeo", "juliet")} == rosters
        romeo = await log_in(server, "romeo")
        romeo.write(f"<message to='juliet@{server.domain}' type='chat'><body>10</body></message>")
        await romeo.barrier()
        await romeo.close()
        server.kill()
        server.start()
        waiting = await inbox(server, "juliet", "10")
        assert [element.child_text("body") for element in waiting] == [
            *(body.replace("&lt;", "<") for body in BODIES), "10"
        ]  # fmt: skip
        assert all(element.find("delay", NS.DELAY) is not None for element in waiting)
        assert "stop that server first" in refused(server, "db", "copy", "--to", f"sqlite:///{old}")
        assert "stop that server first" in refused(server, "db", "copy", "--from", f"sqlite:///{kept}", "--to", url)
