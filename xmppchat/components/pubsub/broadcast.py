"""Who is notified of what happens at a node, and the sending (XEP-0163 §4, XEP-0060 §9, §13.3).

Implicitly subscribed are an account's own clients and the contacts that see its presence, each of their clients that
asked for the node by ``+notify`` in its capabilities (§9.2); explicitly whoever subscribed, there or not. All of it
is by address: which clients of an address are interested is asked in one place, :meth:`Broadcast.interested`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from xmppchat.components.pubsub import access, notices
from xmppchat.components.pubsub.nodes import NONE, Item, Node, set_entity
from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import BlockingService, CapsService, RosterService
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StanzaError
from xmppchat.protocol.stanza import Stanza

NOTIFY: Final = "+notify"
#: Characters of a notification that count as one more recipient.
CHARGED: Final = 4_096


class Broadcast:
    """Notifies."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._blocking = kernel.services.get(BlockingService)
        self._caps = kernel.services.get(CapsService)
        self._roster = kernel.services.get(RosterService)

    # --- who may, who wants ------------------------------------------------------------------------------------------

    def refusal(self, account: Account, node: Node, who: JID, *, to_subscribe: bool = False) -> StanzaError | None:
        """See :func:`access.refusal`."""
        item = self._roster.item(account, who)
        return access.refusal(account.jid, node, who.bare, item, to_subscribe=to_subscribe)

    def is_blocked(self, account: Account, other: JID) -> bool:
        """Whether nothing goes to `other` (XEP-0163 §4.3.3)."""
        return self._blocking.is_blocked(account, other)

    def wanted(self, session: Session) -> frozenset[str]:
        """The nodes that the client of `session` asks for."""
        features = self._caps.features_of(session)
        return _NOTHING if features is None else _nodes_in(features)

    def interested(self, bare: str, node: str) -> Iterator[JID]:
        """Full JIDs of clients of `bare` that are available and ask for `node`."""
        account = self._kernel.directory.find(bare)
        if account is None:
            return
        wanted = node + NOTIFY
        for session in account.sessions.values():
            if session.presence is not None and wanted in (self._caps.features_of(session) or ()):
                yield session.jid

    # --- sending -----------------------------------------------------------------------------------------------------

    def notify(self, account: Account, node: Node, change: Element, turn: Turn, *, is_end: bool = False) -> None:
        """Tell everybody who is to know of `change`. At the end of the node pending subscribers, too (§8.4.2)."""
        if node.config.deliver_notifications:
            self.send(account, node, change, list(self._recipients(account, node, is_end=is_end)), turn)

    def send(
        self, account: Account, node: Node, change: Element, recipients: Sequence[JID], turn: Turn,
        item: Item | None = None,
    ) -> None:
        """Send `change`, which tells of an earlier `item` where there is one, to `recipients`, once `turn` is on disk.

        Not as a part of `turn`: who is not in memory must be loaded first, and no change waits half made for that.
        What one stanza becomes is on its sender's account (reliability.md V-44).
        """
        if recipients:
            id = self._kernel.ids.token()
            message = notices.message(account.jid, change, node.config.notification_type, id, item)
            size = len(message.inner_xml)  # written once, for all
            turn.effect(self._route, message, recipients)
            if turn.origin is not None:
                self.charge(turn.origin.account, len(recipients), size)

    def charge(self, account: Account, recipients: int, size: int) -> None:
        """`account` is why so many are sent so many characters: what is large counts for more."""
        if account.rates is not None:
            units = recipients * (1 + size // CHARGED)
            account.rates.fan_out(self._kernel.clock.monotonic(), units)

    def _route(self, message: Stanza, recipients: Sequence[JID]) -> None:
        turn = self._kernel.new_turn()
        for recipient in recipients:
            self._kernel.router.route(message.replace(to=recipient), turn)
        turn.commit()

    def tell_subscriber(self, account: Account, node: Node, jid: JID, state: str, turn: Turn) -> None:
        """The state of a subscription is another (§8.8.4, §13.14)."""
        if not self.is_blocked(account, jid):
            self.send(account, node, notices.subscription(node, jid, state), [jid], turn)

    def tell_owners(self, account: Account, node: Node, child: Element, kind: str, turn: Turn) -> None:
        """A message of type `kind` with `child` to the owner's clients that are there; at a service of its own address
        to all owners.
        """
        stanza = Stanza("message", from_=account.jid, id=self._kernel.ids.token(), type=kind, children=(child,))
        for session in account.present_sessions():
            turn.effect(session.deliver, stanza, session.jid)
        owners = [JID.parse(owner) for owner in node.owners]
        if owners:
            turn.effect(self._route, stanza, owners)
            if turn.origin is not None:
                self.charge(turn.origin.account, len(owners), 0)

    def cancel_lost(self, account: Account, node: Node, turn: Turn, bare: str = "") -> None:
        """End explicit subscriptions, of all or of `bare`, that the node does not allow any more (XEP-0163 §7.1)."""
        for text in list(node.subscriptions_of(bare) if bare else node.subscriptions):
            jid = JID.parse(text)
            if self.refusal(account, node, jid, to_subscribe=True) is not None:
                set_entity(account, node, jid, turn, subscription=NONE)
                self.tell_subscriber(account, node, jid, NONE, turn)

    def _recipients(self, account: Account, node: Node, *, is_end: bool) -> Iterator[JID]:
        told: set[str] = set()
        for bare in self._implicit(account, node):
            for jid in self.interested(bare, node.name):
                if not self.is_blocked(account, jid):
                    told.add(jid.full)
                    yield jid
        told_bare = {jid.partition("/")[0] for jid in told}
        for text, state in list(node.subscriptions.items()):
            if text in told or (state != "subscribed" and not is_end):
                continue
            jid = JID.parse(text)
            if not jid.resource and text in told_bare:
                continue  # each of its clients that wants it has it (XEP-0163 §4.3.2)
            if not self.is_blocked(account, jid) and self.refusal(account, node, jid, to_subscribe=True) is None:
                yield jid

    def _implicit(self, account: Account, node: Node) -> Iterator[str]:
        """§9.1: bare JIDs, of which some clients may be interested."""
        yield account.jid.bare
        for item in self._roster.items(account):
            if item.sends_presence and access.refusal(account.jid, node, item.contact.bare, item) is None:
                yield item.contact.bare


_NOTHING: Final[frozenset[str]] = frozenset()


@lru_cache(maxsize=128)
def _nodes_in(features: frozenset[str]) -> frozenset[str]:
    """Asked with each presence, of the few kinds of clients that there are."""
    return frozenset(feature.removesuffix(NOTIFY) for feature in features if feature.endswith(NOTIFY))
