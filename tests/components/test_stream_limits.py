"""Stream limits (XEP-0478): what is announced is what holds."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from xmppchat.core.limits import Limits
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

Start = Callable[[Limits], Coroutine[Any, Any, MemoryDriver]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(limits: Limits) -> MemoryDriver:
        driver = MemoryDriver(tmp_path, limits=limits)
        drivers.append(driver)
        await driver.start()
        await driver.create_account("romeo", "secret")
        return driver

    yield start
    for driver in drivers:
        await driver.stop()


def announced(features: Element) -> dict[str, str]:
    limits = features.find("limits", NS.STREAM_LIMITS)
    assert limits is not None
    return {child.name: child.text for child in limits.elements()}


async def test_before_and_after_login(start: Start) -> None:
    driver = await start(Limits(profile="test", stanza_bytes=20_000, untrusted_stanza_bytes=5_000, idle_seconds=99))
    client = MemoryClient(driver.domain, driver.server.connections.new())
    assert announced(await client.open()) == {"max-bytes": "5000"}
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{base64.b64encode(b'.romeo.secret').decode()}</auth>")
    await client.take(lambda element: element.name == "failure")
    initial = base64.b64encode(b"\0romeo\0secret").decode()
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{initial}</auth>")
    await client.take(lambda element: element.name == "success")
    assert announced(await client.open()) == {"max-bytes": "20000", "idle-seconds": "99"}


async def test_no_idle_seconds_where_nobody_asks(start: Start) -> None:
    driver = await start(Limits(profile="test"))
    client = MemoryClient(driver.domain, driver.server.connections.new())
    await client.open()
    initial = base64.b64encode(b"\0romeo\0secret").decode()
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{initial}</auth>")
    await client.take(lambda element: element.name == "success")
    assert announced(await client.open()) == {"max-bytes": "262144"}


def of_size(size: int, head: str, tail: str) -> str:
    return head + "x" * (size - len(head) - len(tail)) + tail


#: The end tag may stand behind the limit, where the reader counts to its beginning.
SIZES = pytest.mark.parametrize(("over", "is_closed"), [(0, False), (len("</body></message>"), True)])


@SIZES
async def test_what_is_announced_holds_after_login(start: Start, over: int, is_closed: bool) -> None:
    driver = await start(Limits(profile="test", stanza_bytes=20_000))
    client = MemoryClient(driver.domain, driver.server.connections.new())
    await client.open()
    await client.log_in("romeo", "secret", "x")
    head = f"<message to='{driver.domain}' type='error'><body>"
    client.write(of_size(20_000 + over, head, "</body></message>"))
    await settle(driver.server.kernel)
    assert client.is_closed is is_closed
    if is_closed:
        assert client.inbox[-1].find("policy-violation", NS.STREAM_ERROR) is not None


@SIZES
async def test_what_is_announced_holds_before_login(start: Start, over: int, is_closed: bool) -> None:
    driver = await start(Limits(profile="test", untrusted_stanza_bytes=5_000))
    client = MemoryClient(driver.domain, driver.server.connections.new())
    await client.open()
    client.write(of_size(5_000 + over, f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>", "</auth>"))
    await settle(driver.server.kernel)
    assert client.is_closed is is_closed
