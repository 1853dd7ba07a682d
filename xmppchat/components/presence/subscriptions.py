"""Who may see whom: the subscription state machine (RFC 6121 §3, Appendix A)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from xmppchat.components.presence.tables import INBOUND as INBOUND_TABLE
from xmppchat.components.presence.tables import OUTBOUND as OUTBOUND_TABLE
from xmppchat.components.presence.tables import State, state_of, step
from xmppchat.core.account import Account
from xmppchat.core.component import INBOUND, OUTBOUND, Component, ComponentConfig, Rfc, presence
from xmppchat.core.mailbox import MailboxFull
from xmppchat.core.services import (
    BlockingService,
    InvitationService,
    PresenceService,
    RosterItem,
    RosterService,
    SubscriptionService,
)
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.errors import BadRequest, ResourceConstraint, StanzaError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream_features import Fact, StreamFeature, announcement


class Subscriptions(Component[ComponentConfig]):
    """Keeps who may see whom, for both sides, by the tables of Appendix A."""

    name = "subscriptions"
    implements = (Rfc(6121),)
    provides = (SubscriptionService,)
    requires = (BlockingService, InvitationService, PresenceService, RosterService)
    stream_features = (
        StreamFeature("pre-approval", announcement("sub", NS.PRE_APPROVAL), needs=Fact.AUTHENTICATED),
    )

    def setup(self) -> None:
        """Find rosters, block lists, invitations, and who shows who is there."""
        self._blocking = self.kernel.services.get(BlockingService)
        self._invitations = self.kernel.services.get(InvitationService)
        self._presence = self.kernel.services.get(PresenceService)
        self._roster = self.kernel.services.get(RosterService)

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
            self._presence.reveal(account, (contact,), turn)  # §3.1.5
        elif kind == "unsubscribed" and before.subscription in ("from", "both"):
            self._presence.hide(account, contact, turn)

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
        self._presence.reveal(account, (item.contact,), turn)

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

    def cancel(self, account: Account, item: RosterItem, turn: Turn) -> None:
        """See :class:`SubscriptionService`."""
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
            self._presence.hide(account, item.contact, turn)

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
                # Elsewhere nobody can say how many names one guesser has: the domain has the guesses together.
                guesser = contact.bare if contact.domain in self.kernel.hosts else contact.domain
                invitation = await self._invitations.find(token, account.jid.domain, guesser)
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
            self._presence.hide(account, contact, turn)

    def _requests(self, account: Account) -> int:
        return sum(1 for item in self._roster.items(account) if item.request)

    def _deliver(self, account: Account, kind: str, stanza: Stanza, turn: Turn) -> None:
        """A request goes to resources that are there (§3.1.3), an outcome to interested ones (§3.1.6, §3.2.3)."""
        sessions: Iterable[Session] = account.sessions.values()
        for session in sessions:
            if (session.presence is not None) if kind == "subscribe" else session.is_interested:
                turn.effect(session.deliver, stanza)
