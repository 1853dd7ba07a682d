"""People who write to bots: clients of a server in memory with an OMEMO device each, by the same libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oldmemo import Oldmemo
from omemo import (
    Bundle,
    DeviceInformation,
    DeviceList,
    Message,
    SessionManager,
    TrustLevel,
)
from omemo_storage import KeptKeys
from pubsub_support import Client, condition
from twomemo import Twomemo

from xmppchat.components.bots import envelope, wire
from xmppchat.components.bots.component import Bots
from xmppchat.components.bots.manager import bundle_place, list_node
from xmppchat.core import events
from xmppchat.core.component import Component, ComponentConfig, on
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryDriver, settle

BOT = JID.parse("news@chat.example")
BOTH = (NS.OMEMO, NS.OMEMO_AXOLOTL)


class Heard(Component[ComponentConfig]):
    """Keeps what bots hear."""

    name = "heard"

    def setup(self) -> None:
        self.messages: list[events.BotMessage] = []

    @on(events.BotMessage)
    def hear(self, event: events.BotMessage) -> None:
        self.messages.append(event)

    @property
    def bodies(self) -> list[str]:
        return [message.body for message in self.messages]


async def started(directory: Path, storage_url: str = "sqlite:///xmppchat.db", **options: Any) -> MemoryDriver:
    """A server with romeo and juliet, and what hears bots; no bot yet."""
    from dataclasses import replace

    from xmppchat.components import BUILTIN

    driver = MemoryDriver(directory, storage_url=storage_url, **options)
    driver.server.config = replace(driver.server.config, component_classes=(*BUILTIN, Heard))
    await driver.start()
    await connected(driver)
    return driver


async def connected(driver: MemoryDriver) -> None:
    """All bots are there."""
    await settle(driver.server.kernel)


def component(driver: MemoryDriver) -> Bots:
    return next(one for one in driver.server.kernel.components if isinstance(one, Bots))


def heard(driver: MemoryDriver) -> Heard:
    return next(one for one in driver.server.kernel.components if isinstance(one, Heard))


async def run(driver: MemoryDriver, command: str, **arguments: object) -> Any:
    return await driver.server.execute(command, arguments)


class Person:
    """Somebody's device that speaks OMEMO in some `namespaces`."""

    def __init__(self, client: Client, storage: KeptKeys) -> None:
        self.client = client
        self.storage = storage
        self.manager: SessionManager
        self.bare = client.bare
        self.device_id = 0

    @classmethod
    async def log_in(
        cls, driver: MemoryDriver, name: str, namespaces: tuple[str, ...] = BOTH, resource: str = "phone",
        storage: KeptKeys | None = None,
    ) -> Person:
        """A client that is there, with its keys published."""
        client = await Client.log_in(driver, name, resource)
        person = cls(client, storage or KeptKeys())
        backends = [
            backend for backend in (Twomemo(person.storage), Oldmemo(person.storage))
            if backend.namespace in namespaces
        ]
        person.manager = await _manager(person).create(backends, person.storage, client.bare, None, "undecided")
        await person.manager.after_history_sync()
        person.device_id = (await person.manager.get_own_device_information())[0].device_id
        client.client.write("<presence/>")
        await driver.settle([client.client])
        client.client.inbox.clear()
        return person

    async def leave(self) -> None:
        await self.manager.shutdown()
        await self.client.client.close()

    async def encrypted(self, body: str, namespace: str, to: JID = BOT) -> list[Element]:
        """``<encrypted/>`` for all devices of `to`."""
        await self.manager.refresh_device_lists(to.bare)
        own = JID.parse(self.bare)
        plain = {
            NS.OMEMO: envelope.wrap(body, own, to, self.client.driver.clock.now()), NS.OMEMO_AXOLOTL: body.encode(),
        }
        messages, errors = await self.manager.encrypt(frozenset({to.bare}), plain, [namespace])
        assert not errors
        return [wire.message_element(message) for message in messages]

    async def say(self, body: str, namespace: str, to: JID = BOT) -> None:
        """Write something encrypted."""
        self.write(await self.encrypted(body, namespace, to), to)
        await self.client.driver.settle([self.client.client])

    def write(self, children: list[Element], to: JID = BOT) -> None:
        xml = "".join(child.to_xml(NS.CLIENT) for child in children)
        self.client.client.write(f"<message type='chat' id='m1' to='{to}'>{xml}</message>")

    async def read(self) -> list[tuple[str, str]]:
        """(namespace, body) of what came encrypted since the last call, and can be read; the rest is left."""
        await self.client.driver.settle([self.client.client])
        found = []
        for element in list(self.client.client.inbox):
            for namespace in BOTH:
                encrypted = element.find("encrypted", namespace)
                key = None if encrypted is None else wire.key_for(encrypted, self.bare, self.device_id)
                if encrypted is None or key is None:
                    continue
                self.client.client.inbox.remove(element)
                body = await self._decrypted(JID.parse(element.get("from")), encrypted, key)
                if body:
                    found.append((namespace, body))
        return found

    async def _decrypted(self, sender: JID, encrypted: Element, key: Element) -> str:
        await self.manager.refresh_device_lists(sender.bare)
        number = wire.sender_id(encrypted)
        devices = await self.manager.get_device_information(sender.bare)
        (device,) = [one for one in devices if one.device_id == number]
        made = wire.message(encrypted, key, sender.bare, self.bare, self.device_id, device.identity_key)
        plain, _, _ = await self.manager.decrypt(made)
        if plain is None:
            return ""
        if encrypted.namespace == NS.OMEMO:
            return envelope.unwrap(plain, sender, JID.parse(self.bare), self.client.driver.clock.now())
        return plain.decode()


