"""Avatars between nodes (XEP-0084), vCards (XEP-0153) and presence (XEP-0398).

The image is kept once, at the nodes: a vCard is shown with the one that is published, and one that is set with a photo
publishes that (XEP-0398 §6.2 allows it). So nothing can get out of step, and who may see the photo is the owner's
choice of the access model. What presence says is in memory with the account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select

from xmppchat.components.vcard import photo
from xmppchat.components.vcard.photo import Photo
from xmppchat.core import events
from xmppchat.core.account import Account, AccountPart
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import NodeService, PresenceService
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.storage import schema

#: Images whose hash was verified that are remembered of an account: of those at its node.
MAX_IMAGES: Final = 8


@dataclass(slots=True)
class Avatar:
    """What is shown: `hash` is the id of its item, "" for none, `type` its media type. `images` are the ids of items
    with data of that hash, the newest last."""

    hash: str = ""
    type: str = ""
    images: list[str] = field(default_factory=list)


def _build(account: Account, rows: Sequence[Any]) -> Avatar:
    return Avatar(rows[0].hash, rows[0].type, rows[0].images.split()) if rows else Avatar()


_avatars = schema.avatars.c
AVATAR: AccountPart[Avatar] = AccountPart(
    "avatar",
    select(_avatars.account_id, _avatars.hash, _avatars.type, _avatars.images)
    .where(_avatars.account_id.in_(bindparam("accounts", expanding=True))),
    _build,
)
_INSERT = insert(schema.avatars)
_DELETE = delete(schema.avatars).where(_avatars.account_id == bindparam("account"))


class Avatars:
    """Keeps avatars in step."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._nodes = kernel.services.get(NodeService)
        self._presence = kernel.services.get(PresenceService)

    # --- from nodes (XEP-0398 §4.1) ----------------------------------------------------------------------------------

    def published(self, event: events.ItemPublished) -> None:
        """An item of one of the two nodes."""
        account, payload = event.account, event.payload
        if event.node == NS.AVATAR_DATA and payload.is_named("data", NS.AVATAR_DATA):
            self._take_image(account, event.item_id, payload, event.turn)
        elif event.node == NS.AVATAR_METADATA and payload.is_named("metadata", NS.AVATAR_METADATA):
            hash, media_type = self._shown_by(account, payload)
            self._show(account, hash, media_type, event.turn)

    def removed(self, event: events.ItemsRemoved) -> None:
        """An image without data or without metadata is shown no more."""
        account, shown = event.account, event.account[AVATAR].hash
        is_gone = event.node == NS.AVATAR_DATA and shown in event.item_ids
        if event.node == NS.AVATAR_METADATA:
            node = self._nodes.describe_node(account, event.node)
            is_gone = node is None or not node.items
        if is_gone:
            self._show(account, "", "", event.turn)

    def _take_image(self, account: Account, item_id: str, data: Element, turn: Turn) -> None:
        avatar = account[AVATAR]
        if item_id in avatar.images:
            return
        try:
            is_its_hash = photo.hash_of(photo.decode(data.text)) == item_id.lower()
        except ValueError:
            is_its_hash = False
        if is_its_hash:
            there = self._at_node(account)
            known = [one for one in avatar.images if one in there or one == avatar.hash]
            avatar.images = [*known, item_id][-MAX_IMAGES:]
            self._save(account, turn)

    def _shown_by(self, account: Account, metadata: Element) -> tuple[str, str]:
        """§4.1: the first image that is at the node, not elsewhere; ("", "") for none. One whose data have another
        hash would be fetched again and again by who compares them."""
        there, known = self._at_node(account), account[AVATAR].images
        for info in metadata.find_all("info"):
            item_id, media_type = info.get("id"), info.get("type")
            if not info.get("url") and item_id in known and item_id in there:
                return item_id, media_type if photo.is_media_type(media_type) else ""
        return "", ""

    def _at_node(self, account: Account) -> frozenset[str]:
        node = self._nodes.describe_node(account, NS.AVATAR_DATA)
        return frozenset() if node is None else frozenset(node.items)

    def _show(self, account: Account, hash: str, media_type: str, turn: Turn) -> None:
        avatar = account[AVATAR]
        if (hash, media_type) == (avatar.hash, avatar.type):
            return
        is_another = hash != avatar.hash
        avatar.hash, avatar.type = hash, media_type
        self._save(account, turn)
        if is_another:
            self._presence.show_again(account, partial(with_hash, hash=hash.lower(), is_change=True), turn)

    def _save(self, account: Account, turn: Turn) -> None:
        avatar = account[AVATAR]
        turn.write(account, _DELETE, {"account": account.id})
        turn.write(account, _INSERT, {
            "account_id": account.id, "hash": avatar.hash, "type": avatar.type, "images": " ".join(avatar.images),
        })

    def delete(self, account: Account, turn: Turn) -> None:
        """It goes with the account."""
        account.parts[AVATAR] = Avatar()
        turn.write(account, _DELETE, {"account": account.id})

    # --- to and from vCards (§4.2) -----------------------------------------------------------------------------------

    async def photo_for(self, account: Account, who: JID) -> Element | None:
        """``<PHOTO/>`` for a vCard that `who` asks for, who needs access to the node (§7); None where there is none."""
        avatar = account[AVATAR]
        if not avatar.hash or not self._nodes.may_read(account, NS.AVATAR_DATA, who):
            return None
        data = (await self._nodes.read(account, NS.AVATAR_DATA, [avatar.hash])).get(avatar.hash)
        if data is None:
            return None
        return photo.photo_element(avatar.type or "image/png", "".join(data.text.split()))

    def is_open(self, account: Account) -> bool:
        """Whether strangers may see the avatar, by the owner's choice."""
        node = self._nodes.describe_node(account, NS.AVATAR_DATA)
        return bool(account[AVATAR].hash) and node is not None and node.access_model == "open"

    def publish(self, account: Account, image: Photo | None, options: dict[str, str], turn: Turn) -> None:
        """The vCard has another photo, or none any more; nodes that are not there are made with `options`."""
        shown = account[AVATAR].hash
        if image is None and shown:
            empty = Element("metadata", NS.AVATAR_METADATA)  # XEP-0084 §3.5
            self._nodes.publish(account, NS.AVATAR_METADATA, self._kernel.ids.token(), empty, turn)
            self._nodes.retract(account, NS.AVATAR_DATA, shown, turn)
        elif image is not None and image.hash != shown.lower():
            self._nodes.publish(account, NS.AVATAR_DATA, image.hash, image.data(), turn, options)
            self._nodes.publish(account, NS.AVATAR_METADATA, image.hash, image.metadata(), turn, options)


