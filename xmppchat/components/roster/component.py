"""The roster component: requests of clients, pushes, and :class:`RosterService` for others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from xmppchat.components.roster import store
from xmppchat.components.roster.store import ROSTER, RosterState
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import ACCOUNT, Component, ComponentConfig, IqRequest, Rfc, Xep, iq_get, iq_set, on
from xmppchat.core.services import RosterItem, RosterService, SubscriptionService
from xmppchat.core.turn import Turn
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import BadRequest, ItemNotFound, NotAcceptable, NotAllowed, ResourceConstraint
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream_features import Fact, StreamFeature, announcement
from xmppchat.protocol.xmlreader import parse_stored

#: RFC 6121 §2.1.2.4, §2.1.2.6 leave it to us (reliability.md, limit 29).
MAX_NAME_BYTES = 256  # of a contact, or of a group
MAX_GROUPS = 16


class Roster(Component[ComponentConfig]):
    """Answers roster requests; keeps every interested resource up to date."""

    name = "roster"
    implements = (Rfc(6121), Xep(237, "1.3", note="now part of RFC 6121"))
    provides = (RosterService,)
    requires = (SubscriptionService,)
    account_parts = (ROSTER,)
    stream_features = (
        StreamFeature("roster versioning", announcement("ver", NS.ROSTER_VERSIONING), needs=Fact.AUTHENTICATED),
    )

    def setup(self) -> None:
        """Find who knows about subscriptions."""
        self._subscriptions = self.kernel.services.get(SubscriptionService)

    # --- RosterService -----------------------------------------------------------------------------------------

    def items(self, account: Account) -> Collection[RosterItem]:
        """See :class:`RosterService`."""
        return account[ROSTER].items.values()

    def item(self, account: Account, contact: JID) -> RosterItem | None:
        """See :class:`RosterService`."""
        return account[ROSTER].items.get(contact.bare)

    def store(self, account: Account, item: RosterItem, turn: Turn, *, push: bool) -> None:
        """See :class:`RosterService`."""
        before = self.item(account, item.contact)
        if not item.is_listed and not item.request:
            account[ROSTER].items.pop(item.contact.bare, None)
            store.write_removal(account, item.contact.bare, turn)
        else:
            store.write_item(account, item, turn)
        after = self.item(account, item.contact)
        self.kernel.emit(events.RosterItemChanged(account, item.contact, before, after, turn))
        if push:
            self._push(account, _item_element(item), turn)

    def remove(self, account: Account, item: RosterItem, turn: Turn) -> None:
        """See :class:`RosterService`."""
        self.store(account, RosterItem(item.contact, request=item.request, is_listed=False), turn, push=False)
        self._push(account, _removal_element(item.contact.bare), turn)

    def store_for_new(self, account: Account, account_id: int, item: RosterItem, turn: Turn) -> None:
        """See :class:`RosterService`."""
        store.write_first(account, account_id, item, turn)

    def has_room(self, account: Account) -> bool:
        """See :class:`RosterService`."""
        return len(account[ROSTER].items) < self.kernel.limits.roster_items

    # --- requests ------------------------------------------------------------------------------------------------

    @iq_get(NS.ROSTER, "query", at=ACCOUNT)
    def get(self, request: IqRequest) -> Element | None:
        """The roster, or with the version the client has, only what changed since (RFC 6121 §2.1.3, §2.6.3)."""
        account = request.account
        assert account is not None
        if request.session is not None:
            request.session.is_interested = True
        state = account[ROSTER]
        known = request.payload.attributes.get("ver")
        if known is not None and known.isascii() and known.isdigit() and len(known) < 19:
            changes = state.changes_since(int(known))
            if changes is not None and len(changes) <= len(state.items):
                self._send_changes(request, state, changes)
                return None
        items = [_item_element(item) for item in state.items.values() if item.is_listed]
        return Element("query", NS.ROSTER, {"ver": str(state.version)}, items)

    def _send_changes(self, request: IqRequest, state: RosterState, changes: list[tuple[int, str]]) -> None:
        account = request.account
        assert account is not None
        for version, contact in changes:  # behind the empty result
            item = state.items.get(contact)
            element = _item_element(item) if item is not None and item.is_listed else _removal_element(contact)
            request.followed_by.append(self._push_stanza(account, element, version).replace(to=request.sender))

    @iq_set(NS.ROSTER, "query", at=ACCOUNT)
    def set(self, request: IqRequest) -> None:
        """Add, change or remove one item (RFC 6121 §2.3 to §2.5)."""
        account = request.account
        assert account is not None
        elements = list(request.payload.elements())
        if len(elements) != 1 or not elements[0].is_named("item", NS.ROSTER):
            raise BadRequest("a roster set has exactly one <item/> (RFC 6121 §2.3.3)")
        element = elements[0]
        contact = _contact(element)
        if contact == account.jid:
            raise NotAllowed("you are always in contact with yourself")
        item = account[ROSTER].items.get(contact.bare)
        if element.get("subscription") == "remove":
            self._remove_requested(account, item, request.turn)
            return
        if (item is None or not item.is_listed) and not self.has_room(account):
            self.kernel.limit_counters.fired("roster_items")
            raise ResourceConstraint(f"a roster holds {self.kernel.limits.roster_items} contacts; remove some first")
        # Only name and groups are the client's to set (§2.1.2.5, §2.3.2).
        changed = replace(
            item or RosterItem(contact), name=self._name(element), groups=self._groups(element), is_listed=True
        )
        self.store(account, changed, request.turn, push=True)

    def _name(self, element: Element) -> str:
        name = element.get("name")
        self._check_size(name, "the name of a contact")
        return name

    def _check_size(self, name: str, what: str) -> None:
        if len(name.encode()) > MAX_NAME_BYTES:
            self.kernel.limit_counters.fired("roster_names")
            raise NotAcceptable(f"{what} has at most {MAX_NAME_BYTES} bytes")

    def _groups(self, element: Element) -> tuple[str, ...]:
        groups = _groups(element)
        for group in groups:
            self._check_size(group, "the name of a group")
        if len(groups) > MAX_GROUPS:
            self.kernel.limit_counters.fired("roster_groups")
            raise NotAcceptable(f"a contact is in at most {MAX_GROUPS} groups")
        return groups

    def _remove_requested(self, account: Account, item: RosterItem | None, turn: Turn) -> None:
        if item is None or not item.is_listed:
            raise ItemNotFound("this contact is not in your roster")
        self._subscriptions.cancel(account, item, turn)
        self.remove(account, item, turn)

    async def export(self, account: Account) -> Sequence[Element]:
        """The roster, and requests that wait for an answer (XEP-0227 §4.4, §4.9)."""
        items = list(self.items(account))
        found = [Element("query", NS.ROSTER, None, [_item_element(item) for item in items if item.is_listed])]
        return found + [parse_stored(item.request) for item in items if item.request]

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """A deleted account leaves the rosters of others as by removing each contact."""
        for item in list(self.items(event.account)):
            self._subscriptions.cancel(event.account, item, event.turn)
        store.write_deletion(event.account, event.turn)

    # --- pushes --------------------------------------------------------------------------------------------------

    def _push(self, account: Account, element: Element, turn: Turn) -> None:
        """RFC 6121 §2.1.6: to every interested resource, from the account."""
        interested = [session for session in account.sessions.values() if session.is_interested]
        if interested:
            push = self._push_stanza(account, element, account[ROSTER].version)
            for session in interested:
                turn.effect(session.deliver, push, session.jid)

    def _push_stanza(self, account: Account, element: Element, version: int) -> Stanza:
        query = Element("query", NS.ROSTER, {"ver": str(version)}, (element,))
        return Stanza("iq", from_=account.jid, id=self.kernel.ids.token(), type="set", children=(query,))


def _item_element(item: RosterItem) -> Element:
    attributes = {
        "jid": item.contact.bare, "name": item.name or None, "subscription": item.subscription,
        "ask": "subscribe" if item.ask else None, "approved": "true" if item.is_approved else None,
    }
    return Element("item", NS.ROSTER, attributes, [text_element("group", NS.ROSTER, group) for group in item.groups])


def _removal_element(contact: str) -> Element:
    return Element("item", NS.ROSTER, {"jid": contact, "subscription": "remove"})


def _contact(element: Element) -> JID:
    text = element.get("jid")
    if not text:
        raise BadRequest("a roster item needs a 'jid'")
    try:
        return JID.parse(text).to_bare()
    except InvalidJID as error:
        raise BadRequest(f"the roster item's 'jid': {error}") from None


def _groups(element: Element) -> tuple[str, ...]:
    groups = [group.text for group in element.find_all("group")]
    if len(set(groups)) != len(groups):
        raise BadRequest("the same group is named twice")  # §2.3.3
    for group in groups:
        if not group:
            raise NotAcceptable("the name of a group is not empty")
    return tuple(groups)
