"""slixmpp as a device that encrypts, by the plugin slixmpp-omemo, in both namespaces of OMEMO (XEP-0384).

The plugin publishes the keys for both, but encrypts and reads the older one only. For `urn:xmpp:omemo:2` this module
makes and reads the envelope (XEP-0420) and leaves the ratchet to the plugin's session manager. All devices are trusted.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import twomemo.etree
from live_server import ServerProcess, User
from omemo.session_manager import MessageNotForUs
from omemo.storage import Storage
from omemo_storage import KeptKeys, Keys
from slix import MakeSlix, Slix
from slixmpp import JID
from slixmpp.plugins import register_plugin
from slixmpp.stanza import Message
from slixmpp.xmlstream.handler import CoroutineCallback
from slixmpp.xmlstream.matcher import MatchXPath
from slixmpp_omemo import XEP_0384
from waiting import PATIENCE, until

AXOLOTL = "eu.siacs.conversations.axolotl"
OMEMO = "urn:xmpp:omemo:2"
NAMESPACES = (AXOLOTL, OMEMO)
#: The nodes that list an account's devices.
DEVICE_LISTS = {AXOLOTL: f"{AXOLOTL}.devicelist", OMEMO: f"{OMEMO}:devices"}
#: The node of all bundles of an account in the newer OMEMO; the older has one for each device.
BUNDLES = f"{OMEMO}:bundles"
#: What this plugin and profanity write for clients that cannot decrypt; with the newer OMEMO there is no such body
#: (XEP-0420 §7).
FALLBACK_BODIES = (
    "This message is OMEMO encrypted.",
    "You received a message encrypted with OMEMO but your client doesn't support OMEMO.",
)

_ENVELOPE = "urn:xmpp:sce:1"
_CLIENT = "jabber:client"


class TrustingOmemo(XEP_0384):
    """The plugin, with a store, with blind trust, and one thing at a time: its events and messages interleave else."""

    default_config: ClassVar = {"fallback_message": FALLBACK_BODIES[0], "keys": None}

    def plugin_init(self) -> None:
        self.lock = asyncio.Lock()
        self._storage = KeptKeys(self.keys)
        super().plugin_init()

    @property
    def storage(self) -> Storage:
        return self._storage

    @property
    def _btbv_enabled(self) -> bool:
        return True

    async def _prompt_manual_trust(self, manually_trusted: Any, identifier: str | None) -> None:
        raise AssertionError(f"not trusted blindly: {manually_trusted}")

    async def _on_device_list_update(self, message: Message) -> None:
        async with self.lock:
            await super()._on_device_list_update(message)
        items = message["pubsub_event"]["items"]
        devices = list(items["item"].xml[0])
        self.xmpp.told[(message["from"].bare, items["node"])] = len(devices)


register_plugin(TrustingOmemo)


@dataclass(frozen=True, slots=True)
class Secret:
    """What a device read: who wrote it, by which OMEMO."""

    sender: str
    namespace: str
    text: str


class OmemoSlix(Slix):
    """A device of an account; it is a new one unless it gets the `keys` of a former client."""

    def __init__(
        self, server: ServerProcess, jid: str, password: str, *, keys: Keys | None = None, **options: Any
    ) -> None:
        super().__init__(server, jid, password, **options)
        self.keys: Keys = {} if keys is None else keys
        #: What came, and why it could not be read.
        self.heard: asyncio.Queue[Secret | Exception] = asyncio.Queue()
        #: (bare JID, node) -> devices on the list, as told by the latest event.
        self.told: dict[tuple[str, str], int] = {}
        self._published = asyncio.Event()
        for plugin in ("xep_0280", "xep_0313", "xep_0334", "xep_0380"):
            self.register_plugin(plugin)
        self.register_plugin("xep_0384", {"keys": self.keys})
        self._omemo: TrustingOmemo = self.plugin["xep_0384"]
        self.add_event_handler("omemo_initialized", lambda _: self._published.set())
        self.register_handler(
            # "message" events are for stanzas with a body, which the newer OMEMO has not.
            CoroutineCallback("Encrypted", MatchXPath(f"{{{_CLIENT}}}message"), self._take)
        )

    async def login(self, *, available: bool = True) -> OmemoSlix:
        """Logs in, publishes the device and, if `available`, sends presence. Raises LoginRefused."""
        await super().login(available=False)
        await asyncio.wait_for(self._published.wait(), PATIENCE)
        await self.plugin["xep_0280"].enable(timeout=PATIENCE)
        if available:
            # The plugin says so before there is a resource that it could be said of, so nobody ever hears of it.
            self.plugin["xep_0163"].add_interest(list(DEVICE_LISTS.values()))
            await self.plugin["xep_0115"].update_caps(broadcast=False)
            self.send_presence()
            await self.settle()
        return self

    async def whisper(self, to: str, text: str, namespace: str) -> Message:
        """Encrypts `text` for all devices of the bare JID `to` and the own ones, sends it and returns the stanza."""
        async with self._omemo.lock:
            seal = self._seal if namespace == OMEMO else self._seal_as_before
            message = await seal(JID(to), text)
        message["eme"]["namespace"] = namespace
        message["eme"]["name"] = "OMEMO"
        message.send()
        return message

    async def _seal_as_before(self, to: JID, text: str) -> Message:
        sealed, errors = await self._omemo.encrypt_message(self.make_message(to, text, mtype="chat"), to)
        assert not errors, errors
        return sealed

    async def _seal(self, to: JID, text: str) -> Message:
        await self._omemo.refresh_device_lists({to})
        manager = await self._omemo.get_session_manager()
        plaintext = {OMEMO: _envelope(text, self.boundjid.bare)}
        (sealed,), errors = await manager.encrypt(frozenset({to.bare}), plaintext, backend_priority_order=[OMEMO])
        assert not errors, errors
        message = self.make_message(to, mtype="chat")
        message.append(twomemo.etree.serialize_message(sealed))
        message.enable("store")
        return message

    async def _take(self, stanza: Message) -> None:
        """Reads what came live, from the offline store, or as a copy; not what was asked of the archive."""
        for copy in ("carbon_received", "carbon_sent"):
            if stanza.get_plugin(copy, check=True) is not None and stanza["from"].bare == self.boundjid.bare:
                stanza = stanza[copy]
        try:
            secret = await self.read(stanza)
        except Exception as error:
            self.heard.put_nowait(error)
        else:
            if secret is not None:
                self.heard.put_nowait(secret)

    async def read(self, message: Message) -> Secret | None:
        """Decrypts `message`; None where there is nothing to read. Raises what the library does."""
        namespace = next((n for n in NAMESPACES if message.xml.find(f"{{{n}}}encrypted") is not None), None)
        if namespace is None:
            return None
        element = message.xml.find(f"{{{namespace}}}encrypted")
        try:
            async with self._omemo.lock:
                read = self._open if namespace == OMEMO else self._open_as_before
                text = await read(message)
        except MessageNotForUs:
            # Without a payload it completes the session of another device of the account (XEP-0384 §6).
            if element.find(f"{{{namespace}}}payload") is not None:
                raise
            return None
        return Secret(message["from"].bare, namespace, text) if text else None

    async def _open_as_before(self, message: Message) -> str:
        opened, _ = await self._omemo.decrypt_message(message)
        return str(opened["body"])

    async def _open(self, message: Message) -> str:
        sender = message["from"].bare
        parsed = twomemo.etree.parse_message(message.xml.find(f"{{{OMEMO}}}encrypted"), sender)
        plaintext = (await (await self._omemo.get_session_manager()).decrypt(parsed))[0]
        return "" if plaintext is None else _text(plaintext, sender)

    async def hears(self, sender: str, namespace: str, text: str) -> None:
        """Returns once the next message could be read; it must be this. Raises the library's error otherwise."""
        expected = Secret(sender, namespace, text)
        try:
            secret = await asyncio.wait_for(self.heard.get(), PATIENCE)
        except TimeoutError:
            raise AssertionError(f"nothing at {self.boundjid} instead of {expected}") from None
        if isinstance(secret, Exception):
            raise secret
        assert secret == expected

    async def is_told(self, owner: str, devices: int, namespaces: Sequence[str] = NAMESPACES) -> None:
        """Returns once events said that `owner` has so many devices, in each of the `namespaces`."""
        await until(
            lambda: all(self.told.get((owner, DEVICE_LISTS[n])) == devices for n in namespaces),
            lambda: f"{devices} devices of {owner} at {self.boundjid}: {self.told}",
        )

    async def archived(self) -> list[Message]:
        """The encrypted messages in the account's archive that have a payload, oldest first."""
        results = [result async for result in self.plugin["xep_0313"].iterate()]
        messages = [result["mam_result"]["forwarded"]["stanza"] for result in results]
        return [
            m for m in messages if any(m.xml.find(f"{{{n}}}encrypted/{{{n}}}payload") is not None for n in NAMESPACES)
        ]


