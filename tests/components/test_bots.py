"""Bots that speak OMEMO: both ways, in both namespaces, and what becomes of their keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bots_support import BOT, BOTH, Person, component, connected, heard, run, started

from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryDriver


@pytest.fixture
async def driver(tmp_path: Path, storage_url: str) -> AsyncIterator[MemoryDriver]:
    """A server with a bot, and two accounts."""
    driver = await started(tmp_path, storage_url)
    for name in ("romeo", "juliet"):
        await driver.create_account(name, "secret")
    await run(driver, "bot add", jid=BOT.bare)
    await connected(driver)
    yield driver
    await driver.stop()


@pytest.mark.parametrize("namespace", BOTH)
async def test_a_bot_and_a_client_talk_both_ways(driver: MemoryDriver, namespace: str) -> None:
    romeo = await Person.log_in(driver, "romeo", (namespace,))
    await romeo.say("What news?", namespace)
    (message,) = heard(driver).messages
    assert (message.body, message.encryption, message.is_verified) == ("What news?", namespace, False)
    assert message.sender.bare == romeo.bare
    await romeo.read()
    sent = await component(driver).send(BOT, message.sender, "None, but that the world's grown honest.", encrypt=True)
    assert (sent.namespaces, sent.devices, dict(sent.left_out)) == ((namespace,), 1, {})
    assert await romeo.read() == [(namespace, "None, but that the world's grown honest.")]
    assert not [one for one in romeo.client.client.inbox if "honest" in one.to_xml()], "nothing in clear"


async def test_a_bot_begins_and_is_answered(driver: MemoryDriver) -> None:
    romeo = await Person.log_in(driver, "romeo")
    outcome = await run(driver, "send", bot=BOT.bare, to=romeo.bare, text="Awake!", encrypt=True)
    assert outcome["encrypted"] == f"for 1 device(s), by {NS.OMEMO}"
    assert await romeo.read() == [(NS.OMEMO, "Awake!")]
    await romeo.say("Is it so early?", NS.OMEMO)
    await romeo.say("Good morrow.", NS.OMEMO_AXOLOTL)
    assert heard(driver).bodies == ["Is it so early?", "Good morrow."]
