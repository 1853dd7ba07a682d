"""Clients that write as slowly as they can, or never come to an end (F-08, limits 2 to 4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from xmppchat.core.limits import Limits
from xmppchat.testing.memory import MemoryClient, MemoryDriver

HEADER = (
    "<stream:stream to='chat.example' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
AUTH = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, limits=Limits(profile="test", stanza_bytes=20_000))
    await driver.start()
    await driver.create_account("romeo", "secret")
    yield driver
    await driver.stop()


def stranger(driver: MemoryDriver) -> MemoryClient:
    """A client that has said nothing yet."""
    return MemoryClient(driver.domain, driver.server.connections.new())


async def logged_in(driver: MemoryDriver, resource: str) -> MemoryClient:
    client = stranger(driver)
    await client.open()
    await client.log_in("romeo", "secret", resource)
    return client


async def drip(driver: MemoryDriver, client: MemoryClient, text: str, pause: float) -> float:
    """Send a letter at a time until the server has enough; how long it took, s."""
    for number, letter in enumerate(text):
        if client.is_closed:
            return number * pause
        client.write(letter)
        await driver.settle([])
        await driver.advance(pause)
        await driver.settle([])
    return len(text) * pause


def conditions(client: MemoryClient) -> set[str]:
    return {child.name for element in client.inbox if element.name == "error" for child in element.elements()}


@pytest.mark.parametrize(("at_once", "slowly"), [("", HEADER), (HEADER, AUTH + "A" * 200)], ids=["header", "login"])
async def test_letters_are_no_progress_in_a_login(driver: MemoryDriver, at_once: str, slowly: str) -> None:
    client = stranger(driver)
    if at_once:
        client.write(at_once)
        await driver.settle([])
    seconds = await drip(driver, client, slowly, 0.9)
    assert client.is_closed
    assert 29 < seconds < 32
    assert driver.server.kernel.limit_counters.counts["negotiation_stall_seconds"] == 1


async def test_what_is_progress_must_come_to_an_end_within_a_minute(driver: MemoryDriver) -> None:
    client = stranger(driver)
    for _ in range(4):  # a failed login each 20 s
        client.write(f"{HEADER}{AUTH}AGEAYg==</auth>" if not client.inbox else f"{AUTH}AGEAYg==</auth>")
        await driver.settle([])
        await driver.advance(20)
        await driver.settle([])
    assert client.is_closed
    assert "connection-timeout" in conditions(client)
    assert driver.server.kernel.limit_counters.counts["negotiation_seconds"] == 1


async def test_a_stanza_that_never_ends_is_cut_at_its_limit(driver: MemoryDriver) -> None:
    """However slowly it comes: what is kept of it is bounded, and others are served."""
    client, other = await logged_in(driver, "slow"), await logged_in(driver, "other")
    client.write("<message to='romeo@chat.example'><body>")
    for _ in range(25):
        client.write("x" * 1_000)
        await driver.settle([])
        await driver.advance(60)
        await other.barrier()
    assert client.is_closed
    assert "policy-violation" in conditions(client)


async def test_a_stanza_that_comes_slowly_is_a_stanza(driver: MemoryDriver) -> None:
    client = await logged_in(driver, "slow")
    client.write("<presence/>")
    await driver.settle([])
    client.inbox.clear()
    message = "<message to='romeo@chat.example' type='chat' id='m'><body>Hi</body></message>"
    seconds = await drip(driver, client, message, 60)
    assert not client.is_closed
    assert seconds > 3_600
    assert [element.child_text("body") for element in client.inbox if element.name == "message"] == ["Hi"]