def _manager(person: Person) -> type[SessionManager]:
    """By hand, so that a client is not what is tested: nodes as XML."""
    ask = person.client.ask

    async def publish(node: str, item: str, payload: Element, most: str) -> None:
        fields = {"access_model": "open", "persist_items": "true", "max_items": most}
        form = "".join(f"<field var='pubsub#{name}'><value>{v}</value></field>" for name, v in fields.items())
        answer = await ask("set", (
            f"<publish node='{node}'><item id='{item}'>{payload.to_xml(NS.PUBSUB)}</item></publish><publish-options>"
            f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
            f"<value>{NS.PUBSUB_OPTIONS}</value></field>{form}</x></publish-options>"
        ))  # fmt: skip
        assert not condition(answer), answer.to_xml()

    async def item(owner: str, node: str, id: str) -> Element | None:
        answer = await ask("get", f"<items node='{node}'><item id='{id}'/></items>", owner)
        pubsub = answer.find("pubsub", NS.PUBSUB)
        found = None if pubsub is None else pubsub.find("items")
        return next((payload for one in found.elements() for payload in one.elements()), None) if found else None

    class Sessions(SessionManager):
        async def _upload_bundle(self, bundle: Bundle) -> None:  # type: ignore[override]
            node, id = bundle_place(bundle.namespace, bundle.device_id)
            await publish(node, id, wire.bundle_element(bundle), "max" if bundle.namespace == NS.OMEMO else "1")

        async def _download_bundle(self, namespace: str, bare_jid: str, device_id: int) -> Bundle:  # type: ignore[override]
            node, id = bundle_place(namespace, device_id)
            element = await item(bare_jid, node, id)
            assert element is not None
            return wire.bundle(element, namespace, bare_jid, device_id)

        async def _delete_bundle(self, namespace: str, device_id: int) -> None:  # type: ignore[override]
            raise NotImplementedError

        async def _upload_device_list(self, namespace: str, device_list: DeviceList) -> None:  # type: ignore[override]
            await publish(list_node(namespace), "current", wire.devices_element(device_list, namespace), "1")

        async def _download_device_list(self, namespace: str, bare_jid: str) -> DeviceList:  # type: ignore[override]
            element = await item(bare_jid, list_node(namespace), "current")
            return {} if element is None else wire.devices(element, namespace)

        async def _evaluate_custom_trust_level(self, device: DeviceInformation) -> TrustLevel:
            return TrustLevel.TRUSTED

        async def _make_trust_decision(self, undecided: frozenset[DeviceInformation], identifier: str | None) -> None:
            raise NotImplementedError

        async def _send_message(self, message: Message, bare_jid: str) -> None:  # type: ignore[override]
            person.write([wire.message_element(message), Element("store", NS.HINTS)], JID.parse(bare_jid))

    return Sessions


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to this")


def body(text: str) -> list[Element]:
    return [text_element("body", NS.CLIENT, text)]
