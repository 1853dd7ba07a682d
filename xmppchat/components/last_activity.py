"""Last activity (XEP-0012): how long an account has been away, for who may see its presence; the server's uptime.

Example::

    [Client] romeo
    [Client] juliet
    [Roster] romeo -> juliet: to

    romeo sends:
        <iq type="get" id="a1" to="{juliet.bare}"><query xmlns="jabber:iq:last"/></iq>
    romeo receives:
        <iq type="result" id="a1" from="{juliet.bare}" to="{romeo.full}">
            <query xmlns="jabber:iq:last" seconds="0"/>
        </iq>
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import bindparam, select, update

from xmppchat.core import events
from xmppchat.core.account import Account, AccountPart
from xmppchat.core.component import (
    ACCOUNT,
    INBOUND,
    SERVER,
    Component,
    ComponentConfig,
    Feature,
    IqRequest,
    Stage,
    Who,
    Xep,
    every,
    iq_get,
    on,
    stage,
)
from xmppchat.core.pipeline import PASS, Passage, Refuse
from xmppchat.core.services import RosterService
from xmppchat.core.unsaved import Unsaved
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ServiceUnavailable
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema
from xmppchat.storage.batches import last_wins

log = structlog.get_logger(__name__)

#: Characters of a status that are kept.
MAX_STATUS = 1_000
#: How often it is written down who has gone, s; sooner where there are so many.
SAVE_SECONDS = 10.0


class Seen:
    """When an account was last there (ms since 1970; before its first login: when it was made), and its last words."""

    __slots__ = ("at", "status")

    def __init__(self, at: int, status: str) -> None:
        self.at = at
        self.status = status


def _build(account: Account, rows: Sequence[Any]) -> Seen:
    if not rows:  # an address of a component's (ADR 21)
        return Seen(account.created_at, "")
    return Seen(rows[0].seen_at or rows[0].created_at, rows[0].seen_status)


_accounts = schema.accounts.c
SEEN: AccountPart[Seen] = AccountPart(
    "seen",
    select(_accounts.id.label("account_id"), _accounts.seen_at, _accounts.seen_status, _accounts.created_at)
    .where(_accounts.id.in_(bindparam("accounts", expanding=True))),
    _build,
)
_UPDATE = last_wins(
    update(schema.accounts)
    .where(_accounts.id == bindparam("account"))
    .values(seen_at=bindparam("new_seen_at"), seen_status=bindparam("new_seen_status")),
    "account",
)


def _row(account: int, seen: Seen) -> dict[str, Any]:
    return {"account": account, "new_seen_at": seen.at, "new_seen_status": seen.status}


class LastActivity(Component[ComponentConfig]):
    """Answers ``jabber:iq:last`` for the server and for accounts."""

    name = "last_activity"
    implements = (Xep(12, "2.0"),)
    features = (Feature(NS.LAST_ACTIVITY, at=SERVER | ACCOUNT),)
    requires = (RosterService,)
    account_parts = (SEEN,)

    def setup(self) -> None:
        """The clock of the uptime starts here."""
        self._roster = self.kernel.services.get(RosterService)
        self._started = self.kernel.clock.monotonic()
        self._unsaved: Unsaved[Seen] = Unsaved(self.kernel, _UPDATE, _row, what="when accounts were last seen")

    async def stop(self) -> None:
        """Write down who was there until now."""
        await self._unsaved.settle()

    @iq_get(NS.LAST_ACTIVITY, "query", at=SERVER)
    def uptime(self, request: IqRequest) -> Element:
        """Seconds since the server started (XEP-0012 §5)."""
        return _answer(self.kernel.clock.monotonic() - self._started)

    @iq_get(NS.LAST_ACTIVITY, "query", at=ACCOUNT, who=Who.SUBSCRIBER)
    def absence(self, request: IqRequest) -> Element:
        """Seconds since the last resource became unavailable, 0 while one is available (XEP-0012 §3).

        Others get what a missing account gives instead of ``<forbidden/>``, which would tell them that it exists.
        """
        account = request.account
        assert account is not None
        if account.present_sessions():
            return _answer(0)
        seen = self._unsaved.get(account.id) or account[SEEN]
        return _answer((self.kernel.clock.now() - seen.at) / 1000, seen.status)

    @on(events.PresenceWithdrawn)
    def withdrawn(self, event: events.PresenceWithdrawn) -> None:
        """Who was there last has gone."""
        account = event.session.account
        if account.present_sessions():
            return
        status = event.stanza.find("status")
        seen = account[SEEN]
        seen.at = self.kernel.clock.now()
        seen.status = status.text[:MAX_STATUS] if status is not None else ""
        self._unsaved.put(account.id, seen)

    @every(SAVE_SECONDS)
    async def save(self) -> None:
        """Write down who has gone since the last time: one transaction for all, and none for each good-bye."""
        self._unsaved.save()

    @stage(Stage.SCREEN, INBOUND, kinds=("iq",))
    def screen(self, passage: Passage) -> Refuse | None:
        """A resource is asked by those only who may see its presence (XEP-0012 §4)."""
        stanza = passage.stanza
        to, sender = stanza.to, stanza.from_
        if stanza.type != "get" or to is None or not to.resource or sender is None:
            return PASS
        payload = stanza.payload
        if payload is None or payload.namespace != NS.LAST_ACTIVITY or self._may_see(passage.account, to, sender):
            return PASS
        return Refuse(ServiceUnavailable(""), "last activity is for subscribers")

    def _may_see(self, account: Account, resource: JID, other: JID) -> bool:
        if other.bare == account.jid.bare:
            return True
        item = self._roster.item(account, other)
        if item is not None and item.sends_presence:
            return True
        session = account.sessions.get(resource.resource)
        directed = session.directed if session is not None else None
        return directed is not None and (other.full in directed or other.bare in directed)


def _answer(seconds: float, status: str = "") -> Element:
    # A clock that was set back says nothing below zero.
    return Element("query", NS.LAST_ACTIVITY, {"seconds": str(max(0, int(seconds)))}, (status,))
