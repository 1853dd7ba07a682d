"""Limits of sessions and accounts (reliability.md, limits 10, 16, 17, 23), with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from xmppchat.core.limits import Limits
from xmppchat.network.connections import LOOK_SECONDS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(register: dict[str, str] | None = None, **limits: Any) -> MemoryDriver:
        driver = MemoryDriver(tmp_path, limits=Limits(profile="test", **limits), register=register or {})
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


# --- excess -----------------------------------------------------------------------------------------------------------

async def excess(driver: MemoryDriver, client: MemoryClient, stanza: str, seconds: int) -> None:
    """Sends far too much, all the time, as far as it is read."""
    for _ in range(seconds // 10):
        if not client.is_closed:
            client.write(stanza * 60)
        await driver.settle([client])
        await driver.advance(10)
        await driver.settle([client])


@pytest.mark.parametrize("limits", [
    {"session_stanza_rate": 2, "session_stanza_burst": 5}, {"account_message_rate": 2, "account_message_burst": 5},
])
async def test_who_does_not_listen_for_half_a_minute_is_sent_away(start: Start, limits: dict[str, int]) -> None:
    driver = await start(**limits)
    romeo, juliet = await log_in(driver, "romeo"), await log_in(driver, "juliet")
    await excess(driver, romeo, "<message to='juliet@chat.example'><body>x</body></message>", 120)
    assert romeo.is_closed
    assert romeo.inbox[-1].find("resource-constraint", "urn:ietf:params:xml:ns:xmpp-streams") is not None
    assert fired(driver)["sustained_excess"] == 1
    assert await pong(driver, juliet)


async def test_who_sends_many_bytes_is_only_slowed_down(start: Start) -> None:
    driver = await start(session_byte_rate=50, session_byte_burst=500)
    romeo = await log_in(driver, "romeo")
    await excess(driver, romeo, "<message to='juliet@chat.example'><body>x</body></message>", 300)
    assert not romeo.is_closed
    assert fired(driver)["sustained_excess"] == 0


async def test_one_burst_is_no_excess_however_long_it_lasts(start: Start) -> None:
    """Who was away and has much to tell waits, then goes on."""
    driver = await start(session_stanza_rate=1, session_stanza_burst=5)
    romeo = await log_in(driver, "romeo")
    romeo.write("<message to='juliet@chat.example'><body>x</body></message>" * 100)
    await driver.settle([romeo])
    for _ in range(20):
        romeo.write("<presence/>")
        await driver.settle([romeo])
        await driver.advance(10)
        await driver.settle([romeo])
    assert not romeo.is_closed
    assert fired(driver)["sustained_excess"] == 0


# --- fan-out ----------------------------------------------------------------------------------------------------------

async def friends(driver: MemoryDriver, *names: str) -> list[MemoryClient]:
    """Clients of which the first is the contact of all others, and they are its."""
    clients = [await log_in(driver, name) for name in names]
    for kind in ("subscribe", "subscribed"):
        for other, client in zip(names[1:], clients[1:], strict=True):
            clients[0].write(f"<presence type='{kind}' to='{other}@chat.example'/>")
            client.write(f"<presence type='{kind}' to='{names[0]}@chat.example'/>")
            await driver.settle(clients)
    return clients


async def test_what_a_presence_becomes_is_on_its_senders_account(start: Start) -> None:
    """V-44: with three contacts each costs three; who has caused too much is read later, and its messages too."""
    driver = await start(account_fan_out_rate=1, account_fan_out_burst=30)
    romeo, *others = await friends(driver, "romeo", "juliet", "nurse", "paris")
    romeo.write("<presence/>")  # three, and as many probes
    await driver.settle([romeo])
    for _ in range(8):
        assert await pong(driver, romeo)
        romeo.write("<presence><show>away</show></presence>")
        await driver.settle([romeo])
    assert await pong(driver, others[0]), "who is told pays nothing"
    for _ in range(2):
        romeo.write("<presence/>")
    await driver.settle([romeo])
    assert not await pong(driver, romeo)
    assert fired(driver)["account_fan_out_rate"] >= 1
    await driver.advance(10)
    await driver.settle([romeo])
    assert any(element.get("id") == "p" for element in romeo.inbox), "nothing is lost"


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



@pytest.mark.parametrize(("mode", "is_limited"), [("open", True), ("invite", False), ("closed", False)])
async def test_new_accounts_begin_with_fewer(start: Start, mode: str, is_limited: bool) -> None:
    """V-40: where anybody may register, an account of a day writes to so many strangers in an hour."""
    driver = await start(register={"mode": mode}, new_recipients_on_first_day=2)
    romeo = await log_in(driver, "romeo")
    assert await write_to(driver, romeo, "juliet", "nurse") == []
    assert (await write_to(driver, romeo, "paris") == ["wait policy-violation"]) is is_limited
    assert await write_to(driver, romeo, "juliet", "nurse", "juliet") == [], "whom one knows already is free"
    assert fired(driver)["new_recipients_on_first_day"] == int(is_limited)
    await driver.advance(1_800)
    assert await write_to(driver, romeo, "paris") == []
    await driver.advance(86_400)
    assert await write_to(driver, romeo, "tybalt", "romeo2", "romeo3", "romeo4", kind="subscribe") == [], "grown up"


async def test_what_is_refused_to_a_new_account_costs_it_nothing(start: Start) -> None:
    """Neither of the two limits: of the minute's two one is left when the first day is over."""
    driver = await start(register={"mode": "open"}, new_recipients_on_first_day=1, new_recipients_per_minute=2)
    romeo = await log_in(driver, "romeo")
    assert await write_to(driver, romeo, "juliet") == []
    for _ in range(5):
        assert await write_to(driver, romeo, "nurse") == ["wait policy-violation"]
    assert fired(driver)["new_recipients_per_minute"] == 0
    driver.clock._start += 86_400_000
    assert await write_to(driver, romeo, "paris") == []
    assert fired(driver)["new_recipients_on_first_day"] == 5


async def test_how_old_an_account_is_survives_a_restart(start: Start) -> None:
    driver = await start(register={"mode": "open"}, new_recipients_on_first_day=1)
    await driver.stop()
    driver.clock._start += 86_400_000 + 1
    await driver.start()
    romeo = await log_in(driver, "romeo")
    assert await write_to(driver, romeo, "juliet", "nurse", "paris") == []
