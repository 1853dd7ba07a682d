"""External components (XEP-0114): stanzas both ways, by the rules for strangers; who is listed; what a reload does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from xmppchat.core.session import MAX_HELD
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.stanza import Stanza
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryClient, MemoryDriver

SECRET = "correct horse battery staple, thrice"
DOMAIN = "gateway.chat.example"
OTHER = "rooms.elsewhere.example"
NICK = f"nick@{DOMAIN}"
ACCEPT = "jabber:component:accept"
ROMEO = "romeo@chat.example"

Client = Callable[..., Coroutine[Any, Any, MemoryClient]]


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, external_components={DOMAIN: SECRET, OTHER: SECRET})
    await driver.start()
    await driver.create_account("romeo", "secret")
    yield driver
    await driver.stop()


@pytest.fixture
async def gateway(driver: MemoryDriver) -> MemoryComponent:
    """A component that is attached."""
    return await attached(driver, DOMAIN)


async def attached(driver: MemoryDriver, domain: str) -> MemoryComponent:
    component = MemoryComponent(driver.server, domain)
    component.attach(SECRET)
    await driver.settle(())
    assert component.is_attached, component.inbox
    component.inbox.clear()
    return component


async def romeo(driver: MemoryDriver, resource: str = "x", *, is_present: bool = True) -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in("romeo", "secret", resource)
    if is_present:
        await client.request("get", "<query xmlns='jabber:iq:roster'/>")
        client.write("<presence/>")
        await driver.settle([client])
        client.inbox.clear()
    return client


async def after(driver: MemoryDriver, action: Callable[[], object]) -> None:
    action()
    await driver.settle(())


def shown(element: Element) -> tuple[str, str, str, str]:
    get = element.attributes.get
    return element.name, get("from", ""), get("to", ""), get("type", "")


async def test_messages_go_both_ways(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    client = await romeo(driver)
    client.write(f"<message to='{NICK}' type='chat'><body>Hi</body><x xmlns='urn:x'><body xmlns='jabber:client'/></x>"
                 "</message>")
    await driver.settle(())
    [message] = gateway.stanzas()
    assert shown(message) == ("message", client.jid, NICK, "chat")
    assert message.child_text("body") == "Hi", "in the namespace of its stream"
    assert message.find("x", "urn:x").find("body", "jabber:client") is not None, "and not what names another"  # type: ignore[union-attr]
    gateway.write(f"<message from='{NICK}/phone' to='{ROMEO}' type='chat'><body>Ho</body></message>")
    await driver.settle(())
    [answer] = client.inbox
    assert shown(answer) == ("message", f"{NICK}/phone", ROMEO, "chat")
    assert answer.child_text("body", "jabber:client") == "Ho"


async def test_requests_are_answered_both_ways(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    client = await romeo(driver)
    client.write(f"<iq type='get' id='d1' to='{DOMAIN}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
    await driver.settle(())
    [request] = gateway.stanzas()
    assert shown(request) == ("iq", client.jid, DOMAIN, "get")
    gateway.write(f"<iq type='result' id='d1' from='{DOMAIN}' to='{client.jid}'><query xmlns='urn:q'/></iq>")
    gateway.write(f"<iq type='result' id='d1' from='{DOMAIN}' to='{client.jid}'><query xmlns='urn:again'/></iq>")
    gateway.write(f"<iq type='result' id='d1' from='{NICK}' to='{client.jid}'><query xmlns='urn:another'/></iq>")
    await driver.settle(())
    assert [element.payload_names for element in map(_Named, client.inbox)] == [["urn:q"]]
    client.inbox.clear()
    gateway.write(f"<iq type='get' id='p1' from='{NICK}' to='{client.jid}'><ping xmlns='urn:xmpp:ping'/></iq>")
    gateway.write(f"<iq type='get' id='p2' from='{NICK}' to='chat.example'><ping xmlns='urn:xmpp:ping'/></iq>")
    await driver.settle(())
    assert shown(client.inbox[0]) == ("iq", NICK, client.jid, "get")
    client.write(f"<iq type='result' id='p1' to='{NICK}'/>")
    await driver.settle(())
    assert [(e.get("id"), *shown(e)) for e in gateway.stanzas()] == [
        ("p2", "iq", "chat.example", NICK, "result"), ("p1", "iq", client.jid, NICK, "result"),
    ]


class _Named:
    def __init__(self, element: Element) -> None:
        self.payload_names = [child.namespace for child in element.elements()]


async def test_the_server_asks_a_component(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    answers: list[Stanza | None] = []
    kernel = driver.server.kernel

    def ask(to: str) -> None:
        kernel.iq.request(JID.parse(to), Element("publish", "urn:p"), answers.append, domain="chat.example", type="set")

    ask(DOMAIN)
    await driver.settle(())
    [request] = gateway.stanzas()
    gateway.write(f"<iq type='result' id='{request.get('id')}' from='{NICK}' to='chat.example'/>")  # was not asked
    await driver.settle(())
    assert answers == []
    gateway.write(f"<iq type='result' id='{request.get('id')}' from='{DOMAIN}' to='chat.example'/>")
    await driver.settle(())
    assert [answer and answer.type for answer in answers] == ["result"]
    gateway.transport.vanish()
    await driver.settle(())
    ask(DOMAIN)
    await driver.settle(())
    assert [answer and answer.type for answer in answers] == ["result", "error"], "at once, not after a timeout"
