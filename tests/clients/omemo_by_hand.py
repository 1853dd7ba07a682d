"""slixmpp with an OMEMO device in one namespace or both, by the libraries and their own XML.

What joins the two is written here, so that a device can be without the other namespace, and be there again later.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import ClassVar
from xml.etree import ElementTree as ET

import oldmemo
import oldmemo.etree
import twomemo
import twomemo.etree
from omemo import (
    Bundle,
    DeviceInformation,
    DeviceList,
    Message,
    SessionManager,
    TrustLevel,
)
from omemo_storage import KeptKeys
from slix import Slix
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.stanza import Message as Stanza
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath
from waiting import PATIENCE

OLD, NEW = oldmemo.oldmemo.NAMESPACE, twomemo.twomemo.NAMESPACE
SCE, CLIENT = "{urn:xmpp:sce:1}", "{jabber:client}"
LISTS = {OLD: "eu.siacs.conversations.axolotl.devicelist", NEW: "urn:xmpp:omemo:2:devices"}
XML = {OLD: oldmemo.etree, NEW: twomemo.etree}


class Omemo:
    """The device of a client, in some `namespaces`. :attr:`texts` are what it could read: (namespace, text)."""

    def __init__(self, client: Slix) -> None:
        self.client = client
        self.texts: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.manager: SessionManager
        self._reading: list[asyncio.Task[None]] = []
        for namespace in (OLD, NEW):
            matcher = MatchXPath(f"{CLIENT}message/{{{namespace}}}encrypted")
            client.register_handler(Callback(f"encrypted {namespace}", matcher, self._received))

    @classmethod
    async def begin(cls, client: Slix, *namespaces: str, kept: KeptKeys) -> Omemo:
        """Give a client that is logged in a device, which may have been there before."""
        for plugin in ("xep_0004", "xep_0060"):
            client.register_plugin(plugin)
        device, storage = cls(client), kept
        made = [twomemo.Twomemo(storage), oldmemo.Oldmemo(storage)]
        backends = [backend for backend in made if backend.namespace in namespaces]
        sessions = type("Bound", (Sessions,), {"device": device})
        device.manager = await sessions.create(backends, storage, client.boundjid.bare, None, "undecided")
        await device.manager.after_history_sync()
        return device

    async def end(self) -> None:
        """Nothing more is done for it."""
        await self.manager.shutdown()

    async def say(self, to: str, text: str, namespace: str) -> None:
        """Write something that only `to` can read."""
        await self.manager.refresh_device_lists(to)
        plain = {OLD: text.encode(), NEW: self._envelope(text)}
        messages, errors = await self.manager.encrypt(frozenset({to}), plain, [namespace])
        assert not errors
        for message in messages:
            self.send(message, to)

    def _envelope(self, text: str) -> bytes:
        body = ET.Element("body")
        body.text = text
        inside = ET.tostring(body, encoding="unicode").replace("<body>", "<body xmlns='jabber:client'>", 1)
        return (
            f"<envelope xmlns='urn:xmpp:sce:1'><content>{inside}</content><rpad>{secrets.token_hex(16)}</rpad>"
            f"<from jid='{self.client.boundjid.bare}'/></envelope>"
        ).encode()

    def send(self, message: Message, to: str) -> None:
        stanza = self.client.make_message(mto=JID(to), mtype="chat")
        stanza.append(XML[message.namespace].serialize_message(message))
        stanza.append(ET.Element("{urn:xmpp:hints}store"))
        stanza.send()

    async def publish(self, node: str, item: str, payload: ET.Element, most: str) -> None:
        client = self.client
        form = client.plugin["xep_0004"].make_form(ftype="submit")
        form.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#publish-options")
        for name, value in (("access_model", "open"), ("persist_items", "true"), ("max_items", most)):
            form.add_field(var=f"pubsub#{name}", value=value)
        await client.plugin["xep_0060"].publish(JID(client.boundjid.bare), node, item, payload, form)

    async def payload(self, owner: str, node: str, *ids: str) -> ET.Element | None:
        try:
            answer = await self.client.plugin["xep_0060"].get_items(JID(owner), node, item_ids=ids or None)
        except IqError as error:
            if error.condition != "item-not-found":
                raise
            return None
        items = answer["pubsub"]["items"]
        return next(iter(items["item"].xml), None) if len(items) else None

    async def hears(self) -> tuple[str, str]:
        """The next text that it can read."""
        return await asyncio.wait_for(self.texts.get(), PATIENCE)

    def _received(self, stanza: Stanza) -> None:
        self._reading.append(asyncio.get_running_loop().create_task(self._read(stanza)))

    async def _read(self, stanza: Stanza) -> None:
        sender, own = stanza["from"].bare, self.client.boundjid.bare
        for namespace in (OLD, NEW):
            element = stanza.xml.find(f"{{{namespace}}}encrypted")
            if element is None:
                continue
            if namespace == OLD:
                message = await oldmemo.etree.parse_message(element, sender, own, self.manager)
            else:
                message = twomemo.etree.parse_message(element, sender)
            plain, _, _ = await self.manager.decrypt(message)
            if plain is not None and namespace == OLD:
                self.texts.put_nowait((namespace, plain.decode()))
            elif plain is not None:
                envelope = ET.fromstring(plain)
                author = envelope.find(f"{SCE}from")
                assert author is not None
                assert author.get("jid") == sender
                text = envelope.findtext(f"{SCE}content/{CLIENT}body")
                self.texts.put_nowait((namespace, text or ""))


def _place(namespace: str, number: int) -> tuple[str, str]:
    old = f"eu.siacs.conversations.axolotl.bundles:{number}"
    return (old, "current") if namespace == OLD else ("urn:xmpp:omemo:2:bundles", str(number))


class Sessions(SessionManager):
    """What the library does of a `device`."""

    device: ClassVar[Omemo]

    async def _upload_bundle(self, bundle: Bundle) -> None:  # type: ignore[override]
        element = XML[bundle.namespace].serialize_bundle(bundle)  # type: ignore[arg-type]
        await self.device.publish(*_place(bundle.namespace, bundle.device_id), element, "max")

    async def _download_bundle(self, namespace: str, bare_jid: str, device_id: int) -> Bundle:  # type: ignore[override]
        element = await self.device.payload(bare_jid, *_place(namespace, device_id))
        assert element is not None
        return XML[namespace].parse_bundle(element, bare_jid, device_id)

    async def _delete_bundle(self, namespace: str, device_id: int) -> None:  # type: ignore[override]
        raise NotImplementedError

    async def _upload_device_list(self, namespace: str, device_list: DeviceList) -> None:  # type: ignore[override]
        await self.device.publish(LISTS[namespace], "current", XML[namespace].serialize_device_list(device_list), "1")

    async def _download_device_list(self, namespace: str, bare_jid: str) -> DeviceList:  # type: ignore[override]
        element = await self.device.payload(bare_jid, LISTS[namespace])
        return {} if element is None else XML[namespace].parse_device_list(element)

    async def _evaluate_custom_trust_level(self, device: DeviceInformation) -> TrustLevel:
        return TrustLevel.TRUSTED

    async def _make_trust_decision(self, undecided: frozenset[DeviceInformation], identifier: str | None) -> None:
        raise NotImplementedError

    async def _send_message(self, message: Message, bare_jid: str) -> None:  # type: ignore[override]
        self.device.send(message, bare_jid)
