"""A database that does not answer stalls those who write, nobody else (reliability.md F-04)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xmppchat.core.session import MAX_HELD
from xmppchat.testing.memory import MemoryClient, MemoryDriver


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    for name in ("romeo", "juliet", "nurse"):
        await driver.create_account(name, "secret")
    yield driver
    await driver.stop()


async def logged_in(driver: MemoryDriver, name: str) -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in(name, "secret", "x")
    client.write("<presence/>")
    await client.take(lambda element: element.name == "presence")
    return client


async def until(condition: Callable[[], bool]) -> None:
    """Return once `condition` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def warm(client: MemoryClient, name: str) -> None:
    """Have an account loaded: a cold one parks only what is for it, and what comes behind may go ahead (ADR 4)."""
    client.write(f"<iq type='get' id='warm' to='{name}@chat.example/none'><ping xmlns='urn:xmpp:ping'/></iq>")
    await client.take(lambda element: element.get("id") == "warm")


async def driver_idle(driver: MemoryDriver) -> None:
    """Another client's question was answered: what was sent before it has been looked at."""
    other = await driver.connect()
    await other.log_in("juliet", "secret", "probe")
    await other.barrier()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Another process holds the database's write lock."""
    other = sqlite3.connect(next(directory.glob("**/*.db")), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_a_stalled_database_stalls_only_who_writes(driver: MemoryDriver, tmp_path: Path) -> None:
    romeo = await logged_in(driver, "romeo")
    juliet = await logged_in(driver, "juliet")
    gate = driver.server.kernel.gate
    await warm(romeo, "nurse")
    with locked(tmp_path):
        # To someone offline: a write. Behind it, in the same session, something that needs none.
        romeo.write("<message to='nurse@chat.example' type='chat' id='m1'><body>Good nurse</body></message>")
        romeo.write("<message to='juliet@chat.example' type='chat' id='m2'><body>Juliet!</body></message>")
        for number in range(20):
            juliet.write(f"<iq type='get' id='p{number}' to='chat.example'><ping xmlns='urn:xmpp:ping'/></iq>")
        for number in range(20):
            await juliet.take(lambda element, wanted=f"p{number}": element.get("id") == wanted)  # type: ignore[misc]
        juliet.write("<presence><show>away</show></presence>")
        await juliet.take(lambda element: element.name == "presence")
        await until(lambda: gate.last > gate.settled)  # the write is open, and stays so
        await juliet.barrier()
        assert not any(element.name == "message" for element in juliet.inbox), "nothing may overtake an open write"
    await juliet.take(lambda element: element.get("id") == "m2")
    await gate.drained()


async def test_a_flood_into_a_stalled_database_is_bounded(driver: MemoryDriver, tmp_path: Path) -> None:
    romeo = await logged_in(driver, "romeo")
    gate = driver.server.kernel.gate
    before = gate.last
    with locked(tmp_path):
        for number in range(3 * MAX_HELD):
            romeo.write(f"<message to='nurse@chat.example' type='chat' id='f{number}'><body>{number}</body></message>")
        await until(lambda: bool(romeo.transport._paused))
        await driver_idle(driver)
        assert gate.last - before <= MAX_HELD, "a session with that much open is not read any more"
        assert romeo.transport._paused == {"uncommitted"}
    # The lock is gone: all of it arrives, in order, and the session is read again.
    await romeo.barrier()
    await gate.drained()
    nurse = await logged_in(driver, "nurse")
    for number in range(3 * MAX_HELD):
        message = await nurse.take(lambda element: element.name == "message")
        assert message.get("id") == f"f{number}"


async def test_a_poisoned_write_fails_alone(driver: MemoryDriver) -> None:
    """Two accounts of one name at once: one is made, the other hears why not, a third is not bothered."""
    kernel = driver.server.kernel
    from xmppchat.core.services import AccountService
    from xmppchat.jid import JID
    from xmppchat.protocol.errors import StanzaError

    accounts = kernel.services.get(AccountService)
    failures: dict[str, StanzaError] = {}
    turns = []
    for key, name in (("first", "tybalt"), ("second", "tybalt"), ("third", "paris")):
        turn = kernel.new_turn()
        turn.on_failure = lambda error, key=key: failures.update({key: error})  # type: ignore[misc]
        await accounts.create(JID.parse(f"{name}@chat.example"), "secret", turn)
        turns.append(turn)
    for turn in turns:
        turn.commit()
    await kernel.gate.drained()
    assert list(failures) == ["second"]
    assert failures["second"].condition == "conflict"
    for name in ("tybalt", "paris"):
        assert (await kernel.directory.get(JID.parse(f"{name}@chat.example"))).exists
