"""The component: who reads and writes which vCard, and what goes to the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field
from sqlalchemy import bindparam, delete, insert, select

from xmppchat.components.vcard import vcard4
from xmppchat.components.vcard.avatars import AVATAR, Avatars, with_hash
from xmppchat.components.vcard.photo import Photo, photo_of
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import (
    ACCOUNT,
    OUTBOUND,
    SERVER,
    Component,
    ComponentConfig,
    Feature,
    IqRequest,
    Later,
    Stage,
    Who,
    Xep,
    iq_get,
    iq_set,
    on,
    stage,
)
from xmppchat.core.pipeline import Passage
from xmppchat.core.services import NodeService, PresenceService, RosterService
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, ItemNotFound, PolicyViolation, ServiceUnavailable
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.storage import schema

#: The id of the item with the vCard4, which is the only one (XEP-0222 §3).
CURRENT: Final = "current"
#: Bytes of an item with an image that are not the image.
_AROUND: Final = len("<data xmlns=''></data>") + len(NS.AVATAR_DATA)

_vcards = schema.vcards.c
_FETCH = select(_vcards.xml).where(_vcards.account_id == bindparam("account"))
_INSERT = insert(schema.vcards)
_DELETE = delete(schema.vcards).where(_vcards.account_id == bindparam("account"))


class VcardConfig(ComponentConfig):
    """Options of vCards."""

    visibility: Literal["subscribers", "everyone"] = Field(
        "subscribers",
        description='who may read a vCard: "subscribers" contacts that see the presence, "everyone" strangers, too',
    )


class Vcard(Component[VcardConfig]):
    """Keeps a vCard for each account (XEP-0054 §3), in step with what it publishes at nodes."""

    name = "vcard"
    implements = (
        Xep(54, "1.3.0"), Xep(84, "1.1.4"), Xep(153, "1.1.1"),
        Xep(292, "0.12.0", note="as a node of the account; contacts' vCards are private data of clients"),
        Xep(398, "1.0.0"),
    )
    features = (
        Feature(NS.VCARD, at=SERVER | ACCOUNT), Feature(NS.VCARD_4, at=ACCOUNT),
        Feature(NS.AVATAR_CONVERSION, at=ACCOUNT),
    )  # fmt: skip
    Config = VcardConfig
    requires = (NodeService, PresenceService, RosterService)
    account_parts = (AVATAR,)

    def setup(self) -> None:
        """Find rosters and nodes."""
        self._roster = self.kernel.services.get(RosterService)
        self._nodes = self.kernel.services.get(NodeService)
        self._avatars = Avatars(self.kernel)

    # --- reading -----------------------------------------------------------------------------------------------------

    @iq_get(NS.VCARD, "vCard", at=ACCOUNT, who=Who.ANYONE)
    def show(self, request: IqRequest) -> Later:
        """The vCard. To others, an account without one looks as one that is not there (XEP-0054 §3.3)."""
        account = request.account
        assert account is not None
        return Later(self._answer(request, account), is_in_order=request.is_owner and account.mailbox.is_busy)

    async def _answer(self, request: IqRequest, account: Account) -> Element:
        vcard = await self._shown(account, request.sender) if self._may_see(request, account) else None
        if vcard is not None:
            return vcard
        if request.is_owner:
            raise ItemNotFound("you have no vCard yet")
        raise ServiceUnavailable("")

    def _may_see(self, request: IqRequest, account: Account) -> bool:
        if request.is_owner or self.config.visibility == "everyone" or self._avatars.is_open(account):
            return True
        return self._is_subscriber(account, request.sender)

    def _is_subscriber(self, account: Account, who: JID) -> bool:
        item = self._roster.item(account, who.to_bare())
        return item is not None and item.sends_presence

    async def _shown(self, account: Account, who: JID) -> Element | None:
        """The vCard as `who` sees it: with the image that is published, and with what the vCard4 says since. Strangers
        see the image alone, where it is open: for rooms, whose occupants ask so (XEP-0398 §1)."""
        is_owner = who.bare == account.jid.bare
        vcard: Element | None = None
        if is_owner or self.config.visibility == "everyone" or self._is_subscriber(account, who):
            vcard = await self._vcard(account)
            published = await self._vcard4(account)
            if published is not None and not self._nodes.may_read(account, NS.VCARD_4_NODE, who):
                published = _silent(published, vcard)
            vcard = vcard4.overlaid(vcard, published)
        photo = await self._avatars.photo_for(account, who)
        return vcard if photo is None else (vcard or Element("vCard", NS.VCARD)).append(photo)

    async def _vcard(self, account: Account) -> Element | None:
        await self.kernel.gate.committed(account.last_ticket)  # readers see committed rows only
        rows = await self.kernel.reader.fetch(_FETCH, {"account": account.id})
        return parse_stored(rows[0].xml) if rows else None

    async def _vcard4(self, account: Account) -> Element | None:
        """What was published last, whatever its id."""
        last = await self._nodes.read_last(account, NS.VCARD_4_NODE)
        found = None if last is None else last.payload
        return found if found is not None and found.is_named("vcard", NS.VCARD_4) else None

    # --- writing -----------------------------------------------------------------------------------------------------

    @iq_set(NS.VCARD, "vCard", at=ACCOUNT)
    def store(self, request: IqRequest) -> Later | None:
        """Replace one's own vCard (XEP-0054 §3.2); one without content takes it away."""
        account = request.account
        assert account is not None
        vcard, photo = self._checked(request.payload)
        node = self._nodes.describe_node(account, NS.VCARD_4_NODE)
        if (node is None or not node.items) and not account.mailbox.is_busy:
            self._store(account, vcard, photo, None, request.turn)  # nothing has to be read
            return None
        return Later(self._merge(account, vcard, photo, request.turn), is_in_order=True)

    async def _merge(self, account: Account, vcard: Element, photo: Photo | None, turn: Turn) -> None:
        """Store it, with what the vCard4 of this moment has beside: behind that nothing may be waited for."""
        self._store(account, vcard, photo, await self._vcard4(account), turn)

    def _store(
        self, account: Account, vcard: Element, photo: Photo | None, published: Element | None, turn: Turn
    ) -> None:
        try:
            self._put(account, vcard, turn)
            self._put_vcard4(account, vcard4.to_vcard4(vcard, published), published, turn)
            self._avatars.publish(account, photo, self._options(), turn)
        except Exception:
            account.invalidate()  # some of it may have changed in memory
            raise

    def _checked(self, vcard: Element) -> tuple[Element, Photo | None]:
        """The vCard without its image, and that. Raises a stanza error where something is too large or malformed."""
        limits, fired = self.kernel.limits, self.kernel.limit_counters.fired
        photos = [child for child in vcard.find_all("PHOTO") if child.find("BINVAL") is not None]
        try:
            photo = photo_of(photos[0]) if photos else None
        except ValueError:
            raise BadRequest("the BINVAL of the PHOTO is no base64 (XEP-0153 §4.6)") from None
        if photos:
            vcard = vcard.replace(children=[child for child in vcard.children if child is not photos[0]])
        if len(vcard.to_xml().encode()) > limits.stored_xml_bytes:
            fired("stored_xml_bytes")
            raise PolicyViolation(f"a vCard has at most {limits.stored_xml_bytes} bytes beside its photo")
        most = (limits.pubsub_payload_bytes - _AROUND) // 4 * 3
        if photo is not None and len(photo.image) > most:
            fired("pubsub_payload_bytes")
            raise PolicyViolation(f"a photo has at most {most} bytes; make it smaller")
        return vcard, photo

    def _put(self, account: Account, vcard: Element, turn: Turn) -> None:
        turn.write(account, _DELETE, {"account": account.id})
        if vcard.children:
            turn.write(account, _INSERT, {"account_id": account.id, "xml": vcard.to_xml()})

    def _put_vcard4(self, account: Account, wanted: Element | None, before: Element | None, turn: Turn) -> None:
        if wanted is not None and wanted is not before:
            self._nodes.publish(account, NS.VCARD_4_NODE, CURRENT, wanted, turn, self._options())
        node = self._nodes.describe_node(account, NS.VCARD_4_NODE)
        for item_id in () if node is None else node.items:
            if wanted is None or (wanted is not before and item_id != CURRENT):
                self._nodes.retract(account, NS.VCARD_4_NODE, item_id, turn)

    def _options(self) -> dict[str, str]:
        """Of nodes that are made for a vCard: who may read it may read them."""
        return {"access_model": "open" if self.config.visibility == "everyone" else "presence"}

    # --- what is published at nodes ----------------------------------------------------------------------------------

    @on(events.ItemPublished)
    def published(self, event: events.ItemPublished) -> None:
        """Another avatar, perhaps."""
        self._avatars.published(event)

    @on(events.ItemsRemoved)
    def removed(self, event: events.ItemsRemoved) -> None:
        """No avatar, perhaps; or a profile that its owner took away, so it does not come back from here."""
        self._avatars.removed(event)
        if event.node == NS.VCARD_4_NODE and event.item_ids and not event.is_ours:
            node = self._nodes.describe_node(event.account, event.node)
            if node is None or not node.items:
                event.turn.write(event.account, _DELETE, {"account": event.account.id})

    @stage(Stage.SANITISE, OUTBOUND, kinds=("presence",))
    def add_hash(self, passage: Passage) -> Stanza:
        """Presence says which image there is (XEP-0398 §5), also where it is directed."""
        stanza = passage.stanza
        if stanza.type:
            return stanza
        return with_hash(stanza, hash=passage.account[AVATAR].hash.lower())

    # --- with the account --------------------------------------------------------------------------------------------

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """It goes with the account."""
        event.turn.write(event.account, _DELETE, {"account": event.account.id})
        self._avatars.delete(event.account, event.turn)

    async def export(self, account: Account) -> Sequence[Element]:
        """The ``<vCard/>`` as the owner sees it (XEP-0227 §4.7)."""
        vcard = await self._shown(account, account.jid)
        return [] if vcard is None else [vcard]


def _silent(published: Element, vcard: Element | None) -> Element | None:
    """What of a vCard4 is told to who may not read it: nothing, unless the vCard says the same."""
    if vcard is not None and vcard4.overlaid(vcard, published) is vcard:
        return published
    return Element("vcard", NS.VCARD_4)


__all__ = ["Vcard"]