async def device(slix: MakeSlix, user: User, keys: Keys | None = None, *, available: bool = True) -> OmemoSlix:
    """A device of `user`, logged in; with `keys` that which they are of."""
    client = slix(user, kind=OmemoSlix, keys=keys)
    assert isinstance(client, OmemoSlix)
    return await client.login(available=available)


def begins_a_session(message: Message) -> bool:
    """Whether any device gets a key exchange with it."""
    keys = [key for n in NAMESPACES for key in message.xml.iter(f"{{{n}}}key")]
    assert keys
    return any(key.get("prekey") in ("1", "true") or key.get("kex") in ("1", "true") for key in keys)


def check_secrecy(server: ServerProcess, message: Message, text: str) -> None:
    """The server has this message on its disk, with no other body than that which tells of the encryption."""
    payload = next(found for n in NAMESPACES if (found := message.xml.findtext(f".//{{{n}}}payload")))
    assert message["body"] in ("", *FALLBACK_BODIES)
    assert text not in str(message)
    files = [path.read_bytes() for path in server.directory.rglob("*") if path.is_file()]
    assert any(payload[:24].encode() in content for content in files)
    assert not any(text.encode() in content for content in files)


def _envelope(text: str, sender: str) -> bytes:
    """An envelope (XEP-0420 §4, XEP-0384 §5.5.1); clients want its namespaces without prefixes."""
    return (
        f"<envelope xmlns='{_ENVELOPE}'><content><body xmlns='{_CLIENT}'>{escape(text)}</body></content>"
        f"<rpad>{secrets.token_hex(secrets.randbelow(100))}</rpad><from jid={quoteattr(sender)}/></envelope>"
    ).encode()


def _text(envelope: bytes, sender: str) -> str:
    """The body in `envelope`, which must be of `sender`."""
    element = ET.fromstring(envelope)
    assert element.tag == f"{{{_ENVELOPE}}}envelope"
    claimed = element.find(f"{{{_ENVELOPE}}}from")
    assert claimed is not None
    assert claimed.get("jid") == sender
    return element.findtext(f"{{{_ENVELOPE}}}content/{{{_CLIENT}}}body", "")
