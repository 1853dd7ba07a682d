"""Limits of sessions and accounts (reliability.md, limits 10, 16, 17, 23), with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from xmppchat.core.limits import Limits
from xmppchat.network.c2s import LOOK_SECONDS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(**limits: Any) -> MemoryDriver:
        driver = MemoryDriver(tmp_path, limits=Limits(profile="test", **limits))
        drivers.append(driver)
        await driver.start()
        for name in ("romeo", "juliet", "nurse", "paris", "tybalt"):
            await driver.create_account(name, "secret")
        return driver

    yield start
    for driver in drivers:
        await driver.stop()


async def log_in(driver: MemoryDriver, name: str, resource: str = "r") -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in(name, "secret", resource)
    return client


def fired(driver: MemoryDriver) -> dict[str, int]:
    return dict(driver.server.kernel.limit_counters.counts)


async def pong(driver: MemoryDriver, client: MemoryClient) -> bool:
    """Sends a ping; whether the server has read it."""
    client.inbox.clear()
    client.write("<iq type='get' id='p' to='chat.example'><ping xmlns='urn:xmpp:ping'/></iq>")
    await driver.settle([client])
    return any(element.get("id") == "p" for element in client.inbox)


# --- rates ------------------------------------------------------------------------------------------------------------

async def test_devices_share_the_rate_of_their_account(start: Start) -> None:
    driver = await start(account_iq_rate=1, account_iq_burst=5)
    phone, laptop = await log_in(driver, "romeo", "phone"), await log_in(driver, "romeo", "laptop")
    juliet = await log_in(driver, "juliet")
    assert [await pong(driver, phone) for _ in range(5)] == [True] * 5
    assert await pong(driver, laptop)  # what came before the debt was known is answered …
    assert not await pong(driver, laptop)  # … then it is not read
    assert await pong(driver, juliet)
    assert fired(driver)["account_iq_rate"] >= 1
    await driver.advance(10)
    await driver.settle([laptop])
    assert any(element.get("id") == "p" for element in laptop.inbox), "nothing is lost"


async def test_kinds_of_stanzas_have_rates_of_their_own(start: Start) -> None:
    driver = await start(account_presence_rate=1, account_presence_burst=3)
    romeo = await log_in(driver, "romeo")
    for _ in range(10):
        romeo.write("<message to='juliet@chat.example' type='chat'><body>Hi</body></message>")
    assert await pong(driver, romeo)
    for _ in range(5):
        romeo.write("<presence/>")
    assert not await pong(driver, romeo)


async def test_whitespace_is_dear(start: Start) -> None:
    driver = await start(session_byte_rate=16_384, session_byte_burst=32_768)
    romeo = await log_in(driver, "romeo")
    romeo.write(" ")
    assert await pong(driver, romeo)
    romeo.write(" " * 4_096)
    assert not await pong(driver, romeo)
    await driver.advance(4)
    await driver.settle([romeo])
    assert await pong(driver, romeo)


# --- silence ----------------------------------------------------------------------------------------------------------

async def silent_for(driver: MemoryDriver, client: MemoryClient, seconds: float) -> None:
    passed = 0.0
    while passed < seconds:
        await driver.advance(LOOK_SECONDS)
        await driver.settle([client])
        passed += LOOK_SECONDS


async def test_who_is_silent_is_asked_and_then_leaves(start: Start) -> None:
    driver = await start(idle_seconds=120)
    romeo = await log_in(driver, "romeo")
    await silent_for(driver, romeo, 90)
    assert romeo.inbox == []
    await silent_for(driver, romeo, 30)
    (ping,) = romeo.inbox
    assert ping.find("ping", "urn:xmpp:ping") is not None
    assert ping.get("from") == "chat.example"
    await silent_for(driver, romeo, 60)
    assert romeo.is_closed
    error = romeo.inbox[-1]
    assert error.find("connection-timeout", "urn:ietf:params:xml:ns:xmpp-streams") is not None
    assert fired(driver)["idle_seconds"] == 1


@pytest.mark.parametrize("sign", ["<iq type='result' id='{id}' to='chat.example'/>", " ", "<presence/>"])
async def test_any_sign_of_life_will_do(start: Start, sign: str) -> None:
    driver = await start(idle_seconds=120)
    romeo = await log_in(driver, "romeo")
    for _ in range(5):
        await silent_for(driver, romeo, 120)
        ping = romeo.inbox[-1]
        romeo.write(sign.format(id=ping.get("id")))
        await driver.settle([romeo])
    assert not romeo.is_closed
    assert "idle" not in fired(driver)


async def test_keep_alive_can_be_off(start: Start) -> None:
    driver = await start(idle_seconds=0)
    romeo = await log_in(driver, "romeo")
    await silent_for(driver, romeo, 3_600)
    assert romeo.inbox == []
    assert not romeo.is_closed


# --- strangers --------------------------------------------------------------------------------------------------------

def errors(client: MemoryClient) -> list[str]:
    found = []
    for element in client.inbox:
        error = element.find("error")
        if error is not None:
            found.append(f"{error.get('type')} {next(error.elements()).name}")
    return found


async def write_to(driver: MemoryDriver, client: MemoryClient, *names: str, kind: str = "message") -> list[str]:
    client.inbox.clear()
    for name in names:
        to = f"to='{name}@chat.example'"
        client.write(f"<message {to} type='chat'><body>Hi</body></message>" if kind == "message"
                     else f"<presence {to} type='{kind}'/>")  # fmt: skip
    await driver.settle([client])
    return errors(client)


@pytest.mark.parametrize("kind", ["message", "subscribe"])
async def test_so_many_strangers_and_no_more(start: Start, kind: str) -> None:
    driver = await start(new_recipients_per_minute=2)
    romeo = await log_in(driver, "romeo")
    assert await write_to(driver, romeo, "juliet", "nurse", kind=kind) == []
    assert await write_to(driver, romeo, "paris", kind=kind) == ["wait policy-violation"]
    assert await write_to(driver, romeo, "juliet", "nurse", "juliet") == [], "whom one knows already is free"
    assert fired(driver)["new_recipients_per_minute"] == 1
    await driver.advance(30)
    assert await write_to(driver, romeo, "paris", "tybalt", kind=kind) == ["wait policy-violation"]


async def test_contacts_and_oneself_are_no_strangers(start: Start) -> None:
    driver = await start(new_recipients_per_minute=1)
    romeo = await log_in(driver, "romeo")
    for name in ("juliet", "nurse", "paris"):
        item = f"<query xmlns='jabber:iq:roster'><item jid='{name}@chat.example'/></query>"
        assert (await romeo.request("set", item)).get("type") == "result"
    assert await write_to(driver, romeo, "juliet", "nurse", "paris", "romeo") == []
    assert await write_to(driver, romeo, "tybalt") == []


async def test_devices_do_not_multiply_strangers(start: Start) -> None:
    driver = await start(new_recipients_per_minute=1)
    phone, laptop = await log_in(driver, "romeo", "phone"), await log_in(driver, "romeo", "laptop")
    assert await write_to(driver, phone, "juliet") == []
    assert await write_to(driver, laptop, "nurse") == ["wait policy-violation"]


async def test_who_leaves_and_comes_back_is_still_counted(start: Start) -> None:
    driver = await start(new_recipients_per_minute=1)
    romeo = await log_in(driver, "romeo")
    assert await write_to(driver, romeo, "juliet") == []
    await romeo.close()
    romeo = await log_in(driver, "romeo")
    assert await write_to(driver, romeo, "nurse") == ["wait policy-violation"]

