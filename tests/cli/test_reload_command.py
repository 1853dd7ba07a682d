"""`xmppchat reload` with people logged in: they stay, and what they may do is what the file says now."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from live_server import COMPONENT_PORT, LiveServer, make_certificates, wait_for

from xmppchat.protocol.namespaces import NS
from xmppchat.testing.wire_client import TcpClient


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tmp_path / "server", make_certificates(tmp_path / "tls")) as running:
        yield running


@pytest_asyncio.fixture
async def romeo(server: LiveServer) -> AsyncIterator[TcpClient]:
    server.add_user("romeo", "secret")
    client = await TcpClient.connect(server.address, 5222, server.domain)
    await client.log_in("romeo", "secret", "x")
    yield client
    await client.close()


def add(server: LiveServer, text: str) -> None:
    with server.config_file.open("a") as file:
        file.write(text)


def reload(server: LiveServer) -> dict[str, object]:
    result: dict[str, object] = json.loads(server.run("reload", "--json"))
    return result


async def add_contact(client: TcpClient, name: str) -> str:
    answer = await client.request("set", f"<query xmlns='{NS.ROSTER}'><item jid='{name}@chat.test'/></query>")
    return answer.get("type")


async def test_an_open_session_stays_and_has_the_new_limits(server: LiveServer, romeo: TcpClient) -> None:
    assert await add_contact(romeo, "juliet") == "result"
    add(server, "[limits]\nroster_items = 1\nstanza_bytes = 10_000\n")
    assert reload(server)["changed"] == ["limits.stanza_bytes", "limits.roster_items"]
    assert await add_contact(romeo, "mercutio") == "error"
    assert not romeo.is_closed
    romeo.write(f"<message to='juliet@chat.test'><body>{'x' * 12_000}</body></message>")
    error = await romeo.take(lambda element: element.is_named("error", NS.STREAM))
    assert error.find("policy-violation", "urn:ietf:params:xml:ns:xmpp-streams") is not None


async def test_a_rate_of_an_open_session_changes(server: LiveServer, romeo: TcpClient) -> None:
    add(server, "[limits]\nsession_stanza_rate = 1000000\nsession_stanza_burst = 1\nsession_byte_rate = 1\n"
                "session_byte_burst = 100\naccount_byte_rate = 0\n")
    reload(server)
    romeo.write(f"<message to='romeo@chat.test'><body>{'x' * 2_000}</body></message>")
    romeo.write(f"<iq type='get' id='late'><query xmlns='{NS.ROSTER}'/></iq>")
    # 2,000 bytes at 1 byte a second: what comes behind waits, until the limit is off again.
    text = server.config_file.read_text()
    server.config_file.write_text(text.replace("session_byte_rate = 1\n", "session_byte_rate = 0\n"))
    assert reload(server)["changed"] == ["limits.session_byte_rate"]
    await romeo.take(lambda element: element.get("id") == "late")


async def test_new_connections_see_the_new_options(server: LiveServer, romeo: TcpClient) -> None:
    text = server.config_file.read_text()
    server.config_file.write_text(text.replace('mode = "closed"', 'mode = "open"'))
    assert reload(server)["changed"] == ["components.register.mode"]
    client = await TcpClient.connect(server.address, 5222, server.domain)
    await client.register("juliet", "another secret")
    await client.close()
    assert "juliet@chat.test" in server.run("user", "list")


def test_a_faulty_file_changes_nothing_and_all_faults_are_told(server: LiveServer) -> None:
    add(server, "[limits]\nroster_items = 1\nstanza_byte = 5\n[logging]\nlevel = 'debugg'\n")
    done = subprocess.run(
        [server.program, "reload", "--config", str(server.config_file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "did you mean limits.stanza_bytes?" in done.stderr
    assert 'did you mean "debug"?' in done.stderr
    # The command line itself reads the file; a caller that does not is told the same by the server.
    from xmppchat.core.commands import CommandError
    from xmppchat.network import control

    with pytest.raises(CommandError) as refusal:
        control.call(server.directory / "data" / "control.sock", "reload", {})
    assert str(refusal.value).startswith("nothing was changed:\n")
    assert "limits.stanza_bytes?" in str(refusal.value)
    assert '"debug"?' in str(refusal.value)


def test_a_certificate_that_cannot_be_used_changes_nothing(server: LiveServer) -> None:
    key = server.certificates.key.read_text()
    server.certificates.key.write_text("no key")
    add(server, "[limits]\nroster_items = 1\n")
    done = subprocess.run(
        [server.program, "reload", "--config", str(server.config_file)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, "no private key" in done.stderr) == (1, True)
    server.certificates.key.write_text(key)
    assert reload(server)["changed"] == ["limits.roster_items"]  # so it had not changed before


def test_what_needs_a_restart_is_named(server: LiveServer) -> None:
    text = server.config_file.read_text()
    server.config_file.write_text(text.replace("[listen]\n", "[listen]\nstarttls_port = 5299\n"))
    assert reload(server)["needs a restart"] == ["listen.starttls_port"]
    assert "needs a restart: listen.starttls_port\n" in server.run("reload")


def test_the_signal_does_the_same(server: LiveServer) -> None:
    add(server, "[limits]\nroster_items = 1\n[logging]\nformat = 'json'\n")
    os.kill(server.pid, signal.SIGHUP)
    wait_for(lambda: '"event": "reloaded"' in server.log(), 10, server.log)
    assert "limits.roster_items" in server.log()


def test_without_a_server_there_is_nothing_to_reload(server: LiveServer) -> None:
    server.stop()
    done = subprocess.run(
        [server.program, "reload", "--config", str(server.config_file)], capture_output=True, text=True, timeout=60
    )
    server.start()
    assert (done.returncode, "no server is running" in done.stderr) == (1, True)


def test_the_port_of_components_is_open_while_there_is_one(server: LiveServer) -> None:
    def is_open() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((server.address, COMPONENT_PORT)) == 0

    server.add_component("before.test")  # so that the port's address is known from the start
    named = server.config_file.read_text()
    unnamed = named.partition("[external_components")[0]
    server.restart()
    assert is_open()
    server.config_file.write_text(unnamed)
    assert reload(server)["changed"] == ['external_components."before.test"']
    assert not is_open()
    server.config_file.write_text(named)
    with socket.create_server((server.address, COMPONENT_PORT)):
        [fault] = reload(server)["failed (the log says why)"]  # type: ignore[misc]
        assert f"cannot listen on {server.address}:{COMPONENT_PORT}" in fault
    reload(server)
    assert is_open()
