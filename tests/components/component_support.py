"""A server in memory that expects external components, for their tests."""

from __future__ import annotations

from xmppchat.protocol.element import Element
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryClient, MemoryDriver

SECRET = "correct horse battery staple, thrice"
DOMAIN = "gateway.chat.example"
OTHER = "rooms.elsewhere.example"
NICK = f"nick@{DOMAIN}"
ACCEPT = "jabber:component:accept"
ROMEO = "romeo@chat.example"


async def attached(driver: MemoryDriver, domain: str) -> MemoryComponent:
    """A component at `domain`, attached."""
    component = MemoryComponent(driver.server, domain)
    component.attach(SECRET)
    await driver.settle(())
    assert component.is_attached, component.inbox
    component.inbox.clear()
    return component


async def romeo(driver: MemoryDriver, resource: str = "x", *, is_present: bool = True) -> MemoryClient:
    """A client of romeo's, interested in its roster and available if `is_present`."""
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in("romeo", "secret", resource)
    if is_present:
        await client.request("get", "<query xmlns='jabber:iq:roster'/>")
        client.write("<presence/>")
        await driver.settle([client])
        client.inbox.clear()
    return client


def shown(element: Element) -> tuple[str, str, str, str]:
    """(kind, from, to, type) of a stanza."""
    get = element.attributes.get
    return element.name, get("from", ""), get("to", ""), get("type", "")


def condition(element: Element) -> str:
    """The condition of a stanza error, "" where there is none."""
    error = element.find("error", "jabber:client") or element.find("error", ACCEPT)
    return next(error.elements()).name if error is not None else ""
