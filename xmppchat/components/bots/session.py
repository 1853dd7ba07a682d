"""A bot's session: a bound resource like a client's, without a connection.

What the bot writes goes the way of all stanzas (:meth:`Kernel.receive`), what comes for it is handed on. It answers
what clients ask of each other: who it is (XEP-0030), and that it takes nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from xmppchat.components.bots.capabilities import NODE, information
from xmppchat.core.account import Account
from xmppchat.core.iq import ANSWER_SECONDS
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import RosterService
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ResourceConstraint, ServiceUnavailable, StanzaError, StreamError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.xmlreader import parse_stored

log = structlog.get_logger(__name__)

#: Requests of one bot that wait for their answers, at most: its device asks a few things at a time.
MAX_OPEN: Final = 100
#: Messages whose refusal is listened for, at most.
MAX_WATCHED: Final = 1_000


class Refused(Exception):
    """A request was answered with an error: `conditions` are its elements' names, `text` is for people."""

    def __init__(self, conditions: frozenset[str], text: str) -> None:
        super().__init__(text or ", ".join(sorted(conditions)))
        self.conditions = conditions


class BotSession:
    """The session of `account`, and its :class:`~xmppchat.core.session.Output`. `on_message` gets the messages that
    come; with `accepts` it lets whoever asks see its presence; `encrypts`: it has a device.
    """

    def __init__(
        self, kernel: Kernel, account: Account, on_message: Callable[[Stanza], None], *,
        accepts: Callable[[], bool], encrypts: bool,
    ) -> None:
        self._kernel = kernel
        self._account = account
        self._on_message = on_message
        self._accepts = accepts
        self._info = information(encrypts=encrypts)
        self._open: dict[str, tuple[JID, asyncio.Future[Stanza]]] = {}
        self._watched: dict[str, str] = {}  # why messages were refused, by their ids; "" while they were not
        self._has_room = asyncio.Event()
        self._has_room.set()
        resource = f"bot.{kernel.ids.token()}"  # nobody can bind it away, nor ask for it without having seen it
        self.session = Session(
            account.jid.with_resource(resource), account, self, peer="this server", connected_at=kernel.clock.now()
        )
        kernel.add_session(self.session)

    @property
    def is_closed(self) -> bool:
        """Whether it was ended."""
        return self.session.is_closed

    def appear(self) -> None:
        """Become available: messages to the bare JID come here from now on, as do events of nodes."""
        ver = self._info.verification_string("sha-1")
        caps = Element("c", NS.CAPS, {"hash": "sha-1", "node": NODE, "ver": ver})
        self._receive(Element("presence", NS.CLIENT, None, (caps,)))

    def end(self) -> None:
        """Be gone."""
        self._kernel.end_session(self.session, is_good_bye=True)
        for _, waiting in self._open.values():
            if not waiting.done():
                waiting.set_exception(Refused(frozenset(), "the bot is not connected any more"))
        self._open.clear()

    # --- what the bot sends ------------------------------------------------------------------------------------------

    async def request(self, to: JID, kind: str, payload: Element) -> Stanza:
        """Ask `to` something; the result. Raises :class:`Refused`, also where no answer comes in time."""
        await self._has_room.wait()
        if self.is_closed or len(self._open) >= MAX_OPEN:
            raise Refused(frozenset(), "the bot cannot ask anything now")
        id = self._kernel.ids.token()
        waiting: asyncio.Future[Stanza] = asyncio.get_running_loop().create_future()
        self._open[id] = to, waiting
        timer = self._kernel.clock.call_later(ANSWER_SECONDS, self._give_up, waiting)
        try:
            self._receive(Element("iq", NS.CLIENT, {"to": to.full, "type": kind, "id": id}, (payload,)))
            answer = await waiting
        finally:
            timer.cancel()
            self._open.pop(id, None)
        if answer.type == "error":
            raise Refused(*_reasons(answer))
        return answer

    @staticmethod
    def _give_up(waiting: asyncio.Future[Stanza]) -> None:
        if not waiting.done():
            waiting.set_exception(Refused(frozenset({"remote-server-timeout"}), "no answer came in time"))

    async def say(self, to: JID, children: Sequence[Element]) -> str:
        """Send a chat message; returns its id when it is on disk where it is stored.

        Raises the stanza error by which it was refused. A server elsewhere may refuse it later.
        """
        await self._has_room.wait()
        if self.is_closed:
            raise ServiceUnavailable("the bot is not connected")
        kernel, id = self._kernel, self._kernel.ids.token()
        if len(self._watched) >= MAX_WATCHED:
            raise ResourceConstraint("the bot has too much to send at once; try again later")
        self._watched[id] = ""
        try:
            self._receive(Element("message", NS.CLIENT, {"to": to.full, "type": "chat", "id": id}, children))
            await self._begun(id)
            await kernel.gate.committed(kernel.gate.last)
            if refusal := self._watched[id]:
                raise ServiceUnavailable(refusal)
        finally:
            del self._watched[id]
        return id

    async def _begun(self, id: str) -> None:
        """Return when what the message `id` writes is on its way to the disk: its recipient may have to be loaded
        first, and somebody may look whether it is sent again."""
        for one in list(self._account.unbegun or ()):
            if one.session is self.session and one.stanza.id == id:
                await one.over()

    def _receive(self, element: Element) -> None:
        self._kernel.receive(self.session, element)

    # --- what comes for it (see Output) ------------------------------------------------------------------------------

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """Take a stanza. Nothing is answered in here: the turn that brings it is not over."""
        # As a client gets it: payloads out of the database are serialised, and nobody sees into them (ADR 11).
        stanza = Stanza.from_element(parse_stored(stanza.document))
        if stanza.kind == "message":
            if stanza.type != "error":
                self._on_message(stanza)
            elif stanza.id in self._watched:
                conditions, text = _reasons(stanza)
                self._watched[stanza.id] = text or ", ".join(sorted(conditions))
            else:
                log.info("a message of a bot came back", bot=self._account.jid.bare, sender=str(stanza.from_))
        elif stanza.kind == "iq":
            if stanza.is_request:
                asyncio.get_running_loop().call_soon(self._answer, stanza)
            else:
                self._answered(stanza)
        elif stanza.type == "subscribe" and stanza.from_ is not None and self._accepts():
            asyncio.get_running_loop().call_soon(self._accept, stanza.from_)

    def _answered(self, answer: Stanza) -> None:
        to, waiting = self._open.get(answer.id, (None, None))
        if waiting is not None and not waiting.done() and answer.from_ == to:
            waiting.set_result(answer)

    def _answer(self, request: Stanza) -> None:
        if self.is_closed or request.from_ is None:
            return
        query = request.payload
        if request.type == "get" and query is not None and query.is_named("query", NS.DISCO_INFO):
            attributes, children = {"type": "result"}, self._description(query.get("node"))
        else:
            attributes, children = {"type": "error"}, [ServiceUnavailable("a bot takes messages only").to_element()]
        address = {"to": request.from_.full, "id": request.id}
        self._receive(Element("iq", NS.CLIENT, {**address, **attributes}, children))

    def _description(self, node: str) -> list[Element]:
        identities = [
            Element("identity", NS.DISCO_INFO, {"category": one.category, "type": one.type, "name": one.name or None})
            for one in self._info.identities
        ]
        features = [Element("feature", NS.DISCO_INFO, {"var": name}) for name in self._info.features]
        return [Element("query", NS.DISCO_INFO, {"node": node or None}, [*identities, *features])]

    def _accept(self, contact: JID) -> None:
        roster = self._kernel.services.get(RosterService)
        if not self.is_closed and roster.has_room(self._account):
            self._receive(Element("presence", NS.CLIENT, {"to": contact.bare, "type": "subscribed"}))

    def send_nonza(self, element: Element) -> None:
        """A bot has no stream."""

    def pause_reading(self, reason: str) -> None:
        """Too much of it waits for the disk."""
        self._has_room.clear()

    def resume_reading(self, reason: str) -> None:
        """See :meth:`pause_reading`."""
        self._has_room.set()

    def close(self, error: StreamError | None) -> None:
        """The server ends the session: an admin did, or the account is gone."""
        self._has_room.set()
        self.end()

    def replaced(self) -> None:
        """Nobody resumes a bot's session."""


def _reasons(answer: Stanza) -> tuple[frozenset[str], str]:
    """Conditions and text of an error."""
    error = answer.find("error")
    if error is None:
        return frozenset({StanzaError.condition}), ""
    text = error.child_text("text", NS.STANZA_ERROR) or ""
    return frozenset(child.name for child in error.elements() if child.name != "text"), text


__all__ = ["BotSession", "Refused"]
