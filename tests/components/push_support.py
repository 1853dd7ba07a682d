"""A push service at its protocol (XEP-0357) for tests in memory: it takes notifications, and answers as it is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stream_management_support import SM

from xmppchat.components.push import Push
from xmppchat.components.push.registrations import REGISTRATIONS, Registration
from xmppchat.core.account import Account
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryClient, MemoryDriver

PUSH = "urn:xmpp:push:0"
APP = "push.app.example"
OTHER_APP = "push.other.example"
SECRET = "correct horse battery staple, thrice"
JULIET = "juliet@chat.example"
#: How far the clock goes at a time: less than anybody waits for an answer.
STEP_SECONDS = 10.0
#: What makes its answer of a request: the inside of the iq, or None for none.
Answer = Callable[[Element], str | None]


def error(condition: str, kind: str = "cancel") -> Answer:
    """Refuses everything."""
    return lambda request: (
        f"<error type='{kind}'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    )


def silence(request: Element) -> str | None:
    """Answers nothing."""
    return None


def accept(request: Element) -> str | None:
    """Takes everything."""
    return ""


class AppServer:
    """What is behind `APP`. `seen` are all requests it got."""

    def __init__(self, driver: MemoryDriver, domain: str = APP) -> None:
        self.driver = driver
        self.domain = domain
        self.component = MemoryComponent(driver.server, domain)
        self.component.attach(SECRET)
        self.answer: Answer = accept
        self.seen: list[Element] = []

    async def nodes(self, seconds: float = 0.0) -> list[str]:
        """The nodes that notifications came for, in so long; each was answered, before an answer would be missed."""
        found: list[str] = []
        steps = 1 if seconds > 1_000 else max(1, math.ceil(seconds / STEP_SECONDS))
        for _ in range(steps):
            if seconds:
                await self.driver.advance(seconds / steps)
            await self.driver.settle([])
            found += self._answer()
            await self.driver.settle([])
        return found

    def _answer(self) -> list[str]:
        found: list[str] = []
        for stanza in self.component.stanzas():
            if stanza.name != "iq" or stanza.get("type") != "set":
                continue
            self.seen.append(stanza)
            found.append(node_of(stanza))
            inner = self.answer(stanza)
            if inner is not None:
                kind = "error" if "<error" in inner else "result"
                self.component.write(
                    f"<iq type='{kind}' id='{stanza.get('id')}' from='{self.domain}' to='{stanza.get('from')}'>"
                    f"{inner}</iq>"
                )
        return found


async def attached(driver: MemoryDriver) -> AppServer:
    """An app server that is there."""
    server = AppServer(driver)
    await driver.settle([])
    return server


def node_of(stanza: Element) -> str:
    """The node of a notification, whose payload is checked to be one."""
    [pubsub] = stanza.elements()
    assert pubsub.is_named("pubsub", "http://jabber.org/protocol/pubsub")
    publish = pubsub.find("publish")
    assert publish is not None
    return publish.get("node")


async def enable(client: MemoryClient, node: str = "node-1", *, app: str = APP, options: str = "") -> Element:
    """The answer to <enable/>."""
    named = f" node='{node}'" if node else ""
    return await ask(client, f"<enable xmlns='{PUSH}' jid='{app}'{named}>{options}</enable>")


async def disable(client: MemoryClient, node: str | None = None, *, app: str = APP) -> Element:
    """The answer to <disable/>."""
    named = f" node='{node}'" if node is not None else ""
    return await ask(client, f"<disable xmlns='{PUSH}' jid='{app}'{named}/>")


async def ask(client: MemoryClient, payload: str) -> Element:
    """The answer to a request to one's own account."""
    client.write(f"<iq type='set' id='ask'>{payload}</iq>")
    return await client.take(lambda element: element.get("id") == "ask" and element.name == "iq")


async def gone(driver: MemoryDriver, client: MemoryClient) -> None:
    """Its connection is lost."""
    await client.vanish()
    await driver.settle([])


async def acknowledge(driver: MemoryDriver, client: MemoryClient) -> None:
    """It has all that it was sent."""
    client.write(f"<a xmlns='{SM}' h='{client.handled}'/>")
    await driver.settle([])


def account(driver: MemoryDriver, bare: str = JULIET) -> Account:
    """An account that is in memory."""
    found = driver.server.kernel.directory.find(bare)
    assert found is not None
    return found


def session(driver: MemoryDriver, resource: str, bare: str = JULIET) -> Session:
    """A session of an account."""
    return account(driver, bare).sessions[resource]


async def registrations(driver: MemoryDriver, bare: str = JULIET) -> list[Registration]:
    """What is registered for an account."""
    found = await driver.server.kernel.directory.get(JID.parse(bare))
    return list(found[REGISTRATIONS].values())


def component(driver: MemoryDriver) -> Push:
    """The component of the server."""
    return next(one for one in driver.server.kernel.components if isinstance(one, Push))


async def command(driver: MemoryDriver, name: str, **arguments: Any) -> Any:
    """What a command returns."""
    return await driver.server.execute(name, arguments)
