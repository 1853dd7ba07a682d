"""The blocking component: requests and pushes of XEP-0191, what is stopped, and the reports for the admin."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Annotated

from xmppchat.components.blocking import blocklist, reports
from xmppchat.components.blocking.blocklist import BLOCKED, addresses_of, is_on
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import (
    ACCOUNT,
    INBOUND,
    OUTBOUND,
    Component,
    ComponentConfig,
    Feature,
    IqRequest,
    Stage,
    Xep,
    command,
    iq_get,
    iq_set,
    on,
    stage,
)
from xmppchat.core.pipeline import PASS, Discard, Passage, Refuse
from xmppchat.core.runtime import timestamp
from xmppchat.core.services import BlockingService, PresenceService, RosterItem, RosterService
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import (
    BadRequest,
    JidMalformed,
    NotAcceptable,
    NotAllowed,
    ResourceConstraint,
    ServiceUnavailable,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza


class Blocking(Component[ComponentConfig]):
    """Keeps block lists, and stops what they are against."""

    name = "blocking"
    implements = (Xep(191, "1.3"), Xep(377, "0.4.1", note="reports are shown to the admin, and forwarded to nobody"))
    features = (Feature(NS.BLOCKING), Feature(NS.REPORTING))
    provides = (BlockingService,)
    requires = (PresenceService, RosterService)
    account_parts = (BLOCKED,)

    def setup(self) -> None:
        """Find rosters and presence."""
        self._presence = self.kernel.services.get(PresenceService)
        self._roster = self.kernel.services.get(RosterService)
        self._reports = reports.Reports(self.kernel)
        self._interested: set[Session] = set()  # they asked for the list (§3.2)

    async def start(self) -> None:
        """See how many reports there are."""
        await self._reports.start()

    def reconfigured(self) -> None:
        """How much may be reported is counted anew."""
        self._reports.forget_budgets()

    # --- BlockingService ---------------------------------------------------------------------------------------------

    def is_blocked(self, account: Account, other: JID) -> bool:
        """See :class:`BlockingService`."""
        addresses: set[str] | None = account.parts.get(BLOCKED)
        return addresses is not None and is_on(addresses, other) and other.bare != account.jid.bare

    def blocks_anyone(self, account: Account) -> bool:
        """See :class:`BlockingService`."""
        return bool(account.parts.get(BLOCKED))

    # --- what is stopped ---------------------------------------------------------------------------------------------

    @stage(Stage.SCREEN, OUTBOUND, only_with=BLOCKED)
    def screen_sent(self, passage: Passage) -> Refuse | Discard | None:
        """XEP-0191 §3.3: what the account sends to who is blocked is not acceptable."""
        stanza = passage.stanza
        if stanza.to is None or not self.is_blocked(passage.account, stanza.to):
            return PASS
        if stanza.kind == "iq" and not stanza.is_request:
            # The other asked before the block; an answer there must be (RFC 6120 §8.2.3), as of nobody.
            answer = stanza.replace(type="error", children=(ServiceUnavailable("").to_element(),))
            self.kernel.router.route(answer, passage.turn)
            return Discard("an answer to who is blocked")
        return Refuse(_not_acceptable(), "to who is blocked")

    @stage(Stage.SCREEN, INBOUND, only_with=BLOCKED)
    def screen_received(self, passage: Passage) -> Refuse | Discard | None:
        """XEP-0191 §3.3: who is blocked finds what he finds at an account that is not there (RFC 6121 §8.5.1)."""
        stanza, account = passage.stanza, passage.account
        if stanza.from_ is not None and self.is_blocked(account, stanza.from_):
            if stanza.kind == "presence":
                return Discard("presence of who is blocked")
            return Refuse(ServiceUnavailable(""), "from who is blocked")  # results and errors have no answer
        if stanza.kind == "message" and any(self.is_blocked(account, inviter) for inviter in _inviters(stanza)):
            return Discard("an invitation by who is blocked")
        return PASS

    # --- requests ----------------------------------------------------------------------------------------------------

    @iq_get(NS.BLOCKING, "blocklist", at=ACCOUNT)
    def get(self, request: IqRequest) -> Element:
        """The list (§3.2). Who asks for it is told of changes."""
        assert request.account is not None
        if request.session is not None:
            self._interested.add(request.session)
        return _payload("blocklist", sorted(addresses_of(request.account)))

    @iq_set(NS.BLOCKING, "block", at=ACCOUNT)
    def block(self, request: IqRequest) -> None:
        """Block addresses (§3.3), with a report where there is one (XEP-0377 §5)."""
        account, turn = request.account, request.turn
        assert account is not None
        items = _items(request.payload)
        if not items:
            raise BadRequest("whom? Put an <item/> into <block/> (XEP-0191 §3.3)")
        for jid in items:
            self._check(account, jid)
        before = set(addresses_of(account))
        new = [jid.full for jid in items if jid.full not in before]
        if len(before) + len(new) > self.kernel.limits.blocked_addresses:
            self.kernel.limit_counters.fired("blocked_addresses")
            limit = self.kernel.limits.blocked_addresses
            raise ResourceConstraint(f"a block list holds {limit} addresses; unblock some first")
        blocklist.add(account, new, turn)
        self._presence.conceal(account, self._changed(account, before, items, _sends_presence), turn)
        self._drop_requests(account, turn)
        self._give_up(account, turn)
        for jid, item in items.items():
            report = reports.read(item, jid)
            if report is not None:
                self._reports.store(account, report, turn)
        self._push(account, _payload("block", [jid.full for jid in items]), turn)

    @iq_set(NS.BLOCKING, "unblock", at=ACCOUNT)
    def unblock(self, request: IqRequest) -> None:
        """Unblock addresses (§3.4), or all (§3.5)."""
        account, turn = request.account, request.turn
        assert account is not None
        items = _items(request.payload)
        before = set(addresses_of(account))
        if items:
            blocklist.remove(account, [jid.full for jid in items if jid.full in before], turn)
        elif list(request.payload.elements()):
            raise BadRequest("whom? <unblock/> has <item/> elements, or nothing in it (XEP-0191 §3.4, §3.5)")
        else:
            blocklist.clear(account, turn)
        named = items or [JID.parse(address) for address in before if "/" in address]
        self._presence.reveal(account, self._changed(account, before, named, _sends_presence), turn)
        self._presence.look_for(account, self._changed(account, before, named, _gets_presence), turn)
        self._push(account, _payload("unblock", [jid.full for jid in items]), turn)

    def _check(self, account: Account, jid: JID) -> None:
        """Own resources are never kept apart (§5), and one's own server has to be able to answer."""
        if jid.bare == account.jid.bare:
            raise NotAllowed("you cannot block yourself")
        if jid.bare == account.jid.domain:
            raise NotAllowed("your own server cannot be blocked; block the addresses that bother you")

    def _changed(
        self, account: Account, before: Collection[str], named: Iterable[JID], is_meant: Callable[[RosterItem], bool]
    ) -> list[JID]:
        """The contacts, and the resources that were named, that are blocked now and were not, or the other way."""
        after = addresses_of(account)
        contacts = [item.contact for item in self._roster.items(account) if is_meant(item)]
        changed = [contact for contact in contacts if is_on(before, contact) != is_on(after, contact)]
        whole = {contact.bare for contact in changed}
        for jid in named:
            item = self._roster.item(account, jid) if jid.local and jid.resource and jid.bare not in whole else None
            if item is not None and is_meant(item) and is_on(before, jid) != is_on(after, jid):
                changed.append(jid)
        return changed

    def _drop_requests(self, account: Account, turn: Turn) -> None:
        """Requests of the blocked that wait could not be refused any more, and take up room."""
        for item in list(self._roster.items(account)):
            if item.request and self.is_blocked(account, item.contact):
                self._roster.store(account, replace(item, request=""), turn, push=False)

    def _give_up(self, account: Account, turn: Turn) -> None:
        """Answers of the blocked do not come through: a client that waits for one is told (RFC 6120 §8.2.3)."""
        for session in account.sessions.values():
            for to, request_id in session.give_up(lambda to: self.is_blocked(account, to)):
                error = _not_acceptable().to_element()
                answer = Stanza("iq", to=session.jid, from_=to, id=request_id, type="error", children=(error,))
                turn.effect(session.deliver, answer)

    def _push(self, account: Account, payload: Element, turn: Turn) -> None:
        """§3.3: to all resources that asked for the list, the one that changes it too."""
        push = Stanza("iq", from_=account.jid, id=self.kernel.ids.token(), type="set", children=(payload,))
        for session in account.sessions.values():
            if session in self._interested:
                turn.effect(session.deliver, push, session.jid)

    # --- what becomes of it ------------------------------------------------------------------------------------------

    @on(events.SessionSaved)
    def session_saved(self, event: events.SessionSaved) -> None:
        """Over a restart of the server it is told of changes, too."""
        event.state[self.name] = event.session in self._interested

    @on(events.SessionRestored)
    def session_restored(self, event: events.SessionRestored) -> None:
        """See :meth:`session_saved`."""
        if event.state.get(self.name):
            self._interested.add(event.session)

    @on(events.SessionEnded)
    def session_ended(self, event: events.SessionEnded) -> None:
        """It is told of nothing any more."""
        self._interested.discard(event.session)

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """Its list goes with an account; its reports lose their author."""
        blocklist.write_deletion(event.account, event.turn)
        self._reports.forget(event.account, event.turn)

    async def export(self, account: Account) -> Sequence[Element]:
        """The list as the default privacy list that it stands for (XEP-0227 §4.8, XEP-0191 §5)."""
        addresses = sorted(addresses_of(account))
        if not addresses:
            return ()
        items = [
            Element("item", NS.PRIVACY, {"type": "jid", "value": address, "action": "deny", "order": str(order)})
            for order, address in enumerate(addresses, 1)
        ]
        name = {"name": "blocklist"}
        lists = [Element("default", NS.PRIVACY, name), Element("list", NS.PRIVACY, name, items)]
        return (Element("query", NS.PRIVACY, None, lists),)

    # --- reports, for the admin --------------------------------------------------------------------------------------

    @command("report list", changes=False)
    async def report_list(
        self, limit: Annotated[int, Parameter("how many to show, the newest first")] = 50
    ) -> list[dict[str, object]]:
        """List what users report as spam or abuse."""
        if limit < 1:
            raise CommandError("the limit is at least 1")
        return [
            {
                "id": str(row.id),
                "at": timestamp(row.reported_at),
                "reported": row.reported,
                "by": row.reporter or "(a deleted account)",
                "reason": row.reason.removeprefix("urn:xmpp:reporting:"),
                "text": row.text,
                "stanzas": ", ".join(stanza_id for stanza_id, _ in json.loads(row.stanza_ids)) or "-",
                "may be forwarded to": row.consent or "nobody",
            }
            for row in await self._reports.newest(limit)
        ]

    @command("report delete")
    async def report_delete(self, report: Annotated[int, Parameter("the report's id")]) -> dict[str, str]:
        """Delete a report that is dealt with. Whom it is about stays blocked by who wrote it."""
        if not await self._reports.has(report):
            raise CommandError(f"there is no report {report}; `xmppchat report list` shows those there are")
        turn = self.kernel.new_turn()
        self._reports.delete(report, turn)
        await self.kernel.settled(turn)
        return {"deleted": str(report)}


