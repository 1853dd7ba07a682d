"""Offline messages (XEP-0160): what arrives while nobody is there waits, and is handed out at the next login.

While stored messages are handed out, new ones wait behind them in memory, so their order is that of arrival. They are
deleted after they were sent: a crash in between, or a disk that is full, repeats some later, and loses none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import bindparam, delete, func, insert, select

from xmppchat.core import events
from xmppchat.core.account import Account, AccountPart
from xmppchat.core.component import (
    INBOUND,
    OUTBOUND,
    Component,
    ComponentConfig,
    Feature,
    Stage,
    Xep,
    on,
    stage,
)
from xmppchat.core.crash_points import crash_point
from xmppchat.core.deliveries import Past
from xmppchat.core.pipeline import HANDLED, Passage
from xmppchat.core.runtime import timestamp
from xmppchat.core.services import BlockingService
from xmppchat.core.session import Behind, Session
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.delay import delayed, stripped
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ServiceUnavailable, StanzaError, StreamError
from xmppchat.protocol.message_content import has_text, is_for_copies, is_of_the_moment
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import MalformedAddress, Stanza
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.storage import schema

log = structlog.get_logger(__name__)

#: Messages handed out between two looks at the database.
_BATCH = 100


class Stored:
    """How much waits for an account: messages, and their bytes."""

    __slots__ = ("bytes", "count")

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.bytes = size

    def gone(self, others: Stored) -> None:
        """These are deleted."""
        self.count -= others.count
        self.bytes -= others.bytes


def _build(account: Account, rows: Sequence[Any]) -> Stored:
    return Stored(rows[0][1], int(rows[0][2] or 0)) if rows else Stored(0, 0)


_messages = schema.offline_messages.c
STORED: AccountPart[Stored] = AccountPart(
    "offline",
    select(_messages.account_id, func.count(), func.sum(_messages.size))
    .where(_messages.account_id.in_(bindparam("accounts", expanding=True)))
    .group_by(_messages.account_id),
    _build,
)
_INSERT = insert(schema.offline_messages)
_FETCH = (
    select(_messages.id, _messages.received_at, _messages.size, _messages.stanza)
    .where(_messages.account_id == bindparam("account"), _messages.id > bindparam("after"))
    .order_by(_messages.id)
    .limit(_BATCH)
)
_FETCH_ALL = (
    select(_messages.received_at, _messages.stanza)
    .where(_messages.account_id == bindparam("account"))
    .order_by(_messages.id)
)
_DELETE = delete(schema.offline_messages).where(
    _messages.account_id == bindparam("account"), _messages.id <= bindparam("last")
)
_DELETE_ALL = delete(schema.offline_messages).where(_messages.account_id == bindparam("account"))
_NEWEST = select(func.max(_messages.id))


class Offline(Component[ComponentConfig]):
    """Stores messages that nobody takes, and hands them out (XEP-0160 §3)."""

    name = "offline"
    implements = (Xep(160, "1.0.1"), Xep(203, "2.0"))
    features = (Feature(NS.OFFLINE),)
    requires = (BlockingService,)
    account_parts = (STORED,)

    def setup(self) -> None:
        """Find the block lists."""
        self._blocking = self.kernel.services.get(BlockingService)

    async def start(self) -> None:
        """New ids are greater than any that is stored."""
        newest = await self.kernel.reader.fetch(_NEWEST)
        self.kernel.ids.not_below(newest[0][0] or 0)

    @stage(Stage.SANITISE, OUTBOUND, kinds=("message", "presence"))
    def strip_delay(self, passage: Passage) -> Stanza:
        """A client must not say that this server delayed a stanza (XEP-0203 §4)."""
        hosts = self.kernel.hosts
        return stripped(passage.stanza, lambda by: by.full in hosts)

    @stage(Stage.FALLBACK, INBOUND)
    def store(self, passage: Passage) -> bool:
        """Store a message that no session took."""
        stanza, account, turn = passage.stanza, passage.account, passage.turn
        if not is_kept(stanza):
            if not has_text(stanza) or _has_copies(account, stanza):
                return HANDLED  # nobody needs to be told that a chat state was lost
            raise ServiceUnavailable("nobody is there, and the message says that it must not be stored")
        document = stanza.document
        size = len(document)
        stored = account[STORED]
        limits = self.kernel.limits
        if stored.count >= limits.offline_messages or stored.bytes + size > limits.offline_bytes:
            is_number = stored.count >= limits.offline_messages
            self.kernel.limit_counters.fired("offline_messages" if is_number else "offline_bytes")
            if stanza_ids.is_stamped(stanza.children, account.jid):
                return HANDLED  # it was taken, and can be found there: it must not be refused as well (C5)
            raise ServiceUnavailable("the recipient's mailbox is full")
        stored.count += 1
        stored.bytes += size
        turn.write(account, _INSERT, {
            "id": self.kernel.ids.sortable(), "account_id": account.id, "received_at": self.kernel.clock.now(),
            "sender": stanza.from_.full if stanza.from_ else "", "size": size, "stanza": document,
        })
        return HANDLED

    @on(events.ResourceAvailable)
    def hand_out(self, event: events.ResourceAvailable) -> None:
        """A resource can take messages now: give it what waits."""
        account = event.session.account
        if account.is_draining:
            event.session.behind = event.session.behind or Behind()
        elif account[STORED].count:
            account.is_draining = True
            for session in self._takers(account):
                session.behind = session.behind or Behind()
            self.kernel.tasks.spawn(self._drain(account), name="offline messages")

    @on(events.SessionEnded)
    def keep_unsent(self, event: events.SessionEnded) -> None:
        """What waited behind stored messages is stored, too, where nobody else is there (else they have got it)."""
        session = event.session
        if session.management is not None or session.account.available_sessions():
            return
        for stanza, to in session.take_behind():
            if to is None and is_kept(stanza):
                self.kernel.router.fall_back(session.account, stanza, event.turn)

    async def _drain(self, account: Account) -> None:
        rest: tuple[int, Stored] | None = None
        try:
            # Behind the presence that called for them; and readers see committed rows only.
            await self.kernel.gate.committed(self.kernel.gate.last)
            rest = await self._hand_out_all(account)
        finally:
            account.is_draining = False
            for session in list(account.sessions.values()):
                session.release()
        if rest is not None:
            await self._delete(account, *rest)

    async def _hand_out_all(self, account: Account) -> tuple[int, Stored] | None:
        """Send what is stored. Returns what is to be deleted yet: up to which id, and how much that is."""
        last, handed_out = 0, Stored(0, 0)
        while self._takers(account):
            if account.is_stale:
                await self.kernel.directory.get(account.jid)  # what is counted is what is on disk
            rows = await self.kernel.reader.fetch(_FETCH, {"account": account.id, "after": last})
            takers = self._takers(account)
            if not takers:
                break
            if rows:
                last = rows[-1].id
                self._send(account, rows, takers)
                handed_out.count += len(rows)
                handed_out.bytes += sum(row.size for row in rows)
            if len(rows) < _BATCH:
                break  # nobody has to wait until these are deleted
            if await self._delete(account, last, handed_out):
                handed_out = Stored(0, 0)
        return (last, handed_out) if handed_out.count else None

    def _takers(self, account: Account) -> list[Session]:
        return [session for session in account.sessions.values() if session.takes_messages]

    def _send(self, account: Account, rows: Sequence[Any], takers: list[Session]) -> None:
        for row in rows:
            try:
                stanza = Stanza.from_element(parse_stored(row.stanza))
            except (StreamError, MalformedAddress):
                log.warning("a stored message is damaged and was left out", account=account.jid.bare, row=row.id)
                continue
            if stanza.from_ is not None and self._blocking.is_blocked(account, stanza.from_):
                continue  # blocked meanwhile (XEP-0191 §3.3)
            past = Past(account, stanza, row.id)
            stanza = delayed(stanza, account.jid.domain, timestamp(row.received_at))
            for session in takers:
                # Who asks the archive itself would get it twice. Unless it came later than the client asked: it may
                # not be in what it was given. Who wanted copies before it took messages was given one.
                if not past.is_fetched_by(session) and not past.was_copied_to(session):
                    session.deliver_first(stanza)
            crash_point("mid-hand-out")

    async def _delete(self, account: Account, last: int, handed_out: Stored) -> bool:
        """Delete what was sent, up to the id `last`. Where that fails it is done with the next ones."""
        turn = self.kernel.new_turn()
        turn.write(account, _DELETE, {"account": account.id, "last": last})
        turn.effect(account[STORED].gone, handed_out)
        try:
            await self.kernel.settled(turn)
        except StanzaError as error:
            log.warning("messages that were handed out are still stored: they may be sent again",
                        account=account.jid.bare, reason=error.text)
            return False
        return True

    async def export(self, account: Account) -> Sequence[Element]:
        """All stored messages, the oldest first (XEP-0227 §4.5)."""
        await self.kernel.gate.committed(account.last_ticket)
        rows = await self.kernel.reader.fetch(_FETCH_ALL, {"account": account.id})
        messages = [
            delayed(
                Stanza.from_element(parse_stored(row.stanza)), account.jid.domain, timestamp(row.received_at)
            ).to_element()
            for row in rows
        ]
        return [Element("offline-messages", NS.PORTABLE_EXPORT, None, messages)] if messages else []

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """Its messages go with an account."""
        event.turn.write(event.account, _DELETE_ALL, {"account": event.account.id})


def _has_copies(account: Account, stanza: Stanza) -> bool:
    """Whether a device without presence got a carbon: then it was delivered."""
    return any(one.wants_carbons for one in account.sessions.values()) and is_for_copies(stanza, is_inbound=True)


def is_kept(stanza: Stanza) -> bool:
    """Whether a message is worth keeping until somebody is there (XEP-0160 §3): not what is only of the moment."""
    return stanza.message_type in ("normal", "chat") and not is_of_the_moment(stanza)
