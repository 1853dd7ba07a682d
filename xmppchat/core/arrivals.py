"""Arrivals: stanzas that come over a link, from a domain that is not served here.

They are judged by their recipients' rules, like those of any stranger: the domain has proved itself, nobody in it has.
Stanzas of one link are handled in the order in which they came (RFC 6120 §10.1); one that waits for its recipient to be
loaded keeps those behind it waiting, and where too many wait the link is not read (:meth:`Link.hold`).
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from xmppchat.core.commit_gate import CommitGate
from xmppchat.core.directory import Directory
from xmppchat.core.iq import check_request
from xmppchat.core.links import Link
from xmppchat.core.router import Router
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol import delay, stanza_ids
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import (
    BadRequest,
    ImproperAddressing,
    InternalServerError,
    InvalidFrom,
    JidMalformed,
    ResourceConstraint,
    StanzaError,
)
from xmppchat.protocol.stanza import PRESENCE_TYPES, MalformedAddress, Stanza

log = structlog.get_logger(__name__)


class Arrivals:
    """Takes stanzas from links. `hosts` are here, domains of components included; the first answers where none can."""

    def __init__(self, router: Router, directory: Directory, gate: CommitGate, hosts: Sequence[str]) -> None:
        self._router = router
        self._directory = directory
        self._gate = gate
        self._hosts = frozenset(hosts)
        self._host = JID.parse(hosts[0])

    def receive(self, link: Link, element: Element) -> None:
        """A stanza from `link`. Raises the :class:`StreamError` that ends it where it may not send this at all."""
        link.counts.received += 1
        try:
            stanza = Stanza.from_element(element)
        except MalformedAddress as error:
            if error.attribute == "from":
                raise InvalidFrom(str(error)) from None
            self._refuse_malformed(link, element, error)
            return
        _check_sender(link, stanza)
        if stanza.to is None:
            # RFC 6120 §8.1.1.2; XEP-0114 §3 wants it as between servers.
            raise ImproperAddressing("a stanza from a component needs a 'to'")
        self._admit(link, stanza, stanza.to)

    def _admit(self, link: Link, stanza: Stanza, to: JID) -> None:
        is_cold = self._router.is_cold(to)
        if not is_cold and not link.lane:
            self._begin(link, stanza)
            return
        link.hold()
        waiting = _Waiting(stanza, is_ready=not is_cold)
        link.lane.append(waiting)
        if is_cold:
            self._directory.load(to, lambda account: self._loaded(link, waiting, is_found=account is not None))

    def _loaded(self, link: Link, waiting: _Waiting, *, is_found: bool) -> None:
        waiting.is_ready = True
        waiting.is_refused = not is_found
        lane = link.lane
        while lane and lane[0].is_ready:
            self._go_on(link, lane.popleft())

    def _go_on(self, link: Link, waiting: _Waiting) -> None:
        link.unhold()
        if waiting.is_refused:
            error = ResourceConstraint("the recipient cannot be looked up at the moment")
            self._refuse(waiting.stanza, error, Turn(self._gate, link=link))
        else:
            self._begin(link, waiting.stanza)  # also if the link is closed meanwhile: it was taken

    def _begin(self, link: Link, stanza: Stanza) -> None:
        turn = Turn(self._gate, link=link)
        # By then everything before it is settled: the refusal waits for nothing.
        turn.on_failure = lambda error: self._refuse(stanza, error, Turn(self._gate))
        try:
            _check(stanza)
            self._router.route(self._without_claims(stanza), turn)
        except StanzaError as error:
            turn.drop()
            self._router.bounce(stanza, error, turn)
        except Exception:
            log.exception("stanza could not be handled", stanza=repr(stanza))
            turn.drop()
            self._router.bounce(
                stanza, InternalServerError("the server failed at this stanza; its log says why"), turn
            )
        turn.commit()

    def _without_claims(self, stanza: Stanza) -> Stanza:
        """Strangers say nothing in the name of this server or anybody here (reliability.md V-27)."""
        if stanza.kind == "iq":
            return stanza
        return stanza_ids.stripped(delay.stripped(stanza, self._is_here), self._is_here)

    def _is_here(self, jid: JID) -> bool:
        return jid.domain in self._hosts

    def _refuse(self, stanza: Stanza, error: StanzaError, turn: Turn) -> None:
        self._router.bounce(stanza, error, turn)
        turn.commit()

    def _refuse_malformed(self, link: Link, element: Element, error: MalformedAddress) -> None:
        # One user's typing error must not end the connection of a gateway with a thousand others.
        try:
            stanza = Stanza.from_element(element.replace(attributes={"to": None}, children=()))
        except MalformedAddress as worse:
            raise InvalidFrom(str(worse)) from None
        _check_sender(link, stanza)
        self._refuse(stanza.replace(to=self._host), JidMalformed(str(error)), Turn(self._gate, link=link))


class _Waiting:
    """A stanza that is not begun, since its recipient, or that of an earlier one, is being loaded."""

    __slots__ = ("is_ready", "is_refused", "stanza")

    def __init__(self, stanza: Stanza, *, is_ready: bool) -> None:
        self.stanza = stanza
        self.is_ready = is_ready
        self.is_refused = False


def _check_sender(link: Link, stanza: Stanza) -> None:
    """XEP-0114 §3: 'from' is in the component's domain, and that exactly. Raises :class:`StreamError`."""
    if stanza.from_ is None:
        raise ImproperAddressing("a stanza from a component needs a 'from'")
    if stanza.from_.domain != link.domain:
        raise InvalidFrom(f"{link.domain} may not send as {stanza.from_}")


def _check(stanza: Stanza) -> None:
    """Raises what is wrong with a stanza as such."""
    if stanza.kind == "iq":
        problem = check_request(stanza)
        if problem is not None:
            raise problem
    elif stanza.kind == "presence" and stanza.type not in PRESENCE_TYPES:
        raise BadRequest("there is no such type of presence (RFC 6121 §4.7.1)")
