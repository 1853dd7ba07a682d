"""A failed login waits for its answer (limit 12): its own stream, and nobody else; with a clock that stands still."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from xmppchat.core.limits import Limits
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

GUESSER, OTHER = "2001:db8:1:1::1", "2001:db8:1:2::1"


@pytest_asyncio.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, limits=Limits())
    await driver.start()
    await driver.create_account("romeo", "secret")
    yield driver
    await driver.stop()


async def connected(driver: MemoryDriver, address: str = GUESSER) -> MemoryClient:
    client = MemoryClient(driver.domain, driver.server.connections.new())
    client.transport.address = address
    await client.open()
    return client


def guess(client: MemoryClient, password: str = "wrong", name: str = "romeo") -> None:
    initial = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{initial}</auth>")


def conditions(client: MemoryClient) -> list[str]:
    return [next(element.elements()).name for element in client.inbox if element.name == "failure"]


async def test_who_guesses_is_told_later_each_time(driver: MemoryDriver) -> None:
    client = await connected(driver)
    waits = []
    for _ in range(4):
        before = len(conditions(client))
        guess(client)
        start = driver.clock.monotonic()
        while len(conditions(client)) == before:
            await driver.settle([client])
            driver.clock.advance(0.25)
            assert driver.clock.monotonic() - start < 5, "an answer comes"
        waits.append(driver.clock.monotonic() - start)
    assert waits == [0.5, 1.0, 1.5, 2.0]


async def test_nobody_else_waits(driver: MemoryDriver) -> None:
    """Neither the owner nor a guesser's other connection with the right password; and no task is held by it."""
    guessers = [await connected(driver) for _ in range(3)]
    for number, client in enumerate(guessers):
        guess(client, name=f"nobody{number}")
    await driver.settle(guessers)
    assert driver.server.kernel.tasks.is_idle or all(
        task.get_name().startswith("every ") for task in driver.server.kernel.tasks._tasks
    )
    for address in (GUESSER, OTHER):
        owner = await connected(driver, address)
        await owner.log_in("romeo", "secret", "x")
    assert [conditions(client) for client in guessers] == [[], [], []]
    driver.clock.advance(2)
    await driver.settle(guessers)
    assert [conditions(client) for client in guessers] == [["not-authorized"]] * 3


async def test_what_comes_behind_a_guess_waits_with_it(driver: MemoryDriver) -> None:
    client = await connected(driver)
    guess(client)
    guess(client, "secret")
    await driver.settle([client])
    assert client.inbox == []
    driver.clock.advance(0.5)
    await driver.settle([client])
    assert [element.name for element in client.inbox] == ["failure", "success"]
    await client.vanish()


async def test_by_sasl2_it_is_the_same(driver: MemoryDriver) -> None:
    """XEP-0388: told later, and then the client may try again."""
    client = await connected(driver)
    initial = base64.b64encode(b"\0romeo\0wrong").decode()
    client.write(
        f"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'><initial-response>{initial}</initial-response>"
        "</authenticate>"
    )
    await driver.settle([client])
    assert client.inbox == []
    driver.clock.advance(0.5)
    await driver.settle([client])
    (failure,) = client.inbox
    assert (failure.name, failure.namespace) == ("failure", "urn:xmpp:sasl:2")
    client.inbox.clear()
    await client.log_in("romeo", "secret", "x")


async def test_who_is_gone_before_is_told_nothing(driver: MemoryDriver) -> None:
    client = await connected(driver)
    guess(client)
    await driver.settle([client])
    await client.vanish()
    await driver.settle([client])
    driver.clock.advance(5)
    await driver.settle([client])
    assert conditions(client) == []
    assert not driver.server.connections.open


async def test_what_is_no_guess_is_told_at_once(driver: MemoryDriver) -> None:
    client = await connected(driver)
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{base64.b64encode(b'nonsense').decode()}</auth>")
    await driver.settle([client])
    assert conditions(client) == ["malformed-request"]


async def test_five_attempts_are_enough(driver: MemoryDriver) -> None:
    """The stream ends behind the last answer, not before."""
    client = await connected(driver)
    for _ in range(5):
        guess(client)
        await driver.settle([client])
        driver.clock.advance(2)
        await driver.settle([client])
    assert client.is_closed
    assert conditions(client) == ["not-authorized"] * 5
    assert client.inbox[-1].name == "error"
    counts = driver.server.kernel.limit_counters.counts
    assert (counts["login_attempts"], counts["auth_failures_per_account"]) == (1, 1)


async def test_a_host_waits_with_whatever_address_of_its_network(driver: MemoryDriver) -> None:
    """Limit 12, by the stream: ten guesses from ten addresses of one /64, then none is looked at, nor the right one."""
    for number in range(10):
        client = await connected(driver, f"2001:db8:7:7::{number + 1:x}")
        guess(client, name=f"user{number}")
        await driver.settle([client])
        driver.clock.advance(2)
        await driver.settle([client])
        assert conditions(client) == ["not-authorized"]
    client = await connected(driver, "2001:db8:7:7:abcd::1")
    guess(client, "secret")
    await driver.settle([client])
    assert conditions(client) == ["temporary-auth-failure"]
    await (await connected(driver, "2001:db8:7:8::1")).log_in("romeo", "secret", "x")
    assert driver.server.kernel.limit_counters.counts["auth_failures_per_address"] == 2
