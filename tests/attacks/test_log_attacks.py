"""Logs (reliability.md V-55): nobody forges a record, and none holds a password, a token or a message."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from live_server import LiveServer, make_certificates, wait_for

from xmppchat.protocol.element import escape_attribute, escape_text
from xmppchat.testing.wire_client import TcpClient

PASSWORD = "hunter2-is-no-password"
BODY = "meet-me-at-the-balcony"
#: What a client may put into a resource, an id, a name or a text: ANSI, line separators, formats, a million letters.
HOSTILE = (
    "{event} %s %(x)s {0.__class__}", "\u2028forged record", "\u202egnirts", "[2J[1;31m", "$(reboot) `id`",
    "x" * 1_000,
)  # fmt: skip


@pytest.mark.parametrize("style", ["console", "json"])
async def test_hostile_texts_make_no_records_and_secrets_none(tmp_path: Path, style: str) -> None:
    with LiveServer(tmp_path / "server", make_certificates(tmp_path / "tls")) as server:
        server.stop()
        with server.config_file.open("a") as file:
            file.write(f'[logging]\nlevel = "debug"\nformat = "{style}"\n[limits]\nprofile = "test"\n')
        before = len(server.stderr_file.read_text(encoding="utf-8"))
        server.start()
        server.add_user("romeo", PASSWORD)
        for text in HOSTILE:
            await _login(server, text)
        stranger = await TcpClient.connect(server.address, 5222, server.domain)
        for name in ("ro\u2028\x1b[2Jmeo", "{event}%s$(id)", "romeo"):
            wrong = base64.b64encode(f"\0{name}\0{PASSWORD}x".encode()).decode()
            stranger.write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{wrong}</auth>")
            await stranger.take(lambda element: element.name == "failure")
        await stranger.close()
        # A command with hostile arguments and a secret, which fails.
        subprocess.run(
            [server.program, "user", "passwd", "ro\r\nmeo@chat.test", "--password-stdin", "--config",
             str(server.config_file)], input=f"{PASSWORD}\n", capture_output=True, text=True, timeout=60, check=False,
        )
        wait_for(lambda: "login failed" in server.log(), 10, server.log)
        _judge(server.stderr_file.read_text(encoding="utf-8")[before:], style)


async def _login(server: LiveServer, text: str) -> None:
    client = await TcpClient.connect(server.address, 5222, server.domain)
    try:
        await client.log_in("romeo", PASSWORD, text[:200])
    except Exception:  # a resource that is none; what is logged of it is the question
        await client.vanish()
        return
    value = escape_attribute(text)
    client.write(f"<presence id='{value}'><status>{escape_text(text)}{BODY}</status></presence>")
    client.write(f"<message to='romeo@chat.test' id='{value}'><body>{escape_text(text)}{BODY}</body></message>")
    client.write(f"<iq type='set' id='{value}' to='{value[:100]}'><x xmlns='urn:x' y='{value}'>{BODY}</x></iq>")
    await client.barrier()
    client.write(f"<{'n' * 400} a='{value}'/>")  # ends the stream, which is logged
    await client.until_closed()
    await client.close()


def _judge(log: str, style: str) -> None:
    for secret in (PASSWORD, BODY, base64.b64encode(PASSWORD.encode()).decode()):
        assert secret not in log
    lines = log.split("\n")[:-1]
    assert len(lines) >= len(HOSTILE)
    for line in lines:
        assert len(line.encode()) <= 8_192
        assert line.isprintable(), line
        if style == "json":
            assert {"event", "level", "timestamp"} <= json.loads(line).keys()
        else:
            assert line.startswith("20"), line  # every record begins with its time, and nothing else begins a line
