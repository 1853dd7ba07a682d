"""Bots of the installed server, made by its commands, and slixmpp with OMEMO over TLS; a restart in between."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from live_server import Certificates, LiveServer
from omemo_by_hand import NEW, OLD, Omemo
from omemo_storage import KeptKeys
from slix import Slix

SECRET = "But soft, what light through yonder window breaks?"
PAGE = Path(__file__).parents[2] / "docs" / "admin" / "bots.md"


@pytest.fixture
async def server(tmp_path: Path, certificates: Certificates) -> AsyncIterator[LiveServer]:
    """One whose bots repeat what they are told."""
    (echo,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "echo.py").write_text(echo, encoding="utf-8")
    running = LiveServer(tmp_path, certificates, environment={"PYTHONPATH": str(tmp_path)})
    running.prepare()
    config = running.config_file.read_text()
    assert "[components]" not in config
    running.config_file.write_text(f'{config}\n[components]\nload = ["echo"]\n')
    with running:
        yield running


async def command(server: LiveServer, *arguments: str) -> str:
    return await asyncio.to_thread(server.run, *arguments, "--config", str(server.config_file))


async def login(server: LiveServer, jid: str, kept: KeptKeys, *namespaces: str) -> tuple[Slix, Omemo]:
    client = await Slix(server, jid, "balcony").login()
    return client, await Omemo.begin(client, *namespaces, kept=kept)


@pytest.mark.parametrize("namespace", [OLD, NEW])
async def test_a_bot_and_slixmpp_talk(
    server: LiveServer, namespace: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # of the commands, which load the same configuration
    juliet = server.add_user("juliet", "balcony").jid
    bot = f"news@{server.domain}"
    assert "whose key this server holds" in await command(server, "bot", "add", bot)
    kept = KeptKeys()
    client, device = await login(server, juliet, kept, namespace)
    outcome = await command(server, "send", bot, juliet, SECRET, "--encrypt")
    assert f"by {namespace}" in outcome
    assert await device.hears() == (namespace, SECRET)
    await device.say(bot, "It is the east", namespace)
    assert await device.hears() == (namespace, "It is the east")
    await device.end()
    await client.logout()
    await asyncio.to_thread(server.restart)
    client, device = await login(server, juliet, kept, namespace)
    await device.say(bot, "and Juliet is the sun", namespace)
    assert await device.hears() == (namespace, "and Juliet is the sun")
    assert "blindly trusted" in await command(server, "bot", "devices", bot)
    log = server.log()
    for text in (SECRET, "It is the east", "Juliet is the sun", "left out"):
        assert text not in log
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("xmppchat.db*"))
    assert b"yonder window" not in stored
    assert bot.encode() in stored
    await device.end()
    await client.logout()