def _sends_presence(item: RosterItem) -> bool:
    return item.sends_presence


def _gets_presence(item: RosterItem) -> bool:
    return item.gets_presence


def _not_acceptable() -> NotAcceptable:
    blocked = Element("blocked", NS.BLOCKING_ERRORS)
    return NotAcceptable("you block this address; unblock it first", details=(blocked,), type="cancel")


def _payload(name: str, addresses: Iterable[str]) -> Element:
    return Element(name, NS.BLOCKING, None, [Element("item", NS.BLOCKING, {"jid": address}) for address in addresses])


def _items(payload: Element) -> dict[JID, Element]:
    """The items by their addresses, each once. Raises where one is no address."""
    items: dict[JID, Element] = {}
    for item in payload.find_all("item"):
        if not item.get("jid"):
            raise BadRequest("an item needs a 'jid'")
        try:
            items[JID.parse(item.get("jid"))] = item
        except InvalidJID as error:
            raise JidMalformed(str(error)) from None
    return items


def _inviters(stanza: Stanza) -> list[JID]:
    """Who a room says invites (XEP-0045 §7.8.2)."""
    x = stanza.find("x", NS.MUC_USER)
    inviters: list[JID] = []
    for invite in x.find_all("invite") if x is not None else ():
        try:
            inviters.append(JID.parse(invite.get("from")))
        except InvalidJID:
            continue  # names nobody
    return inviters
