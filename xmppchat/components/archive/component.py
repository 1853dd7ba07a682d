"""Message archives (XEP-0313): each account's messages, sent and received, under an id that is the same everywhere.

Example::

    [Client] romeo

    romeo sends:
        <message to="{romeo.bare}" type="chat" id="m1"><body>Remember the apothecary.</body></message>
    romeo receives:
        <message from="{romeo.full}" to="{romeo.bare}" type="chat" id="m1">
            <body>Remember the apothecary.</body>
            <stanza-id xmlns="urn:xmpp:sid:0" by="{romeo.bare}" id="{=archived}"/>
        </message>
    romeo sends:
        <iq type="set" id="q1"><query xmlns="urn:xmpp:mam:2" queryid="f27"/></iq>
    romeo receives:
        <message from="{romeo.bare}" to="{romeo.full}">
            <result xmlns="urn:xmpp:mam:2" queryid="f27" id="{archived}">
                <forwarded xmlns="urn:xmpp:forward:0">
                    <delay xmlns="urn:xmpp:delay" stamp="…"/>
                    <message xmlns="jabber:client" from="{romeo.full}" to="{romeo.bare}" type="chat" id="m1">
                        <body>Remember the apothecary.</body>
                    </message>
                </forwarded>
            </result>
        </message>
        <iq type="result" id="q1" from="{romeo.bare}" to="{romeo.full}">
            <fin xmlns="urn:xmpp:mam:2" complete="true">
                <set xmlns="http://jabber.org/protocol/rsm">
                    <first index="0">{archived}</first><last>{archived}</last><count>1</count>
                </set>
            </fin>
        </iq>
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field

from xmppchat.components.archive import query, results, store
from xmppchat.components.archive.conversations import DELETE_MARKS, ReadMarks, conversations
from xmppchat.components.archive.ends import Ends
from xmppchat.components.archive.policy import EVERYTHING, judge
from xmppchat.components.archive.preferences import PREFERENCES
from xmppchat.components.archive.resends import LostSessions, Window, message_id
from xmppchat.components.archive.retractions import Retractions
from xmppchat.components.archive.slots import QuerySlots
from xmppchat.components.archive.upkeep import Upkeep
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
    Later,
    Stage,
    Xep,
    command,
    every,
    iq_get,
    iq_set,
    on,
    stage,
)
from xmppchat.core.crash_points import crash_point
from xmppchat.core.pipeline import Archived, NotArchived, Passage
from xmppchat.core.runtime import time_of, timestamp
from xmppchat.core.services import ArchivedMessage, ArchiveService, Conversation, RosterService
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ItemNotFound, ServiceUnavailable
from xmppchat.protocol.message_content import Content
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.rsm import page_element
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.xmlreader import parse_stored

#: Messages in a page where the client did not say how many (limit 25).
DEFAULT_PAGE: Final = 50

_TO_ONESELF: Final = NotArchived("a message to oneself is one row, made where it arrives")
_NOBODY: Final = NotArchived("nobody sent it")
_WILL_BOUNCE: Final = NotArchived("the device it is for is not there: its sender is told")  # RFC 6121 §8.5.3.2.1


class ArchiveConfig(ComponentConfig):
    """Options of message archives."""

    days: int = Field(365, ge=0, le=36_500, description="how long messages are kept, in days; 0: for ever")
    messages: int = Field(
        1_000_000, ge=0, le=1_000_000_000,
        description="how many messages of an account are kept, the newest; 0: any number",
    )


class Archive(Component[ArchiveConfig]):
    """Stores messages, says where, and answers queries."""

    name = "archive"
    implements = (
        Xep(59, "1.0"), Xep(82, "1.1.1"), Xep(313, "1.1.3"), Xep(334, "1.0.0"), Xep(359, "0.7.0"),
        Xep(424, "0.4.2", note="tombstones in the archives of accounts"),
    )
    features = (
        Feature(NS.ARCHIVE, at=ACCOUNT), Feature(NS.ARCHIVE_EXTENDED, at=ACCOUNT), Feature(NS.STANZA_IDS, at=ACCOUNT),
        Feature(NS.RETRACT, at=ACCOUNT), Feature(NS.RETRACT_TOMBSTONE, at=ACCOUNT),
    )
    provides = (ArchiveService,)
    requires = (RosterService,)
    Config = ArchiveConfig

    def setup(self) -> None:
        """Find the rosters."""
        self._roster = self.kernel.services.get(RosterService)
        self._archives = store.Archives(self.kernel.reader)
        self._slots = QuerySlots(self.kernel)
        self._ends = Ends(self._archives, self.kernel.gate)
        self._upkeep = Upkeep(self.kernel, self._ends.deleted)
        self._marks = ReadMarks(self.kernel)
        self._lost = LostSessions()
        self._retractions = Retractions(self.kernel)
        self._form = query.form()
        self._hosts = frozenset(self.kernel.hosts)

    async def start(self) -> None:
        """New ids are greater than any that is stored (reliability.md F-17, F-28)."""
        newest = await self.kernel.reader.fetch(store.NEWEST)
        self.kernel.ids.not_below(newest[0][0] or 0)
        await self._upkeep.remove_orphans()

    def reconfigured(self) -> None:
        """The limits may be others."""
        self._slots.reconfigured()

    # --- ids (XEP-0359) ----------------------------------------------------------------------------------------------

    @stage(Stage.SANITISE, OUTBOUND, kinds=("message",), after=("offline",))
    def strip_sent(self, passage: Passage) -> Stanza:
        """A client gives no ids in the name of its account or of this server."""
        own, hosts = passage.account.jid.bare, self._hosts
        return stanza_ids.stripped(passage.stanza, lambda by: by.bare == own or by.bare in hosts)

    @stage(Stage.SANITISE, INBOUND, kinds=("message",))
    def strip_received(self, passage: Passage) -> Stanza:
        """Nobody else gives ids of this archive (§4)."""
        own = passage.account.jid.bare
        return stanza_ids.stripped(passage.stanza, lambda by: by.bare == own)

    @stage(Stage.STAMP, INBOUND, kinds=("message",))
    def stamp(self, passage: Passage) -> Stanza:
        """The recipient learns under which id it is stored (XEP-0313 §3.4); the sender's id is nobody else's affair."""
        archived = passage.archived
        assert isinstance(archived, Archived)
        return stanza_ids.stamped(passage.stanza, archived.id, passage.account.jid)

    # --- what is stored ----------------------------------------------------------------------------------------------

    @stage(Stage.ARCHIVE, OUTBOUND, kinds=("message",))
    def keep_sent(self, passage: Passage) -> Archived | NotArchived:
        """The sender's row."""
        account, to = passage.account, passage.stanza.to
        if to is None or to.bare == account.jid.bare:
            return _TO_ONESELF
        content = judge(passage.stanza, is_inbound=False)
        if content.is_marker:
            passage.turn.effect(self._marks.note, account.id, to.bare, passage.stanza)
        return self._keep(passage, content, to, store.SENT)

    @stage(Stage.ARCHIVE, INBOUND, kinds=("message",))
    def keep_received(self, passage: Passage) -> Archived | NotArchived:
        """The recipient's row."""
        stanza, account = passage.stanza, passage.account
        to, sender = stanza.to, stanza.from_
        if sender is None or to is None:
            return _NOBODY
        if to.resource and to.resource not in account.sessions and stanza.message_type == "normal":
            return _WILL_BOUNCE
        flags = store.RECEIVED
        if sender.bare == account.jid.bare:
            flags |= store.SENT
        return self._keep(passage, judge(stanza, is_inbound=True), sender, flags)

    def _keep(self, passage: Passage, content: Content, peer: JID, flags: int) -> Archived | NotArchived:
        if not content.is_kept:
            return NotArchived(content.reason)
        stanza, account = passage.stanza, passage.account
        wishes = account[PREFERENCES].now
        if wishes is not EVERYTHING and peer.bare != account.jid.bare:
            refusal = wishes.refusal(peer, lambda jid: self._is_contact(account, jid))
            if refusal:
                return NotArchived(refusal)
        crash_point("before-archive")
        number = self.kernel.ids.sortable()
        if content.is_retraction:
            at = time_of(number)
            passage.turn.effect(self._retractions.note, account.id, peer.bare, flags, stanza, at)
        passage.turn.write(None, store.INSERT, {
            "id": number, "account_id": account.id, "flags": flags | store.READABLE if content.is_readable else flags,
            "peer": peer.bare, "resource": peer.resource, "message_id": message_id(stanza),
            "stanza": stanza.document,
        })  # fmt: skip
        self._ends.coming(account.id)
        passage.turn.effect(self._ends.added, account.id, number)
        return Archived(number)

    def _is_contact(self, account: Account, jid: JID) -> bool:
        item = self._roster.item(account, jid)
        return item is not None and item.is_listed

    # --- queries -----------------------------------------------------------------------------------------------------

    @iq_get(NS.ARCHIVE, "query", at=ACCOUNT)
    def show_form(self, request: IqRequest) -> Element:
        """The fields that a query may have (§4.1.5)."""
        self._session(request)
        return self._form

    @iq_get(NS.ARCHIVE, "metadata", at=ACCOUNT)
    def describe(self, request: IqRequest) -> Later:
        """First and last message (§4.4)."""
        return Later(self._describe(request, self._session(request)))

    @iq_set(NS.ARCHIVE, "query", at=ACCOUNT)
    def ask(self, request: IqRequest) -> Later:
        """A page of the archive: results, then the answer (§4)."""
        session = self._session(request)
        assert request.account is not None
        return Later(self._answer(request, session, query.Query.from_element(request.payload, request.account.jid)))

    def _session(self, request: IqRequest) -> Session:
        """The session that asks; it fetches what is stored by now."""
        session = request.session
        if session is None:
            raise ServiceUnavailable("")
        if not session.fetches_up_to:
            session.fetches_up_to = self.kernel.ids.sortable()
        return session

    async def _describe(self, request: IqRequest, session: Session) -> Element:
        account = request.account
        assert account is not None
        async with self._slots.turn_of(session):
            return results.metadata((await self._ends.of(account.id))[0])

    async def _answer(self, request: IqRequest, session: Session, asked: query.Query) -> Element:
        account = request.account
        assert account is not None
        async with self._slots.turn_of(session):
            if session.is_closed:
                raise ServiceUnavailable("")  # nobody is there to read it
            await self._written()
            await self._archives.require(account.id, asked.required)
            size = asked.page.size(default=DEFAULT_PAGE, most=self.kernel.limits.archive_page)
            if not size:
                return await self._count(account, asked)
            page = await self._archives.page(
                account.id, asked.selection, size, after=asked.after, before=asked.before
            )
        rows = page.rows
        for stanza in results.results(
            reversed(rows) if asked.is_flipped else rows, asked.query_id, account.jid, session.jid
        ):
            request.turn.effect(session.send, stanza)  # before the answer, and past what holds back for the client
        if not rows:
            return results.fin(page.is_complete, page_element(count=0 if asked.is_whole else None))
        # To count what is on other pages would cost more than this one (XEP-0059 §2.2 lets us).
        count = len(rows) if page.is_complete and asked.is_whole else None
        first, last = stanza_ids.text_of(rows[0].id), stanza_ids.text_of(rows[-1].id)
        ends = page_element(first, last, count=count, index=None if count is None else 0)
        return results.fin(page.is_complete, ends)

    async def _count(self, account: Account, asked: query.Query) -> Element:
        """Only how many there are (XEP-0059 §2.7)."""
        anchors = [number for number in (asked.after, asked.before) if number is not None and number < store.HIGHEST]
        await self._archives.require(account.id, anchors)
        count = await self._archives.count(account.id, asked.selection)
        return results.fin(not count, page_element(count=count))

    async def _written(self) -> None:
        """What was stored before is part of what a client sees.

        Also what is on its way to the disk: it may have passed before the client was there to get it live, so that a
        page without it would hide it for ever (a row stored later is delivered to this client).
        """
        await self.kernel.gate.committed(self.kernel.gate.last)

    # --- sessions, accounts ------------------------------------------------------------------------------------------

    @on(events.ResourceBound)
    @on(events.SessionRestored)  # what it had begun to send again before the stop was perhaps not looked at
    def watch(self, event: events.ResourceBound | events.SessionRestored) -> None:
        """It may send again what another one sent (reliability.md C2); a session that is resumed is no new one."""
        event.session.intake = Window(self.kernel, event.session, self._lost)

    @on(events.SessionEnded)
    def forget(self, event: events.SessionEnded) -> None:
        """It asks and sends nothing any more. It and its window know each other: a cut frees both at once."""
        self._lost.ended(event.session, is_good_bye=event.is_good_bye)
        self._slots.forget(event.session)
        event.session.intake = None

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """Its archive goes behind it; nobody can ask for it any more."""
        account = event.account.id
        self._marks.forget(account)
        event.turn.write(event.account, DELETE_MARKS, {"account": account})
        event.turn.effect(self._upkeep.remove, account)

    @every(3_600)
    async def tidy(self) -> None:
        """Delete what is too old, or too much."""
        await self._upkeep.tidy(self.config.days, self.config.messages)

    @every(10)
    async def write_marks(self) -> None:
        """Write what accounts say they have read."""
        await self._marks.flush()

    # --- for others --------------------------------------------------------------------------------------------------

    async def conversations(self, account: Account, *, most: int = 100) -> Sequence[Conversation]:
        """See :class:`ArchiveService`."""
        await self._marks.flush()
        await self.kernel.gate.committed(self.kernel.gate.last)
        return await conversations(self.kernel, account.id, most)

    async def messages(
        self, account: Account, *, peer: str = "", before: str = "", after: str = "", most: int = DEFAULT_PAGE
    ) -> Sequence[ArchivedMessage]:
        """See :class:`ArchiveService`."""
        await self.kernel.gate.committed(self.kernel.gate.last)
        page = await self._archives.page(
            account.id, store.Selection(peer=peer), most, after=query.parse_id(after) if after else None,
            before=query.parse_id(before) if before else None if after else store.HIGHEST,
        )
        return [
            ArchivedMessage(
                stanza_ids.text_of(row.id), time_of(row.id), Stanza.from_element(parse_stored(row.stanza))
            )
            for row in page.rows if results.message_text(row) is not None
        ]

    async def metadata(self, account: Account) -> Element | None:
        """See :class:`ArchiveService`."""
        ends, is_known = await self._ends.of(account.id)
        return results.metadata(ends) if is_known else None

    async def last_id(self, account: Account) -> str:
        """See :class:`ArchiveService`."""
        ends, _ = await self._ends.of(account.id)
        return "" if ends is None else stanza_ids.text_of(ends[1])

    @command("conversations", changes=False)
    async def list_conversations(
        self, jid: Annotated[JID, Parameter("address of the account")],
        most: Annotated[int, Parameter("how many at most")] = 20,
    ) -> list[dict[str, object]]:
        """List with whom an account talks, without what is said."""
        account = await self._existing(jid)
        return [
            {"with": one.peer, "last": timestamp(one.last_at), "unread": one.unread}
            for one in await self.conversations(account, most=max(0, min(most, 10_000)))
        ]

    async def _existing(self, jid: JID) -> Account:
        account = await self.kernel.directory.get(jid.to_bare())
        if not account.exists:
            text = f"there is no account {account.jid}"
            raise CommandError(text, ItemNotFound(text))
        return account

    @command("archive stats", changes=False)
    async def stats(self, jid: Annotated[JID, Parameter("address of the account")]) -> dict[str, object]:
        """Tell how large the archive of an account is."""
        account = await self._existing(jid)
        await self.kernel.gate.committed(self.kernel.gate.last)
        count, first, last, size = await self._archives.statistics(account.id)
        moments = {"oldest": first, "newest": last}
        return {"messages": count, "bytes": size} | {
            name: timestamp(time_of(number)) if number else "" for name, number in moments.items()
        }

    async def export(self, account: Account) -> Sequence[Element]:
        """The whole archive, the oldest first (XEP-0227 §4.9)."""
        await self.kernel.gate.committed(self.kernel.gate.last)
        children = await results.everything(self._archives, account.id)
        return [Element("archive", NS.PORTABLE_ARCHIVE, None, children)] if children else []
