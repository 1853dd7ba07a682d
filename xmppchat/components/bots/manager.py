"""The library's session manager for one bot: where it keeps what it knows, and how it reaches nodes of accounts.

Everything here runs on the bots' thread; what the server does for it is done on the server's loop.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Final

import structlog
from oldmemo import Oldmemo
from omemo import (
    Bundle,
    BundleDeletionFailed,
    BundleDownloadFailed,
    BundleNotFound,
    BundleUploadFailed,
    DeviceInformation,
    DeviceList,
    DeviceListDownloadFailed,
    DeviceListUploadFailed,
    JSONType,
    Just,
    Maybe,
    Message,
    MessageSendingFailed,
    Nothing,
    SessionManager,
    Storage,
    StorageException,
    TrustLevel,
)

from xmppchat.components.bots import wire
from xmppchat.components.bots.pep import Pep
from xmppchat.components.bots.session import BotSession, Refused
from xmppchat.components.bots.store import Values
from xmppchat.components.bots.thread import LoopThread
from xmppchat.components.bots.vault import Vault
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StanzaError
from xmppchat.protocol.namespaces import NS

log = structlog.get_logger(__name__)

#: What may be said of a device: by an admin, by nobody, not yet, or that it must not be trusted.
TRUSTED, BLIND, UNDECIDED, DISTRUSTED = "trusted", "blindly trusted", "undecided", "not trusted"
#: Namespaces, the better one first.
NAMESPACES: Final = (NS.OMEMO, NS.OMEMO_AXOLOTL)
#: Values of one bot that are kept in memory; the longest unused go first.
MAX_CACHED: Final = 2_000

_LIST: Final = "current"  # XEP-0060 §12.20


class SealedStorage(Storage):
    """The library's storage over :class:`Values`: JSON, sealed by the vault before it leaves the thread."""

    def __init__(self, thread: LoopThread, values: Values, vault: Vault) -> None:
        super().__init__(disable_cache=True)  # its own grows without end
        self._thread = thread
        self._values = values
        self._vault = vault
        self._cache: OrderedDict[str, Maybe[JSONType]] = OrderedDict()

    async def _load(self, key: str) -> Maybe[JSONType]:
        known = self._cache.get(key)
        if known is None:
            try:
                stored = await self._thread.at_home(self._values.load(key))
            except Exception as error:
                raise StorageException(str(error)) from error
            if stored is None:
                known = Nothing()
            else:
                known = Just(json.loads(self._vault.open(self._values.account_id, key, stored)))
        self._remember(key, known)
        # A copy: the library changes lists and tables that it was given.
        return Just(json.loads(json.dumps(known.from_just()))) if known.is_just else Nothing()

    async def _store(self, key: str, value: JSONType) -> None:
        text = json.dumps(value)
        await self._write(key, self._vault.seal(self._values.account_id, key, text.encode()))
        self._remember(key, Just(json.loads(text)))

    async def _delete(self, key: str) -> None:
        await self._write(key, None)
        self._remember(key, Nothing())

    async def _write(self, key: str, sealed: bytes | None) -> None:
        self._cache.pop(key, None)  # what is on disk is not known before it is
        try:
            await self._thread.at_home(self._values.store(key, sealed))
        except Exception as error:
            raise StorageException(str(error)) from error

    def _remember(self, key: str, value: Maybe[JSONType]) -> None:
        self._cache[key] = value
        self._cache.move_to_end(key)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)


class Axolotl(Oldmemo):
    """The older namespace, whose lists of devices have no labels; the library asks for their signature all the same."""

    async def sign_own_label(self, label: str) -> bytes:
        """Nothing, which is left out where the list is written."""
        return b""


class Link:
    """What a manager needs of the server, for the bot of `session`. `trusts_blindly`: see the options of bots."""

    def __init__(self, thread: LoopThread, session: BotSession, trusts_blindly: Callable[[], bool]) -> None:
        self.own = session.session.account.jid
        self.trusts_blindly = trusts_blindly
        self._thread = thread
        self._session = session
        self._pep = Pep(session)

    async def publish(self, node: str, item_id: str, payload: Element, max_items: str) -> None:
        """See :class:`Pep`; so all of these."""
        await self._thread.at_home(self._pep.publish(node, item_id, payload, max_items=max_items))

    async def item(self, owner: str, node: str, item_id: str = "") -> Element | None:
        """The payload of an item of somebody's node."""
        return await self._thread.at_home(self._pep.item(JID.parse(owner), node, item_id))

    async def retract(self, node: str, item_id: str) -> None:
        """Delete an item."""
        await self._thread.at_home(self._pep.retract(node, item_id))

    async def delete(self, node: str) -> None:
        """Delete a node."""
        await self._thread.at_home(self._pep.delete(node))

    async def send(self, to: str, *children: Element) -> None:
        """Send a message that is for devices alone (XEP-0384 §5.5.3); it is archived for who is not there."""
        hint = Element("store", NS.HINTS)
        await self._thread.at_home(self._session.say(JID.parse(to), [*children, hint]))


def list_node(namespace: str) -> str:
    """The node of an account's list of devices."""
    return NS.OMEMO_DEVICES if namespace == NS.OMEMO else NS.OMEMO_AXOLOTL_DEVICES


