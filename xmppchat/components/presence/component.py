"""Who is there: broadcasts, probes and directed presence (RFC 6121 §4)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import INBOUND, OUTBOUND, Component, ComponentConfig, Rfc, on, presence
from xmppchat.core.services import BlockingService, PresenceService, RosterItem, RosterService
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, ResourceConstraint
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.xmlreader import parse_stored

#: Addresses a session may have shown itself to by directed presence.
MAX_DIRECTED = 1_000


class Presence(Component[ComponentConfig]):
    """Tells contacts who is there."""

    name = "presence"
    implements = (Rfc(6121),)
    provides = (PresenceService,)
    requires = (BlockingService, RosterService)

    def setup(self) -> None:
        """Find rosters and block lists."""
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
        self._take_messages(session, is_wanted=priority >= 0)
        self._broadcast(session, stanza, turn)
        if is_initial:
            self._look_around(session, turn)
        self.kernel.emit(events.PresenceAnnounced(session, turn))
        if session.takes_messages and not took_messages:
            self.kernel.emit(events.ResourceAvailable(session, turn))

    def _take_messages(self, session: Session, *, is_wanted: bool) -> None:
        if session.takes_messages is is_wanted:
            return
        session.takes_messages = is_wanted
        if is_wanted:
            session.takes_since = self.kernel.ids.sortable()
        elif session.wants_carbons:
            session.copies_since = self.kernel.ids.sortable()  # until now it got the messages themselves

    def _broadcast(self, session: Session, stanza: Stanza, turn: Turn) -> None:
        """§4.2.2: to contacts that may see it, and to the account's own resources, this one included."""
        account = session.account
        contacts = [item.contact for item in self._roster.items(account) if item.sends_presence]
        self._charge(account, len(contacts))
        self.kernel.router.fan_out(stanza, contacts, turn, may_see=self._who_may_see(account))
        for own in account.sessions.values():
            if own.presence is not None:
                turn.effect(own.deliver, stanza, account.jid)

    def _charge(self, account: Account, recipients: int) -> None:
        """What one stanza becomes is on its sender's account (V-44): who causes too much is read more slowly."""
        if account.rates is not None and recipients:
            account.rates.fan_out(self.kernel.clock.monotonic(), recipients)

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
        items = list(self._roster.items(account))
        self._charge(account, len(items))  # a probe each, and what answers it
        for item in items:
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
        self._take_messages(session, is_wanted=False)
        session.directed = None
        self._charge(account, len(contacts) + len(directed))
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
            self.kernel.router.route(Stanza("presence", to=sender, from_=account.jid, type="unsubscribed"), turn)
            return
        sessions = account.present_sessions()
        if to.resource:
            sessions = [session for session in sessions if session.jid == to]
        for session in sessions:
            if session.presence is not None:
                self.kernel.router.route(session.presence.replace(to=sender), turn)
        if not sessions:
            self.kernel.router.route(Stanza("presence", to=sender, from_=to, type="unavailable"), turn)

    # --- for other components -----------------------------------------------------------------------------------

    def hide(self, account: Account, contact: JID, turn: Turn) -> None:
        """See :class:`PresenceService`."""
        for session in account.present_sessions():
            self.kernel.router.route(
                Stanza("presence", to=contact, from_=session.jid, type="unavailable"), turn
            )

    def conceal(self, account: Account, others: Collection[JID], turn: Turn) -> None:
        """See :class:`PresenceService`."""
        for other in others:
            self.hide(account, other, turn)
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

    def show_again(self, account: Account, change: Callable[[Stanza], Stanza], turn: Turn) -> None:
        """See :class:`PresenceService`."""
        for session in account.present_sessions():
            before = session.presence
            assert before is not None
            after = change(before)
            if after is not before:
                turn.effect(_exchange, session, before, after)
                self._broadcast(session, after, turn)

    def look_for(self, account: Account, others: Collection[JID], turn: Turn) -> None:
        """See :class:`PresenceService`."""
        for session in account.present_sessions():
            for other in others:
                self._probe(session, other, turn)


def _exchange(session: Session, before: Stanza, after: Stanza) -> None:
    if session.presence is before:  # its client may have said something else meanwhile
        session.presence = after


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
