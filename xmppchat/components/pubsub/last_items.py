"""The last published item, for who comes (XEP-0163 §4.3.4, XEP-0060 §13.2): once for each node that a client asks for.

A client comes when it is available and known to ask for something; asking for more later counts for what is new, and
so does a contact that is let in. A login of who asks for nothing, or whose contacts have nothing, costs a few look-ups
in memory: which accounts have nodes is known without loading them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import structlog

from xmppchat.components.pubsub import notices
from xmppchat.components.pubsub.broadcast import Broadcast
from xmppchat.components.pubsub.nodes import NODES, OWNERS, Item, Node
from xmppchat.components.pubsub.payloads import Payloads
from xmppchat.core.account import Account
from xmppchat.core.commit_gate import StorageUnavailable
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import RosterService
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID

log = structlog.get_logger(__name__)

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Pick:
    """An item that is the last of a node, and to whom it goes."""

    owner: Account
    node: Node
    item_id: str
    item: Item
    to: JID

    @property
    def is_current(self) -> bool:
        """Whether it still is the last one: what comes behind it is a notification of its own."""
        nodes = self.owner.parts.get(NODES)
        node = None if nodes is None or self.owner.is_stale else nodes.get(self.node.name)
        return node is not None and node.last == (self.item_id, self.item)


class LastItems:
    """Sends them."""

    def __init__(self, kernel: Kernel, broadcast: Broadcast, payloads: Payloads) -> None:
        self._kernel = kernel
        self._broadcast = broadcast
        self._payloads = payloads
        self._roster = kernel.services.get(RosterService)
        #: Bare JIDs of accounts that have nodes. One that has none any more may stay: it costs a look.
        self._owners: set[str] = set()
        self._told: dict[Session, frozenset[str]] = {}  # what available sessions asked for, and have

    async def start(self) -> None:
        """Find out who has nodes."""
        rows = await self._kernel.reader.fetch(OWNERS)
        self._owners = {JID(row.localpart, row.domain, "").bare for row in rows}

    def has_nodes(self, account: Account) -> None:
        """`account` has some from now on."""
        self._owners.add(account.jid.bare)

    def forget(self, account: Account) -> None:
        """`account` is deleted."""
        self._owners.discard(account.jid.bare)

    # --- who comes, who goes -----------------------------------------------------------------------------------------

    def came(self, session: Session, turn: Turn) -> None:
        """`session` is available, or another thing is known of what it asks for."""
        if session.presence is None:
            return
        wanted = self._broadcast.wanted(session)
        known = self._told.get(session, _NOTHING)
        if wanted == known:
            return
        self._told[session] = wanted
        new = wanted - known
        owners = [bare for bare in self._candidates(session.account) if bare in self._owners] if new else []
        if owners:
            turn.effect(self._begin, session.jid, new, owners, self._kernel.ids.moment())

    def left(self, session: Session) -> None:
        """`session` is not available any more."""
        self._told.pop(session, None)

    def resumed(self, session: Session) -> None:
        """`session` was there before the server was restarted: it has what there is."""
        if session.presence is not None and (wanted := self._broadcast.wanted(session)):
            self._told[session] = wanted

    def let_in(self, account: Account, contacts: Iterable[JID], nodes: frozenset[str], turn: Turn) -> None:
        """`contacts` may see `nodes` of `account` that they might not see before (§13.2)."""
        before = self._kernel.ids.moment()
        for contact in contacts:
            found = self._kernel.directory.find(contact.bare)
            for session in found.sessions.values() if found is not None else ():
                wanted = self._told.get(session, _NOTHING) & nodes
                if wanted:
                    turn.effect(self._begin, session.jid, wanted, [account.jid.bare], before)

    def subscribed(self, account: Account, node: Node, to: JID, turn: Turn) -> None:
        """`to` has just subscribed (XEP-0060 §6.1.7)."""
        config = node.config
        if node.last is not None and config.deliver_notifications and config.send_last_published_item != "never":
            pick = _Pick(account, node, *node.last, to)
            turn.effect(self._begin_one, pick)

    def _candidates(self, account: Account) -> Iterable[str]:
        """Whose nodes the account may see by its presence subscriptions: they are asked themselves, too."""
        yield account.jid.bare
        for item in self._roster.items(account):
            if item.gets_presence:
                yield item.contact.bare

    # --- sending -----------------------------------------------------------------------------------------------------

    def _begin(self, to: JID, wanted: frozenset[str], owners: Collection[str], before: int) -> None:
        self._kernel.tasks.spawn(self._send_all(to, wanted, owners, before), name="last items")

    def _begin_one(self, pick: _Pick) -> None:
        self._kernel.tasks.spawn(self._send(pick.to, [pick]), name="last item")

    async def _send_all(self, to: JID, wanted: frozenset[str], owners: Collection[str], before: int) -> None:
        directory = self._kernel.directory
        try:
            # Those that are not in memory are loaded together.
            found = await asyncio.gather(*[directory.get(JID.parse(bare)) for bare in owners])
        except StorageUnavailable:
            log.warning("accounts could not be loaded, so their last items are not sent", to=str(to))
            return
        there = [owner for owner in found if owner.exists]
        await self._send(to, [pick for owner in there for pick in self._picks(owner, to, wanted, before)])

    def _picks(self, owner: Account, to: JID, wanted: frozenset[str], before: int) -> Iterable[_Pick]:
        if self._broadcast.is_blocked(owner, to):
            return
        nodes = owner[NODES]
        for node in [nodes[name] for name in wanted if name in nodes]:
            last, config = node.last, node.config
            # What came later `to` was notified of.
            if last is None or last[1].number > before or not config.deliver_notifications:
                continue
            is_meant = config.send_last_published_item == "on_sub_and_presence"
            if is_meant and self._broadcast.refusal(owner, node, to) is None:
                yield _Pick(owner, node, *last, to)

    async def _send(self, to: JID, picks: Collection[_Pick]) -> None:
        if not picks:
            return
        await self._kernel.gate.committed(max(pick.owner.last_ticket for pick in picks))
        payloads = await self._payloads.read([pick.item.number for pick in picks])
        turn = self._kernel.new_turn()
        account = self._kernel.directory.find(to.bare)
        for pick in picks:
            payload = payloads.get(pick.item.number)
            if payload is not None and pick.is_current:
                turn.behind(pick.owner)
                change = notices.published(pick.node, pick.item_id, pick.item, payload)
                self._broadcast.send(pick.owner, pick.node, change, [to], turn, pick.item)
                if account is not None:  # who causes it by coming (reliability.md V-44)
                    self._broadcast.charge(account, 1, len(payload))
        turn.commit()