def bundle_place(namespace: str, device_id: int) -> tuple[str, str]:
    """Node and item of a bundle (§5.3.2): one node for all, before one for each."""
    if namespace == NS.OMEMO:
        return NS.OMEMO_BUNDLES, str(device_id)
    return f"{NS.OMEMO_AXOLOTL_BUNDLES}:{device_id}", _LIST


class Manager(SessionManager):
    """The session manager; a subclass for each bot has its `link` (see :func:`manager_of`)."""

    link: ClassVar[Link]

    def __init__(self) -> None:
        super().__init__()
        #: Ids of devices in the lists that were asked for since somebody cleared this.
        self.listed: set[int] = set()

    async def publish(self, bundle: Bundle) -> None:
        """Publish the bundle of the own device. Raises :class:`BundleUploadFailed`."""
        await self._upload_bundle(bundle)

    async def bundle_of(self, device: DeviceInformation, namespace: str) -> Bundle:
        """The bundle of a device. Raises :class:`BundleDownloadFailed`, :class:`BundleNotFound`."""
        return await self._download_bundle(namespace, device.bare_jid, device.device_id)

    async def _upload_bundle(self, bundle: Bundle) -> None:  # type: ignore[override]
        node, item_id = bundle_place(bundle.namespace, bundle.device_id)
        try:
            most = "max" if bundle.namespace == NS.OMEMO else "1"
            await self.link.publish(node, item_id, wire.bundle_element(bundle), most)
        except (Refused, StanzaError) as error:
            raise BundleUploadFailed(str(error)) from error

    async def _download_bundle(self, namespace: str, bare_jid: str, device_id: int) -> Bundle:  # type: ignore[override]
        node, item_id = bundle_place(namespace, device_id)
        try:
            # Before 0.4 an item might have any id.
            element = await self.link.item(bare_jid, node, item_id if namespace == NS.OMEMO else "")
            if element is None:
                raise BundleNotFound("its keys are not published")
            return wire.bundle(element, namespace, bare_jid, device_id)
        except (Refused, StanzaError, wire.Malformed) as error:
            raise BundleDownloadFailed(f"its keys cannot be read: {error}") from error

    async def _delete_bundle(self, namespace: str, device_id: int) -> None:  # type: ignore[override]
        node, item_id = bundle_place(namespace, device_id)
        try:
            if namespace == NS.OMEMO:
                await self.link.retract(node, item_id)
            else:
                await self.link.delete(node)
        except (Refused, StanzaError) as error:
            raise BundleDeletionFailed(str(error)) from error

    async def _upload_device_list(self, namespace: str, device_list: DeviceList) -> None:  # type: ignore[override]
        element = wire.devices_element(device_list, namespace)
        try:
            await self.link.publish(list_node(namespace), _LIST, element, "1")
        except (Refused, StanzaError) as error:
            raise DeviceListUploadFailed(str(error)) from error

    async def _download_device_list(self, namespace: str, bare_jid: str) -> DeviceList:  # type: ignore[override]
        try:
            element = await self.link.item(bare_jid, list_node(namespace))
        except (Refused, StanzaError) as error:
            raise DeviceListDownloadFailed(str(error)) from error
        try:
            found: DeviceList = {} if element is None else wire.devices(element, namespace)
            self.listed.update(found)
            return found
        except wire.Malformed as error:
            log.info("a list of devices is of no use", owner=bare_jid, reason=str(error))
            return {}

    async def _send_message(self, message: Message, bare_jid: str) -> None:  # type: ignore[override]
        try:
            await self.link.send(bare_jid, wire.message_element(message))
        except (Refused, StanzaError) as error:
            raise MessageSendingFailed(str(error)) from error

    # --- trust -------------------------------------------------------------------------------------------------------

    async def _evaluate_custom_trust_level(self, device: DeviceInformation) -> TrustLevel:
        level = device.trust_level_name
        if level == TRUSTED or (level == BLIND and self.link.trusts_blindly()):
            return TrustLevel.TRUSTED
        return TrustLevel.UNDECIDED if level == UNDECIDED else TrustLevel.DISTRUSTED

    async def _make_trust_decision(self, undecided: frozenset[DeviceInformation], identifier: str | None) -> None:
        for device in undecided:
            await self.decide(device)

    async def decide(self, device: DeviceInformation) -> str:
        """Decide about a device that nobody has said anything about: blindly, as long as nobody has about the others.

        Returns what it is from now on.
        """
        levels = {one.trust_level_name for one in await self.get_device_information(device.bare_jid)}
        is_blind = self.link.trusts_blindly() and levels <= {UNDECIDED, BLIND}
        level = BLIND if is_blind else DISTRUSTED
        await self.set_trust(device.bare_jid, device.identity_key, level)
        told = log.info if is_blind else log.warning
        told(f"a device is {level}", bot=self.link.own.bare, contact=device.bare_jid, device=device.device_id,
             fingerprint=device.identity_key.hex(), next_step="xmppchat bot trust")
        return level


def manager_of(link: Link) -> type[Manager]:
    """The class of one bot's manager: the library makes the object, and uses it before it gives it to us."""
    bound: type[Manager] = type("BoundManager", (Manager,), {"link": link})
    return bound


def silence() -> None:
    """The libraries write texts and keys into their debugging: nobody shall ever turn that on."""
    for name in ("omemo", "omemo.core", "twomemo", "oldmemo", "doubleratchet", "x3dh"):
        logging.getLogger(name).setLevel(logging.ERROR)
