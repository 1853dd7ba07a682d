"""A bot's device by the libraries `omemo`, `twomemo` and `oldmemo`: the only module that needs them, with its helpers.

Public methods are for the server's loop; each does its work on the bots' thread, under the lock of the device: the
library reads, waits and writes, and two things at once would lose one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from omemo import Backend, DeviceInformation, Message, NoEligibleDevices, NoSession, OMEMOException
from twomemo import Twomemo

from xmppchat.components.bots import envelope, manager, wire
from xmppchat.components.bots.capabilities import LABEL
from xmppchat.components.bots.encryption import Decrypted, Encrypted, KnownDevice, Unreadable
from xmppchat.components.bots.manager import (
    BLIND,
    DISTRUSTED,
    NAMESPACES,
    TRUSTED,
    UNDECIDED,
    Axolotl,
    Link,
    Manager,
    SealedStorage,
    list_node,
)
from xmppchat.components.bots.session import BotSession
from xmppchat.components.bots.store import Values
from xmppchat.components.bots.thread import LoopThread
from xmppchat.components.bots.vault import Sealed, Vault
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import NotAcceptable, ServiceUnavailable, StanzaError
from xmppchat.protocol.namespaces import NS

log = structlog.get_logger(__name__)

#: Contacts whose devices a bot knows, and devices of one of them, gone ones included.
MAX_CONTACTS: Final = 10_000
MAX_KNOWN: Final = 200
#: Age at which a signed key is exchanged for another, s: a week (XEP-0384 §4.2).
ROTATION_SECONDS: Final = 7 * 86_400
_NEVER: Final = 2**31
#: Of storage: lists of the devices of contacts, by their bare JIDs.
_PREFIX, _SUFFIX = "/devices/", "/list"

#: For clients that know nothing of the older namespace; with the newer one there must be none (XEP-0420 §7).
FALLBACK: Final = "This message is encrypted with OMEMO, which your client does not seem to support."


async def start_device(
    session: BotSession, values: Values, vault: Vault, thread: LoopThread, trusts_blindly: Callable[[], bool]
) -> OmemoDevice:
    """See :data:`~xmppchat.components.bots.encryption.StartDevice`. Raises :class:`Sealed`, or a stanza error."""
    manager.silence()
    contacts = {
        name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for name in await values.names(f"{_PREFIX}%{_SUFFIX}")
    }
    link = Link(thread, session, trusts_blindly)
    return await thread.run(OmemoDevice.create(link, thread, SealedStorage(thread, values, vault), contacts))


class OmemoDevice:
    """See :class:`~xmppchat.components.bots.encryption.Device`."""

    def __init__(
        self, link: Link, thread: LoopThread, sessions: Manager, backends: Sequence[Backend], own: DeviceInformation,
        contacts: set[str],
    ) -> None:
        self.device_id = own.device_id
        self.fingerprint = own.identity_key.hex()
        self._own = link.own
        self._thread = thread
        self._manager = sessions
        self._backends = backends
        self._contacts = contacts
        self._lock = asyncio.Lock()

    @classmethod
    async def create(
        cls, link: Link, thread: LoopThread, storage: SealedStorage, contacts: set[str]
    ) -> OmemoDevice:
        """Load the device, or make it; what is published is put in order. On the thread."""
        backends = [Twomemo(storage), Axolotl(storage)]
        try:
            sessions = await manager.manager_of(link).create(
                backends, storage, link.own.bare, LABEL, UNDECIDED, signed_pre_key_rotation_period=_NEVER
            )
            await sessions.ensure_data_consistency()
            await sessions.after_history_sync()
            own, _ = await sessions.get_own_device_information()
        except OMEMOException as error:
            if isinstance(error.__cause__, Sealed):
                raise error.__cause__ from None
            raise ServiceUnavailable(f"its device cannot be started: {_reason(error)}") from error
        return cls(link, thread, sessions, backends, own, contacts)

    async def stop(self) -> None:
        """See :class:`Device`."""
        await self._thread.run(self._stop())

    async def _stop(self) -> None:
        async with self._lock:
            await self._manager.shutdown()

    async def rotate(self) -> None:
        """See :class:`Device`."""
        await self._thread.run(self._rotate())

    async def _rotate(self) -> None:
        """XEP-0384 §4.2. The library would do it by itself, in the middle of something else."""
        async with self._lock:
            try:
                for backend in self._backends:
                    if await backend.signed_pre_key_age() > ROTATION_SECONDS:
                        await backend.rotate_signed_pre_key()
                        await self._manager.publish(await backend.get_bundle(self._own.bare, self.device_id))
            except OMEMOException as error:
                log.warning("a bot's signed key could not be exchanged", bot=self._own.bare, reason=_reason(error))

    # --- writing -----------------------------------------------------------------------------------------------------

    async def encrypt(self, to: JID, body: str, now: int) -> Encrypted:
        """See :class:`Device`."""
        return await self._thread.run(self._encrypt(to, body, now))

    async def _encrypt(self, to: JID, body: str, now: int) -> Encrypted:
        async with self._lock:
            self._meet(to.bare)
            plain = {NS.OMEMO: envelope.wrap(body, self._own, to, now), NS.OMEMO_AXOLOTL: body.encode()}
            try:
                # Who does not show its presence tells nothing of new devices (XEP-0384 §5.2).
                self._manager.listed.clear()
                await self._manager.refresh_device_lists(to.bare)
                order = await self._order(to.bare)
                messages, errors = await self._manager.encrypt(frozenset({to.bare}), plain, order)
            except NoEligibleDevices:
                raise NotAcceptable(await self._nobody(to.bare)) from None
            except OMEMOException as error:
                raise NotAcceptable(f"nothing was sent: {_reason(error)}") from error
            readers = {key.device_id for made in messages for key, _ in made.keys if key.bare_jid == to.bare}
            left_out = await self._left_out(to.bare, readers)
            left_out |= {one.device_id: _reason(one.exception) for one in errors if one.bare_jid == to.bare}
            made = sorted(messages, key=lambda one: NAMESPACES.index(one.namespace))
            return Encrypted(_payload(made), tuple(one.namespace for one in made), len(readers), left_out)

    async def _left_out(self, contact: str, readers: set[int]) -> dict[int, str]:
        """Why devices in the lists of `contact` are not among the `readers`."""
        known = {one.device_id for one in await self._manager.get_device_information(contact)}
        reasons = {True: "it is not trusted", False: "its keys cannot be had"}
        return {number: reasons[number in known] for number in self._manager.listed - readers}

    async def _order(self, contact: str) -> list[str]:
        """Namespaces, first the one that all devices of both sides understand, if there is one."""
        for namespace in NAMESPACES:
            others = [one for one in await self._others(contact) if one.trust_level_name != DISTRUSTED]
            if all(dict(one.active).get(namespace) for one in others if any(active for _, active in one.active)):
                return [namespace, *(other for other in NAMESPACES if other != namespace)]
        return list(NAMESPACES)

    async def _others(self, contact: str) -> list[DeviceInformation]:
        _, siblings = await self._manager.get_own_device_information()
        return [*siblings, *await self._manager.get_device_information(contact)]

    async def _nobody(self, contact: str) -> str:
        found = [one for one in await self._manager.get_device_information(contact) if any(a for _, a in one.active)]
        if not found:
            return f"{contact} has no device that could read this; nothing was sent"
        if all(one.trust_level_name == DISTRUSTED for one in found):
            return (f"{contact} has no device that is trusted; nothing was sent. "
                    f"`xmppchat bot devices {self._own.bare}` shows them, `bot trust` decides")
        return f"no device of {contact} has keys that could be used; nothing was sent"

    # --- reading -----------------------------------------------------------------------------------------------------

    async def decrypt(self, sender: JID, elements: Sequence[Element], sent_at: int) -> Decrypted:
        """See :class:`Device`."""
        return await self._thread.run(self._decrypt(sender, elements, sent_at))

    async def _decrypt(self, sender: JID, elements: Sequence[Element], sent_at: int) -> Decrypted:
        async with self._lock:
            for element in elements:
                key = wire.key_for(element, self._own.bare, self.device_id)
                if key is not None:
                    break
            else:
                raise Unreadable("it is not encrypted for the bot's device")
            self._meet(sender.bare)
            try:
                device = await self._sender(sender.bare, element)
                message = wire.message(
                    element, key, sender.bare, self._own.bare, self.device_id, device.identity_key
                )
                plain, device, *_ = await self._manager.decrypt(message)
                body = "" if plain is None else self._body(plain, element.namespace, sender, sent_at)
            except (wire.Malformed, envelope.Forged, UnicodeDecodeError) as error:
                raise Unreadable(str(error)) from error
            except NoSession:
                await self._begin_anew(device, element.namespace)
                raise Unreadable("the bot does not remember this conversation; it has begun another") from None
            except OMEMOException as error:
                raise Unreadable(_reason(error)) from error
            return Decrypted(body, element.namespace, device.trust_level_name == TRUSTED)

    async def _begin_anew(self, device: DeviceInformation, namespace: str) -> None:
        """Send the keys of another session, so that what comes next can be read (XEP-0384 §6)."""
        backend = next(one for one in self._backends if one.namespace == namespace)
        try:
            content, material = await backend.encrypt_empty()
            bundle = await self._manager.bundle_of(device, namespace)
            session, key = await backend.build_session_active(device.bare_jid, device.device_id, bundle, material)
            keys = frozenset({(key, session.key_exchange)})
            message = Message(namespace, self._own.bare, self.device_id, content, keys)
            await self._manager.link.send(device.bare_jid, wire.message_element(message))
            await backend.store_session(session)
        except (OMEMOException, StanzaError) as error:
            raise Unreadable(f"the bot does not remember this conversation, nor begin another: {error}") from error

    def _body(self, plain: bytes, namespace: str, sender: JID, sent_at: int) -> str:
        if namespace == NS.OMEMO:
            return envelope.unwrap(plain, sender, self._own, sent_at)
        return plain.decode()

    async def _sender(self, sender: str, element: Element) -> DeviceInformation:
        """The device that wrote it, which is or may be trusted from now on. Raises :class:`Unreadable`."""
        number = wire.sender_id(element)
        found = await self._find(sender, number)
        if found is None:
            await self._manager.refresh_device_lists(sender)
            found = await self._find(sender, number)
        if found is None:
            raise Unreadable(f"its device {number} is in no list of the sender's, or has no keys")
        level = found.trust_level_name
        if level == UNDECIDED:
            level = await self._manager.decide(found)
        if level == DISTRUSTED or (level == BLIND and not self._manager.link.trusts_blindly()):
            raise Unreadable(f"its device {number} is not trusted")
        return found

    async def _find(self, owner: str, number: int) -> DeviceInformation | None:
        devices = await self._manager.get_device_information(owner)
        return next((one for one in devices if one.device_id == number), None)

    # --- devices of others -------------------------------------------------------------------------------------------

    async def list_changed(self, owner: JID, node: str, payload: Element) -> None:
        """See :class:`Device`."""
        await self._thread.run(self._list_changed(owner.bare, node, payload))

    async def _list_changed(self, owner: str, node: str, payload: Element) -> None:
        async with self._lock:
            if owner != self._own.bare and owner not in self._contacts:
                return  # it is asked for when it is needed
            namespace = next(one for one in NAMESPACES if list_node(one) == node)
            try:
                found: Any = wire.devices(payload, namespace)
                known = {one.device_id for one in await self._manager.get_device_information(owner)}
                if len(known | found.keys()) > MAX_KNOWN:
                    raise Unreadable(f"{owner} has had too many devices")
                await self._manager.update_device_list(namespace, owner, found)
            except (wire.Malformed, OMEMOException) as error:
                raise Unreadable(_reason(error)) from error

    def _meet(self, contact: str) -> None:
        """The bot has to do with `contact`: what is known of its devices is kept. Raises :class:`Unreadable`."""
        if contact not in self._contacts and contact != self._own.bare:
            if len(self._contacts) >= MAX_CONTACTS:
                raise Unreadable(f"the bot knows {MAX_CONTACTS} others already, and their devices")
            self._contacts.add(contact)

    async def known(self, contact: str = "") -> list[KnownDevice]:
        """See :class:`Device`."""
        return await self._thread.run(self._known(contact))

    async def _known(self, contact: str) -> list[KnownDevice]:
        async with self._lock:
            owners = [contact] if contact else [self._own.bare, *sorted(self._contacts - {self._own.bare})]
            found = [one for owner in owners for one in await self._manager.get_device_information(owner)]
            devices = [self._described(one) for one in found]
            return sorted(devices, key=lambda one: (not one.is_own, one.owner, one.device_id))

    def _described(self, device: DeviceInformation) -> KnownDevice:
        is_own = device.bare_jid == self._own.bare and device.device_id == self.device_id
        is_active = any(active for _, active in device.active)
        return KnownDevice(
            device.bare_jid, device.device_id, device.identity_key.hex(), "own" if is_own else device.trust_level_name,
            tuple(one for one in NAMESPACES if one in device.namespaces), is_active, device.label or "", is_own,
        )

    async def trust(self, contact: str, device_id: int, *, is_trusted: bool) -> KnownDevice | None:
        """See :class:`Device`."""
        return await self._thread.run(self._trust(contact, device_id, TRUSTED if is_trusted else DISTRUSTED))

    async def _trust(self, contact: str, device_id: int, level: str) -> KnownDevice | None:
        async with self._lock:
            found = await self._find(contact, device_id)
            if found is None:
                return None
            await self._manager.set_trust(contact, found.identity_key, level)
            log.info(f"a device is {level}, as an admin says", bot=self._own.bare, contact=contact, device=device_id,
                     fingerprint=found.identity_key.hex())
            return self._described(found._replace(trust_level_name=level))


def _payload(messages: Sequence[Any]) -> list[Element]:
    """What stands in the stanza beside the text that nobody else can read (XEP-0380, XEP-0334)."""
    best = messages[0].namespace
    hints = [
        Element("encryption", NS.ENCRYPTION, {"namespace": best, "name": "OMEMO"}), Element("store", NS.HINTS),
    ]
    fallback = [] if best == NS.OMEMO else [text_element("body", NS.CLIENT, FALLBACK)]
    return [*[wire.message_element(one) for one in messages], *hints, *fallback]


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
