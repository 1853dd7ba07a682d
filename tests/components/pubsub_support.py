"""Clients of a server in memory that publish and listen, for the tests of nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xmppchat.components.pubsub import Pubsub
from xmppchat.protocol.disco import DiscoIdentity, DiscoInfo
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

NODE = "urn:example:a"


async def started(directory: Path, storage_url: str, *accounts: str, **options: Any) -> MemoryDriver:
    """A server with these accounts."""
    driver = MemoryDriver(directory, storage_url=storage_url, **options)
    await driver.start()
    for name in accounts:
        await driver.create_account(name, "secret")
    return driver


def component(driver: MemoryDriver) -> Pubsub:
    """The component."""
    return next(one for one in driver.server.kernel.components if isinstance(one, Pubsub))


class Client:
    """One client: requests, and what it was told."""

    def __init__(self, driver: MemoryDriver, client: MemoryClient, name: str, resource: str) -> None:
        self.driver = driver
        self.client = client
        self.bare = f"{name}@{driver.domain}"
        self.full = f"{self.bare}/{resource}"

    @classmethod
    async def log_in(cls, driver: MemoryDriver, name: str, resource: str = "x") -> Client:
        """A client without presence."""
        client = await driver.connect()
        assert isinstance(client, MemoryClient)
        await client.log_in(name, "secret", resource)
        return cls(driver, client, name, resource)

    async def ask(self, kind: str, inner: str, to: str = "", *, owner: bool = False) -> Element:
        """The answer to a request about nodes."""
        namespace = NS.PUBSUB_OWNER if owner else NS.PUBSUB
        return await self.request(kind, f"<pubsub xmlns='{namespace}'>{inner}</pubsub>", to)

    async def request(self, kind: str, payload: str, to: str = "") -> Element:
        """The answer to any request."""
        id = f"q{len(self.client.inbox)}-{self.driver.server.kernel.ids.token()}"
        address = f" to='{to}'" if to else ""
        self.client.write(f"<iq type='{kind}' id='{id}'{address}>{payload}</iq>")
        await self.driver.settle([self.client])
        (found,) = [element for element in self.client.inbox if element.get("id") == id]
        self.client.inbox.remove(found)
        return found

    async def publish(
        self, node: str = NODE, item: str = "1", text: str = "1", to: str = "", **options: str
    ) -> str:
        """Publish ``<a>text</a>``; returns what is wrong, "" for nothing."""
        form = ""
        if options:
            fields = "".join(f"<field var='pubsub#{name}'><value>{v}</value></field>" for name, v in options.items())
            form = (
                f"<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
                f"<value>{NS.PUBSUB_OPTIONS}</value></field>{fields}</x></publish-options>"
            )
        payload = f"<a xmlns='urn:example:a'>{text}</a>"
        inner = f"<publish node='{node}'><item id='{item}'>{payload}</item></publish>{form}"
        return condition(await self.ask("set", inner, to))

    async def configure(self, node: str = NODE, to: str = "", **options: str) -> str:
        """Configure a node; returns what is wrong, "" for nothing."""
        fields = "".join(f"<field var='pubsub#{name}'><value>{v}</value></field>" for name, v in options.items())
        form = (
            f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
            f"<value>{NS.PUBSUB_NODE_CONFIG}</value></field>{fields}</x>"
        )
        return condition(await self.ask("set", f"<configure node='{node}'>{form}</configure>", to, owner=True))

    async def subscribe(self, to: str, node: str = NODE, jid: str = "") -> str:
        """Subscribe its bare address, or `jid`; returns what is wrong, "" for nothing."""
        return condition(await self.ask("set", f"<subscribe node='{node}' jid='{jid or self.bare}'/>", to))

    async def affiliate(self, to: str, node: str = NODE, **ranks: str) -> str:
        """Make others, by name, something to a node; returns what is wrong, "" for nothing."""
        domain = self.driver.domain
        inner = "".join(
            f"<affiliation jid='{name}@{domain}' affiliation='{rank}'/>" for name, rank in ranks.items()
        )
        asked = f"<affiliations node='{node}'>{inner}</affiliations>"
        return condition(await self.ask("set", asked, to, owner=True))

    async def items(self, node: str = NODE, to: str = "") -> dict[str, str] | str:
        """Texts by id of item, or what is wrong."""
        answer = await self.ask("get", f"<items node='{node}'/>", to)
        pubsub = answer.find("pubsub", NS.PUBSUB)
        if pubsub is None or answer.get("type") == "error":
            return condition(answer)
        items = pubsub.find("items")
        assert items is not None
        return {item.get("id"): next(item.elements()).text for item in items.find_all("item")}

    async def appear(self, *features: str) -> None:
        """Send presence, with capabilities, and prove them where the server asks; whatever comes stays in the inbox."""
        info = DiscoInfo([DiscoIdentity("client", "pc")], sorted(features))
        ver = info.verification_string("sha-1")
        self.client.write(f"<presence><c xmlns='{NS.CAPS}' hash='sha-1' node='urn:x' ver='{ver}'/></presence>")
        await self.driver.settle([self.client])
        for question in [one for one in self.client.inbox if one.find("query", NS.DISCO_INFO) is not None]:
            self.client.inbox.remove(question)
            query = "".join(f"<feature var='{feature}'/>" for feature in sorted(features))
            self.client.write(
                f"<iq type='result' id='{question.get('id')}' to='{question.get('from')}'>"
                f"<query xmlns='{NS.DISCO_INFO}'><identity category='client' type='pc'/>{query}</query></iq>"
            )
        await self.driver.settle([self.client])

    async def events(self) -> list[tuple[str, str, str, str]]:
        """(from, node, change, id or "") of all notifications since the last call; everything else is forgotten."""
        await self.driver.settle([self.client])
        found = []
        for element in self.client.inbox:
            event = element.find("event", NS.PUBSUB_EVENT)
            for change in event.elements() if event is not None else ():
                inside = next(change.elements(), None)
                name = change.name if inside is None or change.name == "configuration" else inside.name
                id = "" if inside is None else inside.get("id")
                found.append((element.get("from").partition("@")[0], change.get("node"), name, id))
        self.client.inbox.clear()
        return found


async def befriend(one: Client, other: Client) -> None:
    """Both see each other's presence."""
    for asker, asked in ((one, other), (other, one)):
        asker.client.write(f"<presence type='subscribe' to='{asked.bare}'/>")
        await one.driver.settle(())
        asked.client.write(f"<presence type='subscribed' to='{asker.bare}'/>")
        await one.driver.settle(())
    one.client.inbox.clear()
    other.client.inbox.clear()


def condition(answer: Element) -> str:
    """The conditions of an error answer, "" for a result."""
    error = answer.find("error")
    return " ".join(one.name for one in error.elements() if one.name != "text") if error is not None else ""
