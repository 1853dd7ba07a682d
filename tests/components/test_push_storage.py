"""Registrations on disk, with each kind of database: deletion, restarts, what is due when the server stops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from push_support import (
    APP,
    JULIET,
    SECRET,
    account,
    attached,
    component,
    enable,
    error,
    gone,
    registrations,
    session,
)
from sqlalchemy import select
from stream_management_support import log_in, message, resume

from xmppchat.components.push.registrations import SHOWN_MS
from xmppchat.core.services import AccountService
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryClient, MemoryDriver

COMPONENTS = {APP: SECRET}
EVERYTHING = select(schema.push_registrations.c.id)


@pytest.fixture
async def driver(storage_url: str, tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, storage_url=storage_url, external_components=COMPONENTS)
    await driver.start()
    yield driver
    await driver.stop()


@pytest.fixture
async def phone(driver: MemoryDriver) -> MemoryClient:
    client, _ = await log_in(driver, "juliet")
    return client


async def nodes(driver: MemoryDriver) -> list[str]:
    return [one.node for one in await registrations(driver)]


async def restarted(driver: MemoryDriver, path: Path, storage_url: str) -> MemoryDriver:
    """The next server on the same database."""
    await driver.stop()
    again = MemoryDriver(path, storage_url=storage_url, external_components=COMPONENTS)
    again.clock.advance(driver.clock.monotonic())
    await again.start()
    return again


async def test_they_go_with_their_account(driver: MemoryDriver, phone: MemoryClient) -> None:
    await enable(phone)
    turn = driver.server.kernel.new_turn()
    driver.server.kernel.services.get(AccountService).delete(account(driver), turn)
    await driver.server.kernel.settled(turn)
    await driver.settle([])
    await driver.create_account("romeo", "secret")
    rows = await driver.server.kernel.reader.fetch(EVERYTHING)
    assert list(rows) == []


async def test_what_ended_is_forgotten_after_a_while(driver: MemoryDriver, phone: MemoryClient) -> None:
    app = await attached(driver)
    romeo, _ = await log_in(driver, "romeo", resume=False)
    await enable(phone, "a")
    await phone.close()
    app.answer = error("item-not-found")
    romeo.write(message(JULIET, "m"))
    await driver.settle([])
    assert await app.nodes(1) == ["a"]
    await driver.advance(SHOWN_MS / 1000 - 3_600)
    await component(driver).clean()
    await driver.settle([])
    assert await nodes(driver) == ["a"]
    await driver.advance(7_200)
    await component(driver).clean()
    await driver.settle([])
    assert await nodes(driver) == []


# --- restarts ---------------------------------------------------------------------------------------------------------

async def test_they_outlive_the_server(
    driver: MemoryDriver, phone: MemoryClient, tmp_path: Path, storage_url: str
) -> None:
    session(driver, "phone").device_id = 7
    app = await attached(driver)
    romeo, _ = await log_in(driver, "romeo", resume=False)
    await enable(phone, "a")
    await phone.close()
    app.answer = error("internal-server-error")
    romeo.write(message(JULIET, "m"))
    await driver.settle([])
    assert await app.nodes(1) == ["a"]
    [before] = await registrations(driver)
    again = await restarted(driver, tmp_path, storage_url)
    [after] = await registrations(again)
    before.budgets = after.budgets = None
    assert after == before
    app = await attached(again)
    assert await app.nodes(80) == ["a"], "the second try is not forgotten"
    await again.stop()
    await driver.start()


async def test_what_was_due_when_the_server_stopped_is_due_when_it_is_back(
    driver: MemoryDriver, phone: MemoryClient, tmp_path: Path, storage_url: str
) -> None:
    romeo, _ = await log_in(driver, "romeo", resume=False)
    await enable(phone, "a")
    await gone(driver, phone)
    romeo.write(message(JULIET, "m"))
    await driver.settle([])
    again = await restarted(driver, tmp_path, storage_url)
    app = await attached(again)
    assert await app.nodes(1) == ["a"]
    third = await restarted(again, tmp_path, storage_url)
    app = await attached(third)
    assert await app.nodes(100) == [], "once"
    await third.stop()
    await driver.start()


async def test_the_day_also_goes_on_after_a_restart(
    driver: MemoryDriver, tmp_path: Path, storage_url: str
) -> None:
    client, previd = await log_in(driver, "juliet")
    await enable(client)
    await gone(driver, client)
    again = await restarted(driver, tmp_path, storage_url)
    await again.advance(3_600)
    await again.settle([])
    app = await attached(again)
    romeo, _ = await log_in(again, "romeo", resume=False)
    romeo.write(message(JULIET, "m"))
    await again.settle([])
    assert await app.nodes(1) == ["node-1"]
    _, answer = await resume(again, "juliet", previd, 1)
    assert answer.name == "resumed"
    await again.stop()
    await driver.start()
