"""The directory: who is in memory, who may go, and that nobody is bound to an account that is dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from xmppchat.core import directory
from xmppchat.core.account import Account
from xmppchat.core.kernel import Hibernation
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.testing.memory import MemoryDriver


@pytest.fixture
async def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MemoryDriver]:
    """A server that remembers three accounts besides those that are in use."""
    monkeypatch.setattr(directory, "CACHE_SIZE", 3)
    driver = MemoryDriver(tmp_path)
    await driver.start()
    yield driver
    await driver.stop()


def address(name: str) -> JID:
    return JID.parse(f"{name}@chat.example")


def in_memory(driver: MemoryDriver) -> list[str]:
    accounts = driver.server.kernel.directory.accounts()
    return sorted(account.jid.local for account in accounts if account.jid.local)  # without what is a domain's


async def bind(driver: MemoryDriver, name: str) -> Session:
    """A session of an account that need not exist."""
    kernel = driver.server.kernel
    bound: list[Session] = []

    def loaded(account: Account | None) -> None:
        assert account is not None
        session = Session(account.jid.with_resource("x"), account, Hibernation(kernel), peer="", connected_at=0)
        kernel.add_session(session)
        bound.append(session)

    kernel.directory.load(address(name), loaded)
    await driver.settle([])
    return bound[0]


async def test_more_accounts_online_than_the_cache_holds_hear_of_their_messages(driver: MemoryDriver) -> None:
    clients = []
    for number in range(8):
        await driver.create_account(f"u{number}", "secret")
    for number in range(8):
        client = await driver.connect()
        await client.log_in(f"u{number}", "secret", "x")
        client.write("<presence/>")
        await driver.settle([])
        client.inbox.clear()
        clients.append(client)
    for number in range(1, 8):
        clients[0].write(f"<message to='u{number}@chat.example' type='chat'><body>u{number}</body></message>")
    await driver.settle([])
    assert [[one.child_text("body") for one in client.inbox] for client in clients[1:]] == [
        [f"u{number}"] for number in range(1, 8)
    ]


async def test_who_is_online_does_not_count_and_stays(driver: MemoryDriver) -> None:
    for number in range(5):
        await bind(driver, f"online{number}")
    for number in range(6):
        await driver.server.kernel.directory.get(address(f"idle{number}"))
    assert in_memory(driver) == sorted([*(f"online{n}" for n in range(5)), "idle3", "idle4", "idle5"])


async def test_who_leaves_joins_those_that_may_go(driver: MemoryDriver) -> None:
    kernel = driver.server.kernel
    sessions = [await bind(driver, f"online{number}") for number in range(3)]
    for session in sessions:
        kernel.end_session(session)
    assert in_memory(driver) == ["online0", "online1", "online2"]
    back = await bind(driver, "online0")
    for number in range(4):
        await kernel.directory.get(address(f"idle{number}"))
    assert in_memory(driver) == ["idle1", "idle2", "idle3", "online0"]
    assert kernel.directory.peek("online0@chat.example") is back.account


async def test_who_is_at_work_stays(driver: MemoryDriver) -> None:
    account = await driver.server.kernel.directory.get(address("busy"))
    account.is_draining = True
    for number in range(6):
        await driver.server.kernel.directory.get(address(f"idle{number}"))
    assert "busy" in in_memory(driver)
    account.is_draining = False
    for number in range(6, 12):
        await driver.server.kernel.directory.get(address(f"idle{number}"))
    assert in_memory(driver) == ["idle10", "idle11", "idle9"]


async def test_one_that_fails_keeps_nobody_else_from_its_account(driver: MemoryDriver) -> None:
    kernel = driver.server.kernel
    found: list[Account | None] = []

    def fail(account: Account | None) -> None:
        raise RuntimeError("a bug")

    kernel.directory.load(address("romeo"), fail)
    kernel.directory.load(address("romeo"), found.append)
    kernel.directory.load(address("juliet"), found.append)
    await driver.settle([])
    assert [one.jid.local for one in found if one is not None] == ["romeo", "juliet"]


async def test_who_was_just_asked_for_is_not_the_next_to_go(driver: MemoryDriver) -> None:
    kernel = driver.server.kernel
    for number in range(3):
        await kernel.directory.get(address(f"idle{number}"))
    account = await kernel.directory.get(address("idle0"))
    await kernel.directory.get(address("other"))
    session = Session(account.jid.with_resource("x"), account, Hibernation(kernel), peer="", connected_at=0)
    kernel.add_session(session)
    assert kernel.router.session(session.jid) is session


async def test_a_components_domain_stays(driver: MemoryDriver) -> None:
    """Whatever is loaded meanwhile: it is asked for all the time, and large (ADR 20)."""
    service = driver.server.kernel.directory.peek("pubsub.chat.example")
    assert service is not None
    for number in range(12):
        await driver.server.kernel.directory.get(address(f"idle{number}"))
    assert driver.server.kernel.directory.peek("pubsub.chat.example") is service
