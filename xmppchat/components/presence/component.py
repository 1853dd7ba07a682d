"""The presence component: broadcasts (RFC 6121 §4) and subscriptions (§3)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from xmppchat.components.presence.subscription import INBOUND as INBOUND_TABLE
from xmppchat.components.presence.subscription import OUTBOUND as OUTBOUND_TABLE
from xmppchat.components.presence.subscription import State, state_of, step
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import INBOUND, OUTBOUND, Component, ComponentConfig, Rfc, on, presence
from xmppchat.core.mailbox import MailboxFull
from xmppchat.core.services import BlockingService, InvitationService, PresenceService, RosterItem, RosterService
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, ResourceConstraint, StanzaError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream_features import Fact, StreamFeature, announcement
from xmppchat.protocol.xmlreader import parse_stored

#: Addresses a session may have shown itself to by directed presence.
MAX_DIRECTED = 1_000


class Presence(Component[ComponentConfig]):
    """Tells contacts who is there, and keeps who may know."""

    name = "presence"
    implements = (Rfc(6121),)
    provides = (PresenceService,)
    requires = (BlockingService, InvitationService, RosterService)
    stream_features = (
        StreamFeature("pre-approval", announcement("sub", NS.PRE_APPROVAL), needs=Fact.AUTHENTICATED),
    )

    def setup(self) -> None:
        """Find rosters, block lists and invitations."""
        self._invitations = self.kernel.services.get(InvitationService)
        self._blocking = self.kernel.services.get(BlockingService)
        self._roster = self.kernel.services.get(RosterService)

    # --- what a client sends: available and unavailable (§4.2, §4.4, §4.5, §4.6) -------------------------------------

    @presence(OUTBOUND, "", "unavailable")
    def announce(self, session: Session, stanza: Stanza, turn: Turn) -> None:
        """Broadcast presence, or direct it where it has a 'to'."""
        turn.behind(session.account)
        if stanza.to is not None:
            self._direct(session, stanza, turn)
        elif stanza.type == "unavailable":
            if session.presence is not None or session.directed:
                self._leave(session, stanza, turn)
        else:
            self._appear(session, stanza, turn)

    def _direct(self, session: Session, stanza: Stanza, turn: Turn) -> None:
        to = stanza.to
        assert to is not None
        if stanza.type == "unavailable":
            if session.directed is not None:
                session.directed.pop(to.full, None)
        else:
            if session.directed is None:
                session.directed = {}
            if len(session.directed) >= MAX_DIRECTED and to.full not in session.directed:
                raise ResourceConstraint(f"directed presence goes to at most {MAX_DIRECTED} addresses at a time")
            session.directed[to.full] = to
        self.kernel.router.route(stanza, turn)

    def _appear(self, session: Session, stanza: Stanza, turn: Turn) -> None:
        priority = _priority(stanza)
        is_initial = session.presence is None
        took_messages = session.takes_messages
        session.presence = stanza
        session.priority = priority
        session.takes_messages = priority >= 0
        self._broadcast(session, stanza, turn)
        if is_initial:
            self._look_around(session, turn)
        self.kernel.emit(events.PresenceAnnounced(session, turn))
        if session.takes_messages and not took_messages:
            self.kernel.emit(events.ResourceAvailable(session, turn))

    def _broadcast(self, session: Session, stanza: Stanza, turn: Turn) -> None:
        """§4.2.2: to contacts that may see it, and to the account's own resources, this one included."""
        account = session.account
        contacts = [item.contact for item in self._roster.items(account) if item.sends_presence]
        self.kernel.router.fan_out(stanza, contacts, turn, may_see=self._who_may_see(account))
        for own in account.sessions.values():
            if own.presence is not None:
                turn.effect(own.deliver, stanza, account.jid)

    def _who_may_see(self, account: Account) -> Callable[[JID], bool] | None:
        """Who is not blocked (XEP-0191 §3.3); None where nobody is."""
        is_blocked = self._blocking.is_blocked
        return (lambda other: not is_blocked(account, other)) if self._blocking.blocks_anyone(account) else None

    def _look_around(self, session: Session, turn: Turn) -> None:
        """The first presence: see who is there (§4.3), and who asked meanwhile (§3.1.3)."""
        account = session.account
        for own in account.sessions.values():
            if own is not session and own.presence is not None:
                turn.effect(session.deliver, own.presence, session.jid)
        may_see = self._who_may_see(account)
        for item in list(self._roster.items(account)):
            if item.gets_presence and (may_see is None or may_see(item.contact)):
                self._probe(session, item.contact, turn)
            if item.request:
                turn.effect(session.deliver, _stored_request(item, account))

    def _probe(self, session: Session, contact: JID, turn: Turn) -> None:
        self.kernel.router.route(Stanza("presence", to=contact, from_=session.jid, type="probe"), turn)

    def _leave(self, session: Session, stanza: Stanza, turn: Turn) -> None:
        """§4.5.2, §4.6.5: everyone who knew of this session learns that it is gone."""
        account = session.account
        contacts: dict[str, JID] = {}
        was_present = session.presence is not None
        if was_present:
            for item in self._roster.items(account):
                if item.sends_presence:
                    contacts[item.contact.bare] = item.contact
        directed = session.directed or {}
        own_sessions = account.present_sessions()  # the one that leaves included (§4.5.2)
        session.presence = None
        session.priority = 0
        session.takes_messages = False
        session.directed = None
        self.kernel.router.fan_out(stanza, contacts.values(), turn, may_see=self._who_may_see(account))
        for own in own_sessions:
            turn.effect(own.deliver, stanza, account.jid)
        for to in directed.values():
            if to.bare not in contacts:  # nor blocked: those were told when they were, see conceal()
                self.kernel.router.route(stanza.replace(to=to), turn)
        if was_present:
            self.kernel.emit(events.PresenceWithdrawn(session, stanza, turn))

    @on(events.SessionEnded)
    def session_ended(self, event: events.SessionEnded) -> None:
        """A session that ends without a word is unavailable (§4.5.1)."""
        session = event.session
        if session.presence is not None or session.directed:
            self._leave(session, Stanza("presence", from_=session.jid, type="unavailable"), event.turn)

    # --- probes (§4.3) -----------------------------------------------------------------------------------------------

    @presence(INBOUND, "probe")
    def probed(self, account: Account, stanza: Stanza, turn: Turn) -> None:
        """§4.3.2: presence for those who may see it; to others, that they are not subscribed."""
        sender = stanza.from_
        to = stanza.to
        assert sender is not None
        assert to is not None
        turn.behind(account)
        item = self._roster.item(account, sender.to_bare())
        if sender.bare != account.jid.bare and (item is None or not item.sends_presence):
            self._answer(account, sender, "unsubscribed", turn)
            return
        sessions = account.present_sessions()
        if to.resource:
            sessions = [session for session in sessions if session.jid == to]
        for session in sessions:
            if session.presence is not None:
                self.kernel.router.route(session.presence.replace(to=sender), turn)
        if not sessions:
            self.kernel.router.route(Stanza("presence", to=sender, from_=to, type="unavailable"), turn)

    # --- subscriptions, from the account (§3, Appendix A.2) ----------------------------------------------------

    @presence(OUTBOUND, "subscribe", "unsubscribe", "subscribed", "unsubscribed")
    def subscription_sent(self, session: Session, stanza: Stanza, turn: Turn) -> None:
        """A client asks, grants, refuses or ends."""
        if stanza.to is None:
            raise BadRequest("whose presence is this about? Add a 'to'")
        contact = stanza.to.to_bare()
        account = session.account
        if contact == account.jid:
            return  # the account's own resources see each other anyway
        self._send(account, contact, stanza.type, stanza, turn)

    def _send(self, account: Account, contact: JID, kind: str, stanza: Stanza, turn: Turn) -> None:
        turn.behind(account)
        item = self._roster.item(account, contact)
        before = state_of(item)
        if kind in ("subscribed", "unsubscribed") and not before.is_seen and not before.in_:
            self._approve(account, contact, item, kind == "subscribed", turn)
            return
        outcome = step(OUTBOUND_TABLE, kind, before)
        if not outcome.passes:
            return
        if outcome.state != before:
            if kind in ("subscribe", "subscribed"):
                self._need_room(account, item)
            self._store(account, contact, item, outcome.state, "", turn)
        # Always from the bare JID (§3.1.2), whatever resource it came from.
        self.kernel.router.route(stanza.replace(to=contact, from_=account.jid), turn)
        if kind == "subscribed":
            self._show(account, contact, turn)
        elif kind == "unsubscribed" and before.subscription in ("from", "both"):
            self._hide(account, contact, turn)

    def _need_room(self, account: Account, item: RosterItem | None) -> None:
        if (item is None or not item.is_listed) and not self._roster.has_room(account):
            self.kernel.limit_counters.fired("roster_items")
            raise ResourceConstraint("your roster is full; remove some contacts first")

    def _approve(
        self, account: Account, contact: JID, item: RosterItem | None, is_approved: bool, turn: Turn
    ) -> None:
        """§3.4.2: who did not ask yet may do so and is let in, or that is taken back. The contact is not told."""
        if is_approved == (item is not None and item.is_approved):
            return
        self._need_room(account, item)
        old = item or RosterItem(contact)
        self._roster.store(account, replace(old, is_approved=is_approved, is_listed=True), turn, push=True)

    def _grant(self, account: Account, item: RosterItem, turn: Turn) -> None:
        """Let a contact in who asks, without asking anybody (§3.1.3, §3.4.2)."""
        asked = step(INBOUND_TABLE, "subscribe", state_of(item)).state
        self._store(account, item.contact, item, step(OUTBOUND_TABLE, "subscribed", asked).state, "", turn)
        self._answer(account, item.contact, "subscribed", turn)
        self._show(account, item.contact, turn)

    def _answer(self, account: Account, contact: JID, kind: str, turn: Turn) -> None:
        self.kernel.router.route(Stanza("presence", to=contact, from_=account.jid, type=kind), turn)

    def _store(
        self, account: Account, contact: JID, item: RosterItem | None, state: State, request: str, turn: Turn
    ) -> None:
        """Write the new state; the roster is pushed where what it shows has changed."""
        old = item or RosterItem(contact, is_listed=False)
        is_listed = old.is_listed or state.subscription != "none" or state.out
        new = replace(
            old, subscription=state.subscription, ask=state.out, is_listed=is_listed,
            request=(request or old.request) if state.in_ else "",
            is_approved=old.is_approved and not state.is_seen,  # an approval is used up once it was of use
        )
        self._roster.store(account, new, turn, push=replace(old, request="") != replace(new, request=""))

    def _show(self, account: Account, contact: JID, turn: Turn) -> None:
        """§3.1.5: a contact that was just let in sees who is there."""
        self.reveal(account, (contact,), turn)

    def _hide(self, account: Account, contact: JID, turn: Turn) -> None:
        """§3.2.2, §3.3.3: to a contact that was let out, everybody has gone."""
        for session in account.present_sessions():
            self.kernel.router.route(
                Stanza("presence", to=contact, from_=session.jid, type="unavailable"), turn
            )

    def cancel(self, account: Account, item: RosterItem, turn: Turn) -> None:
        """See :class:`PresenceService`."""
        if self._blocking.is_blocked(account, item.contact):
            return  # nothing goes there, not even that (XEP-0191 §3.3)
        kinds: list[str] = []
        if item.gets_presence or item.ask:
            kinds.append("unsubscribe")
        if item.sends_presence:
            kinds.append("unsubscribed")
        for kind in kinds:
            self._answer(account, item.contact, kind, turn)
        if item.sends_presence:
            self._hide(account, item.contact, turn)

    def conceal(self, account: Account, others: Collection[JID], turn: Turn) -> None:
        """See :class:`PresenceService`."""
        for other in others:
            self._hide(account, other, turn)
        told = {other.full for other in others}
        for session in account.sessions.values():
            for to in list((session.directed or {}).values()):
                if self._blocking.is_blocked(account, to):
                    assert session.directed is not None
                    del session.directed[to.full]
                    if to.full not in told and to.bare not in told:
                        self.kernel.router.route(
                            Stanza("presence", to=to, from_=session.jid, type="unavailable"), turn
                        )

    def reveal(self, account: Account, others: Collection[JID], turn: Turn) -> None:
        """See :class:`PresenceService`."""
        may_see = self._who_may_see(account)
        contacts = [other for other in others if not other.resource]
        for session in account.present_sessions():
            if session.presence is None:
                continue
            self.kernel.router.fan_out(session.presence, contacts, turn, may_see=may_see)
            for other in others:
                if other.resource:
                    self.kernel.router.route(session.presence.replace(to=other), turn)

    def look_for(self, account: Account, others: Collection[JID], turn: Turn) -> None:
        """See :class:`PresenceService`."""
        for session in account.present_sessions():
            for other in others:
                self._probe(session, other, turn)

    # --- subscriptions, from a contact (§3, Appendix A.3) ------------------------------------------------------

    @presence(INBOUND, "subscribe", "unsubscribe", "subscribed", "unsubscribed")
    def subscription_received(self, account: Account, stanza: Stanza, turn: Turn) -> None:
        """A contact asks, grants, refuses or ends."""
        assert stanza.from_ is not None
        contact = stanza.from_.to_bare()
        turn.behind(account)
        item = self._roster.item(account, contact)
        kind = stanza.type
        if kind == "subscribe" and item is not None and item.sends_presence:
            # §3.1.3: who is subscribed already is told so, and no human is asked again.
            self._answer(account, contact, "subscribed", turn)
            return
        if kind == "subscribe" and item is not None and item.is_approved:
            self._grant(account, item, turn)
            return
        preauth = stanza.find("preauth", NS.PREAUTH) if kind == "subscribe" else None
        if preauth is not None:
            self._look_at_invitation(account, stanza, preauth.get("token"), turn)
        else:
            self._receive(account, stanza, turn)

    def _look_at_invitation(self, account: Account, stanza: Stanza, token: str, turn: Turn) -> None:
        """XEP-0379 §3.4: who was invited is let in and asked back, who was not asks as everybody does."""
        turn.park()

        async def look() -> None:
            assert stanza.from_ is not None
            contact = stanza.from_.to_bare()
            try:
                invitation = await self._invitations.find(token, account.jid.domain, contact.bare)
                if invitation is not None and invitation.creator == account.jid.bare:
                    async with self._invitations.redemption(invitation, contact, turn):
                        self._welcome(account, contact, turn)
                else:
                    self._receive(account, stanza, turn)
            except StanzaError:
                self._receive(account, stanza, turn)
            finally:
                turn.unpark()

        try:
            account.mailbox.post(self.kernel.tasks, look)
        except MailboxFull:
            turn.unpark()
            raise ResourceConstraint("too many requests wait for this account") from None

    def _welcome(self, account: Account, contact: JID, turn: Turn) -> None:
        item = self._roster.item(account, contact)
        self._need_room(account, item)
        self._grant(account, item or RosterItem(contact), turn)
        self._send(account, contact, "subscribe", Stanza("presence", type="subscribe"), turn)

    def _receive(self, account: Account, stanza: Stanza, turn: Turn) -> None:
        assert stanza.from_ is not None
        contact, kind = stanza.from_.to_bare(), stanza.type
        item = self._roster.item(account, contact)
        before = state_of(item)
        outcome = step(INBOUND_TABLE, kind, before)
        if not outcome.passes:
            return
        if kind == "subscribe" and self._requests(account) >= self.kernel.limits.pending_subscriptions:
            self.kernel.limit_counters.fired("pending_subscriptions")
            return  # what a flood of strangers asks is dropped (reliability.md V-42)
        self._deliver(account, kind, stanza, turn)
        if outcome.state != before:
            request = stanza.to_xml(namespace=NS.CLIENT) if kind == "subscribe" else ""
            self._store(account, contact, item, outcome.state, request, turn)
        if kind == "unsubscribe" and before.subscription in ("from", "both"):
            self._hide(account, contact, turn)

    def _requests(self, account: Account) -> int:
        return sum(1 for item in self._roster.items(account) if item.request)

    def _deliver(self, account: Account, kind: str, stanza: Stanza, turn: Turn) -> None:
        """A request goes to resources that are there (§3.1.3), an outcome to interested ones (§3.1.6, §3.2.3)."""
        sessions: Iterable[Session] = account.sessions.values()
        for session in sessions:
            if (session.presence is not None) if kind == "subscribe" else session.is_interested:
                turn.effect(session.deliver, stanza)


def _priority(stanza: Stanza) -> int:
    """§4.7.2.3: an integer between -128 and 127."""
    element = stanza.find("priority")
    if element is None:
        return 0
    text = element.text.strip()
    try:
        priority = int(text) if len(text) <= 4 else 1_000
    except ValueError:
        priority = 1_000
    if not -128 <= priority <= 127:
        raise BadRequest("a priority is an integer between -128 and 127")
    return priority


def _stored_request(item: RosterItem, account: Account) -> Stanza:
    stored: Element = parse_stored(item.request)
    return Stanza.from_element(stored).replace(to=account.jid)


__all__ = ["Presence"]