# --- presence (XEP-0398 §5) ------------------------------------------------------------------------------------------

#: What we say of an avatar that was taken away. Not equal to what a client says so (by identity): hers stays.
_NO_AVATAR: Final = Element("x", NS.VCARD_UPDATE, None, (Element("photo", NS.VCARD_UPDATE),))


def with_hash(presence: Stanza, *, hash: str, is_change: bool = False) -> Stanza:
    """Available `presence` as it goes out, by the rules of §5: a client that says it has no image is let alone, and an
    empty element is filled. `is_change`: the avatar is another since it was sent."""
    said = presence.find("x", NS.VCARD_UPDATE)
    photo = None if said is None else said.find("photo")
    text = "" if photo is None else photo.text.strip()
    if photo is not None and not text and said is not _NO_AVATAR:
        return presence
    if not hash and (said is None or (text and not is_change)):
        return presence  # nothing was said, or what a vCard has that was not converted
    if text == hash if hash else said is _NO_AVATAR:
        return presence
    ours = _element(hash) if hash else _NO_AVATAR
    rest = [
        child for child in presence.children
        if not isinstance(child, Element) or not child.is_named("x", NS.VCARD_UPDATE)
    ]
    return presence.replace(children=[*rest, ours])


def _element(hash: str) -> Element:
    return Element("x", NS.VCARD_UPDATE, None, (text_element("photo", NS.VCARD_UPDATE, hash),))
