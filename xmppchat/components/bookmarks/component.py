"""The component: the old forms are read from the items and written to them, and who listens to them is told."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog

from xmppchat.components.bookmarks import conversion, settings
from xmppchat.components.bookmarks.settings import SETTINGS
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import ACCOUNT, Component, ComponentConfig, Feature, Xep, on
from xmppchat.core.mailbox import MailboxFull
from xmppchat.core.services import ChatSettingsService, NodeDescription, NodeService, PrivateXmlService
from xmppchat.core.turn import Turn
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import PolicyViolation, ResourceConstraint, StanzaError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

log = structlog.get_logger(__name__)

#: How the node is made (XEP-0402 §3.3), and made again where it was otherwise: passwords are in it.
OPTIONS: Final[Mapping[str, str]] = {
    "persist_items": "true", "max_items": "max", "send_last_published_item": "never", "access_model": "whitelist",
}  # fmt: skip
#: Bytes of bookmarks that are put into one list; with more they are read page by page, in the form of today.
MAX_SIZE: Final = 1 << 20
_STORAGE: Final = (NS.BOOKMARKS_STORAGE, "storage")


class Bookmarks(Component[ComponentConfig]):
    """Shows the bookmarks of XEP-0402 to clients that know XEP-0048, and takes theirs."""

    name = "bookmarks"
    implements = (
        Xep(48, "1.2"), Xep(402, "1.2.0"), Xep(411, "1.1.0"), Xep(492, "0.2.0", note="for push notifications"),
    )
    features = (
        Feature(f"{NS.BOOKMARKS}#compat", at=ACCOUNT), Feature(f"{NS.BOOKMARKS}#compat-pep", at=ACCOUNT),
        Feature(NS.BOOKMARKS_CONVERSION, at=ACCOUNT),
    )  # fmt: skip
    provides = (ChatSettingsService,)
    requires = (NodeService, PrivateXmlService)
    account_parts = (SETTINGS,)

    def setup(self) -> None:
        """Nobody waits for a list."""
        self._untold: set[int] = set()  # ids of accounts of which a list is on its way to those who listen

    async def start(self) -> None:
        """Be what the old forms show."""
        self._nodes = self.kernel.services.get(NodeService)
        self._private = self.kernel.services.get(PrivateXmlService)
        self._nodes.show(NS.BOOKMARKS_STORAGE, self)
        self._private.show(*_STORAGE, self)

    # --- the old forms -----------------------------------------------------------------------------------------------

    async def read(self, account: Account) -> Element | None:
        """See :class:`ContentView`."""
        items = await self._items(account)
        stored = await self._private.read(account, *_STORAGE)
        if not items and stored is None:
            return None
        return conversion.to_storage(items, [] if stored is None else list(_rest(stored, items)))

    async def write(self, account: Account, content: Element, turn: Turn) -> None:
        """See :class:`ContentView`."""
        items = await self._items(account)  # nothing is waited for from here to the change
        wanted = conversion.from_storage(content, items)
        changed = {
            jid: bookmark for jid, room in wanted.rooms.items()
            if (bookmark := conversion.updated(items.get(jid), room)) is not None
        }
        gone = [
            jid for jid, bookmark in items.items() if jid not in wanted.rooms and conversion.is_bookmark(bookmark)
        ]
        most = self.kernel.limits.pubsub_items
        if len(items) - len(gone) + sum(jid not in items for jid in changed) > most:
            self.kernel.limit_counters.fired("pubsub_items")
            raise PolicyViolation(f"there are at most {most} bookmarks; remove some first")
        rest = Element("storage", NS.BOOKMARKS_STORAGE, None, wanted.rest)
        self._apply(account, gone, changed, rest, turn)

    def _apply(
        self, account: Account, gone: list[str], changed: Mapping[str, Element], rest: Element, turn: Turn
    ) -> None:
        """What did not change is not told again (XEP-0402 §5.3.2)."""
        if account.rates is not None:  # one stanza becomes many changes (reliability.md V-44)
            account.rates.fan_out(self.kernel.clock.monotonic(), len(gone) + len(changed))
        try:
            if rest.children or self._private.has(account, *_STORAGE):
                self._private.put(account, rest, turn)
            if gone or changed:
                self._nodes.configure(account, NS.BOOKMARKS, OPTIONS, turn)
            for jid in gone:
                self._nodes.retract(account, NS.BOOKMARKS, jid, turn)
            for jid, bookmark in changed.items():
                self._nodes.publish(account, NS.BOOKMARKS, jid, bookmark, turn, OPTIONS)
        except Exception:
            account.invalidate()  # some of it has changed in memory
            raise

    async def _items(self, account: Account) -> Mapping[str, Element]:
        node = self._node(account)
        if node is not None and node.size > MAX_SIZE:
            text = f"your bookmarks are too large for one list; ask for the items of {NS.BOOKMARKS}, page by page"
            raise ResourceConstraint(text, type="cancel")
        return await self._nodes.read(account, NS.BOOKMARKS)

    def _node(self, account: Account) -> NodeDescription | None:
        return self._nodes.describe_node(account, NS.BOOKMARKS)

    # --- who listens to the old form ---------------------------------------------------------------------------------

    @on(events.ItemPublished)
    def published(self, event: events.ItemPublished) -> None:
        """A bookmark is there, or another."""
        if event.node == NS.BOOKMARKS:
            bookmark = event.payload if conversion.is_bookmark(event.payload) else None
            settings.change(event.account, event.item_id, bookmark, event.turn)
            if not event.is_ours:
                self._forget_settings(event.account, event.turn)
            event.turn.effect(self._tell, event.account)

    @on(events.ItemsRemoved)
    def removed(self, event: events.ItemsRemoved) -> None:
        """Bookmarks are gone."""
        if event.node == NS.BOOKMARKS:
            for jid in event.item_ids:
                settings.change(event.account, jid, None, event.turn)
            event.turn.effect(self._tell, event.account)

    def _forget_settings(self, account: Account, turn: Turn) -> None:
        """Of bookmarks that made room for others nothing is told."""
        if account[SETTINGS]:
            node = self._node(account)
            there = {} if node is None else node.items
            for jid in [jid for jid in account[SETTINGS] if jid not in there]:
                settings.change(account, jid, None, turn)

    def _tell(self, account: Account) -> None:
        """Notify those who listen of the list; what is published meanwhile is in the same."""
        if account.id in self._untold or not self._nodes.is_awaited(account, NS.BOOKMARKS_STORAGE):
            return
        try:
            account.mailbox.post(self.kernel.tasks, partial(self._tell_now, account))
        except MailboxFull:
            return  # they read it the next time
        self._untold.add(account.id)

    async def _tell_now(self, account: Account) -> None:
        self._untold.discard(account.id)
        try:
            storage = await self.read(account)
        except StanzaError as error:
            log.debug("bookmarks are not told in the old form", account=account.jid.bare, reason=error.text)
            return
        turn = self.kernel.new_turn()
        content = storage or Element("storage", NS.BOOKMARKS_STORAGE)
        self._nodes.tell_of_view(account, NS.BOOKMARKS_STORAGE, content, turn)
        turn.commit()

    # --- what was stored before there were items (XEP-0411 §5) -------------------------------------------------------

    @on(events.ResourceBound)
    def resource_bound(self, event: events.ResourceBound) -> None:
        """Rooms that are only in private XML become items, once."""
        account = event.session.account
        if self._private.has(account, *_STORAGE):
            try:
                account.mailbox.post(self.kernel.tasks, partial(self._migrate, account))
            except MailboxFull:
                return  # at the next login

    async def _migrate(self, account: Account) -> None:
        stored = await self._private.read(account, *_STORAGE)
        if stored is None or stored.find("conference") is None:
            return
        turn = self.kernel.new_turn()
        try:
            items = await self._items(account)
            await self.write(account, conversion.to_storage(items, list(_rest(stored, items))), turn)
        except StanzaError as error:
            turn.drop()
            log.warning("bookmarks of old could not be converted", account=account.jid.bare, reason=error.text)
        turn.commit()

    # --- settings (XEP-0492) -----------------------------------------------------------------------------------------

    def is_muted(self, account: Account, stanza: Stanza) -> bool:
        """See :class:`ChatSettingsService`."""
        return settings.is_muted(account, stanza)

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """They go with the account."""
        settings.delete_all(event.account, event.turn)


def _rest(stored: Element, items: Mapping[str, Element]) -> list[Element]:
    """What private XML has beside the items: addresses of web pages, and rooms of before there were items."""
    return [
        child for child in stored.elements()
        if not child.is_named("conference", NS.BOOKMARKS_STORAGE) or child.get("jid") not in items
    ]


__all__ = ["Bookmarks"]
