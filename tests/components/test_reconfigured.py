"""After a reload nobody goes on by what was made of the old options: in memory, with a clock that stands still."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from xmppchat.core import events
from xmppchat.core.component import Component
from xmppchat.core.limits import Limits
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

DOMAIN = "chat.example"


@pytest_asyncio.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    for name in ("romeo", "juliet"):
        await driver.create_account(name, "secret")
    yield driver
    await driver.stop()


async def log_in(driver: MemoryDriver, name: str) -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in(name, "secret", "x")
    return client


def reconfigure(driver: MemoryDriver, options: dict[str, dict[str, object]] | None = None, **limits: Any) -> None:
    """What a reload does with a configuration that was found good."""
    server = driver.server
    server.config = replace(
        server.config, limits=Limits(profile="test", **limits), component_options=options or {}
    )
    assert server.kernel.reconfigure(server.config) == []
    server.connections.reconfigure(server._settings())
    server.connections.authenticator.set_limits(server.config.limits)


async def answered(driver: MemoryDriver, client: MemoryClient) -> bool:
    """Sends a request; whether the server has read it."""
    client.inbox.clear()
    client.write(f"<iq type='get' id='p' to='{DOMAIN}'><ping xmlns='{NS.PING}'/></iq>")
    await driver.settle([client])
    return any(element.get("id") == "p" for element in client.inbox)


async def errors(driver: MemoryDriver, client: MemoryClient, *recipients: str) -> list[str]:
    """Conditions of the errors for messages to `recipients`."""
    client.inbox.clear()
    for name in recipients:
        client.write(f"<message to='{name}@elsewhere.example' type='chat'><body>x</body></message>")
    await driver.settle([client])
    found = [element.find("error", NS.CLIENT) for element in client.inbox]
    return [next(error.elements()).name for error in found if error is not None]


async def test_rates_of_those_who_are_connected(driver: MemoryDriver) -> None:
    romeo = await log_in(driver, "romeo")
    reconfigure(driver, session_stanza_rate=1, session_stanza_burst=2)
    assert [await answered(driver, romeo) for _ in range(4)] == [True, True, True, False]
    reconfigure(driver)  # a debt under limits that are gone is none
    await driver.settle([romeo])
    assert await answered(driver, romeo)


async def test_rates_of_accounts(driver: MemoryDriver) -> None:
    romeo = await log_in(driver, "romeo")
    reconfigure(driver, account_iq_rate=1, account_iq_burst=2)
    assert [await answered(driver, romeo) for _ in range(4)] == [True, True, True, False]
    assert driver.server.kernel.limit_counters.counts["account_iq_rate"] >= 1
    reconfigure(driver)
    await driver.settle([romeo])
    assert [await answered(driver, romeo) for _ in range(10)] == [True] * 10


async def test_new_recipients(driver: MemoryDriver) -> None:
    reconfigure(driver, new_recipients_per_minute=1)
    romeo = await log_in(driver, "romeo")
    assert "policy-violation" in await errors(driver, romeo, "a", "b")
    reconfigure(driver, new_recipients_per_minute=3)
    assert "policy-violation" not in await errors(driver, romeo, "c", "d", "e")
    assert "policy-violation" in await errors(driver, romeo, "f")


async def test_iterations_of_the_next_password(driver: MemoryDriver) -> None:
    reconfigure(driver, {"accounts": {"iterations": 5_000}})
    await driver.create_account("nurse", "secret")
    await log_in(driver, "nurse")
    from xmppchat.components.accounts import CREDENTIALS

    account = driver.server.kernel.directory.peek("nurse@chat.example")
    assert account is not None
    assert {keys.iterations for keys in account[CREDENTIALS].values()} == {5_000}


async def test_stream_features_of_new_and_of_waiting_streams(driver: MemoryDriver) -> None:
    waiting = await driver.connect()
    reconfigure(driver, {"register": {"mode": "open"}}, stanza_bytes=12_345)
    fresh = MemoryClient(DOMAIN, driver.server.connections.new())
    features = await fresh.open()
    assert features.find("register", NS.REGISTER_FEATURE) is not None
    assert isinstance(waiting, MemoryClient)
    await waiting.register("nurse", "top secret")


async def test_a_component_that_fails_is_named_and_the_others_follow(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = driver.server.kernel
    told: list[str] = []

    def reconfigured(component: Component[Any]) -> None:
        told.append(component.name)
        if component.name == "ping":
            raise ZeroDivisionError

    for component in kernel.components:
        monkeypatch.setattr(type(component), "reconfigured", reconfigured)
    heard: list[object] = []
    monkeypatch.setattr(kernel, "emit", heard.append)
    assert kernel.reconfigure(driver.server.config) == ["ping"]
    assert sorted(told) == sorted(component.name for component in kernel.components)
    assert heard == [events.Reconfigured()]


async def test_failed_logins_count_by_the_new_limit(driver: MemoryDriver) -> None:
    reconfigure(driver, auth_failures_per_address=1, auth_failures_per_account=1)
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    for expected in ("not-authorized", "temporary-auth-failure"):
        client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>AHJvbWVvAHdyb25n</auth>")
        failure = await client.take(lambda element: element.name == "failure")
        assert next(failure.elements()).name == expected
    reconfigure(driver)  # off again
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>AHJvbWVvAHdyb25n</auth>")
    failure = await client.take(lambda element: element.name == "failure")
    assert next(failure.elements()).name == "not-authorized"


@pytest.mark.parametrize(("bounds", "expected"), [
    ({"auth_failures_per_address": 2}, "not-authorized not-authorized temporary-auth-failure temporary-auth-failure"),
    ({"auth_failures_per_account": 2}, "not-authorized not-authorized temporary-auth-failure not-authorized"),
])
async def test_each_bound_on_failed_logins_can_be_off(
    driver: MemoryDriver, bounds: dict[str, int], expected: str
) -> None:
    """The fourth attempt is at another account."""
    reconfigure(driver, **bounds)
    client = await driver.connect()
    found = []
    for name in ("romeo", "romeo", "romeo", "juliet"):
        initial = base64.b64encode(f"\0{name}\0wrong".encode()).decode()
        client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{initial}</auth>")
        failure = await client.take(lambda element: element.name == "failure")
        found.append(next(failure.elements()).name)
    assert found == expected.split()
    assert driver.server.kernel.limit_counters.counts[next(iter(bounds))] >= 1
