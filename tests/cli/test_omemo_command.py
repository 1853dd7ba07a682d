"""`xmppchat omemo …` against a running server, and without one: what people see, and what programs get."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import LiveServer, make_certificates

from xmppchat.testing.wire_client import TcpClient

LIST = "<list xmlns='eu.siacs.conversations.axolotl'><device id='1'/><device id='31415'/></list>"
PUBLISH = (
    "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
    f"<publish node='eu.siacs.conversations.axolotl.devicelist'><item id='current'>{LIST}</item></publish>"
    "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
    "<value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
    "<field var='pubsub#access_model'><value>open</value></field></x></publish-options></pubsub>"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    with LiveServer(tmp_path / "server", make_certificates(tmp_path / "tls")) as running:
        yield running


def refused(server: LiveServer, *arguments: str) -> str:
    done = subprocess.run(
        [server.program, *arguments, "--config", str(server.config_file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done
    return done.stderr


async def test_a_lost_device_is_found_and_removed(server: LiveServer) -> None:
    jid = server.add_user("juliet", "secret").jid
    assert "no app has published keys here" in server.run("omemo", "check", jid)
    client = await TcpClient.connect(server.address, 5222, server.domain)
    await client.log_in("juliet", "secret", "x")
    assert (await client.request("set", PUBLISH)).get("type") == "result"
    await client.close()

    shown = server.run("omemo", "check", jid)
    assert "device-without-bundle" in shown
    assert "its keys are not there" in shown
    assert f"`xmppchat omemo remove {jid} 31415`" in shown
    rows = json.loads(server.run("omemo", "check", jid, "--json"))
    assert [(row["severity"], row["finding"], row["device"]) for row in rows] == [
        ("error", "device-without-bundle", "1"), ("error", "device-without-bundle", "31415"),
    ]  # fmt: skip
    expected = [{"account": jid, "errors": 2, "warnings": 0, "findings": "device-without-bundle"}]
    assert json.loads(server.run("omemo", "check-all", "--json")) == expected

    assert "the entry in the list of OMEMO" in server.run("omemo", "remove", jid, "31415")
    assert "has no device 31415" in refused(server, "omemo", "remove", jid, "31415")
    assert "there is no account nobody@chat.test" in refused(server, "omemo", "check", "nobody@chat.test")
    server.stop()
    server.run("omemo", "remove", jid, "1")
    assert "all well" in server.run("omemo", "check", jid)
    assert json.loads(server.run("omemo", "check-all", "--json")) == []
    server.start()
