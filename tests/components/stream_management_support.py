"""Clients that manage their streams (XEP-0198), for tests in memory."""

from __future__ import annotations

from collections.abc import Sequence

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

SM = NS.STREAM_MANAGEMENT


async def connect(driver: MemoryDriver, name: str) -> MemoryClient:
    """A client that is authenticated and has no resource."""
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.authenticate(name, "secret")
    return client


async def log_in(
    driver: MemoryDriver, name: str, resource: str = "phone", *, resume: bool = True, is_new: bool = True,
    is_available: bool = True,
) -> tuple[MemoryClient, str]:
    """A client whose stream is managed, and its SM-ID; of an account that is made first if it `is_new`."""
    if is_new:
        await driver.create_account(name, "secret")
    client = await connect(driver, name)
    await client.bind(resource)
    if is_available:
        client.write("<presence/>")
        await client.take(lambda element: element.name == "presence")
    wish = " resume='true'" if resume else ""
    client.write(f"<enable xmlns='{SM}'{wish}/>")
    enabled = await client.take(lambda element: element.is_named("enabled", SM))
    return client, enabled.get("id")


async def resume(driver: MemoryDriver, name: str, previd: str, h: int) -> tuple[MemoryClient, Element]:
    """A client that asked for a former session, and the answer."""
    client = await connect(driver, name)
    client.write(f"<resume xmlns='{SM}' previd='{previd}' h='{h}'/>")
    await driver.settle([])
    answer = client.inbox.pop(0)
    client.jid = f"{name}@{driver.domain}/phone"
    return client, answer


async def count(driver: MemoryDriver, client: MemoryClient) -> int:
    """How many stanzas of `client` the server has handled."""
    client.write(f"<r xmlns='{SM}'/>")
    await driver.settle([])
    answer = await client.take(lambda element: element.is_named("a", SM))
    return int(answer.get("h"))


def message(to: str, name: str, kind: str = "chat") -> str:
    """A message with a body."""
    return f"<message to='{to}' type='{kind}' id='{name}'><body>{name}</body></message>"


def ids(client: MemoryClient) -> list[str]:
    """The ids of all messages in the inbox, in order; nothing is taken out."""
    return [element.get("id") for element in client.inbox if element.name == "message"]


def names(elements: Sequence[Element]) -> list[str]:
    """What the elements are called."""
    return [element.name for element in elements]
