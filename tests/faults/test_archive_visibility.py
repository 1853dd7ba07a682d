"""Between what a page of the archive holds and what comes live, no message falls (reliability.md C4)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

QUERY = f"<iq type='set' id='page'><query xmlns='{NS.ARCHIVE}'/></iq>"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    for name in ("romeo", "juliet"):
        await driver.create_account(name, "secret")
    yield driver
    await driver.stop()


async def logged_in(driver: MemoryDriver, name: str, resource: str = "x") -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in(name, "secret", resource)
    return client


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Another process holds the database's write lock: what is to be stored is on its way."""
    other = sqlite3.connect(next(directory.glob("**/*.db")), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def bodies(client: MemoryClient) -> list[str]:
    """What a client was sent so far, live or from its archive."""
    found = []
    for element in client.inbox:
        result = element.find("result", NS.ARCHIVE)
        forwarded = result.find("forwarded", NS.FORWARD) if result is not None else None
        message: Element | None = forwarded.find("message", NS.CLIENT) if forwarded is not None else element
        if message is not None and message.name == "message":
            found.append(message.child_text("body"))
    return found


async def on_its_way(driver: MemoryDriver, romeo: MemoryClient) -> None:
    """romeo's message to juliet was handed to the database, which cannot take it yet."""
    gate = driver.server.kernel.gate
    before = gate.last
    romeo.write("<message to='juliet@chat.example' type='chat' id='m1'><body>Juliet!</body></message>")
    async with asyncio.timeout(10):
        while gate.last == before:
            await asyncio.sleep(0)


async def warm(client: MemoryClient) -> None:
    """Have juliet's account loaded."""
    client.write("<iq type='get' id='warm' to='juliet@chat.example/none'><ping xmlns='urn:xmpp:ping'/></iq>")
    await client.take(lambda element: element.get("id") == "warm")


@pytest.mark.parametrize("comes_first", ["presence", "query"])
async def test_what_was_under_way_when_a_client_came_reaches_it(
    driver: MemoryDriver, tmp_path: Path, comes_first: str
) -> None:
    romeo, juliet = await logged_in(driver, "romeo"), await logged_in(driver, "juliet")
    other = await logged_in(driver, "juliet", "y")  # it takes the message: nothing is kept for the new one
    other.write("<presence/>")
    await other.barrier()
    await warm(romeo)
    with locked(tmp_path):
        await on_its_way(driver, romeo)
        juliet.write("<presence/>" + QUERY if comes_first == "presence" else QUERY + "<presence/>")
        for _ in range(50):  # as long as others are served, it could be, too, and be given too little
            await other.barrier()
    await juliet.barrier()
    await driver.server.kernel.gate.drained()
    async with asyncio.timeout(10):
        while not any(element.get("id") == "page" for element in juliet.inbox):
            await juliet.barrier()
    assert "Juliet!" in bodies(juliet)


async def test_what_comes_behind_a_page_and_before_presence_reaches_the_client(driver: MemoryDriver) -> None:
    romeo, juliet = await logged_in(driver, "romeo"), await logged_in(driver, "juliet")
    juliet.write(QUERY)
    await juliet.take(lambda element: element.get("id") == "page")
    romeo.write("<message to='juliet@chat.example' type='chat' id='m1'><body>Juliet!</body></message>")
    await romeo.barrier()
    await driver.server.kernel.gate.drained()
    juliet.write("<presence/>")
    async with asyncio.timeout(10):
        await juliet.take(lambda element: element.child_text("body") == "Juliet!")
