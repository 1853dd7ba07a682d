"""Router: where a JID leads, and what happens to a stanza there (RFC 6120 §10, RFC 6121 §8).

:meth:`Router.resolve` is the one place that knows hosts, workers and remote domains; components never ask "is this
local?". With one worker every local account is here.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

import structlog

from xmppchat.core.account import Account
from xmppchat.core.component import INBOUND
from xmppchat.core.directory import Directory
from xmppchat.core.domains import Domains
from xmppchat.core.links import Links
from xmppchat.core.pipeline import Passage, Pipeline
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.errors import (
    InternalServerError,
    RemoteServerNotFound,
    RemoteServerTimeout,
    ResourceConstraint,
    ServiceUnavailable,
    StanzaError,
)
from xmppchat.protocol.message_content import content_of
from xmppchat.protocol.stanza import Stanza

if TYPE_CHECKING:
    from xmppchat.core.iq import IqDispatcher
    from xmppchat.core.tables import Tables

log = structlog.get_logger(__name__)


class Target(enum.Enum):
    """Where a JID leads."""

    LOCAL_SESSION = "local session"  # a full JID of a host of ours
    LOCAL_ACCOUNT = "local account"  # a bare JID of a host of ours
    LOCAL_SERVICE = "local service"  # a host itself
    EXTERNAL_COMPONENT = "external component"  # a component's domain, or anybody there (XEP-0114)
    COMPONENT_DOMAIN = "component's domain"  # of a component in this process, or an address there (ADR 21)
    REMOTE_DOMAIN = "remote domain"


class Router:
    """Takes stanzas with their final `from` to where they belong. Errors go back to the sender the same way."""

    def __init__(
        self, hosts: Collection[str], domains: Domains, links: Links, directory: Directory, pipeline: Pipeline,
        tables: Tables, new_turn: Callable[[Session | None], Turn],
    ) -> None:
        self._hosts = frozenset(hosts)
        self._domains = domains
        self._links = links
        self._new_turn = new_turn
        self._directory = directory
        self._pipeline = pipeline
        self._presence = tables.presence
        self.iq: IqDispatcher  # set by the kernel: the two need each other

    def resolve(self, jid: JID) -> Target:
        """Where `jid` leads. (Other workers are a further answer, behind this same question.)"""
        if jid.domain not in self._hosts:
            if jid.domain in self._links.domains:
                return Target.EXTERNAL_COMPONENT
            return Target.COMPONENT_DOMAIN if jid.domain in self._domains else Target.REMOTE_DOMAIN
        if not jid.local:
            return Target.LOCAL_SERVICE
        return Target.LOCAL_SESSION if jid.resource else Target.LOCAL_ACCOUNT

    def is_cold(self, jid: JID) -> bool:
        """Whether `jid` is of a local account, or an address of a component's, whose state must be loaded before it can
        be decided on.
        """
        is_kept = bool(jid.local) if jid.domain in self._hosts else jid.domain in self._domains
        return is_kept and self._directory.peek(jid.bare) is None

    def route(self, stanza: Stanza, turn: Turn) -> None:
        """Deliver `stanza` to its `to`. What it causes is part of `turn`."""
        to = stanza.to
        assert to is not None, "a stanza is routed by its 'to'"
        target = self.resolve(to)
        if target is Target.REMOTE_DOMAIN:
            self.bounce(stanza, RemoteServerNotFound(f"{to.domain} cannot be reached from here"), turn)
        elif target is Target.LOCAL_SERVICE:
            self._to_service(stanza, turn)
        elif target is Target.EXTERNAL_COMPONENT:
            turn.effect(self._to_link, stanza)
        elif target is Target.COMPONENT_DOMAIN:
            self._to_domain(to, stanza, turn)
        else:
            account = self._directory.peek(to.bare)
            if account is not None:
                self._to_account(account, stanza, turn)
            elif stanza.kind == "presence" and stanza.type == "probe":
                # Not in memory, so no session. RFC 6121 §4.3.2 leaves it to the server whether it says so; to who is
                # blocked it must not (XEP-0191 §3.3), and who that is would have to be loaded for every contact.
                return
            else:
                turn.park()
                self._directory.load(to, lambda account: self._loaded(account, stanza, turn))

    def bounce(self, stanza: Stanza, error: StanzaError, turn: Turn, *, was_sent: bool = True) -> None:
        """Answer `stanza` with `error`, unless it must not be answered so (RFC 6120 §8.3.1).

        `was_sent`: it is on its way, and may be in the archive of its sender; then so is the answer.
        """
        answer = stanza.error(error)
        if answer is not None and answer.to is not None:
            self.reply(answer, turn, is_kept=was_sent and stanza.kind == "message" and content_of(stanza).is_kept)

    def reply(self, answer: Stanza, turn: Turn, *, is_kept: bool = False) -> None:
        """Send an answer of the server's to whoever asked; it is never answered itself. `is_kept`: it is archived."""
        to = answer.to
        assert to is not None
        target = self.resolve(to)
        if target is Target.EXTERNAL_COMPONENT:
            turn.effect(self._to_link, answer)
            return
        if target is Target.COMPONENT_DOMAIN:
            self._to_domain(to, answer, turn)
            return
        if target is Target.LOCAL_SERVICE and answer.kind == "iq":
            self.iq.to_server(answer, turn)  # the server asked itself
            return
        account = self._directory.find(to.bare)
        if account is None:
            return
        if answer.kind == "message" and account.exists:
            passage = Passage(answer, INBOUND, account, turn)
            # The other devices learn of it, too, also when the one that is told is gone.
            self._pipeline.tell(passage, is_kept=is_kept)
            answer = passage.stanza
        session = account.sessions.get(to.resource)
        if session is not None:
            if answer.kind == "iq":
                session.take_request(answer.from_, answer.id)  # it has its answer, and gets no other
            turn.effect(session.deliver, answer)

    def session(self, jid: JID) -> Session | None:
        """The local session with this full JID."""
        account = self._directory.find(jid.bare)
        return None if account is None else account.sessions.get(jid.resource)

    def fan_out(
        self, stanza: Stanza, recipients: Iterable[JID], turn: Turn, *, may_see: Callable[[JID], bool] | None = None
    ) -> None:
        """Send presence to many bare JIDs, each as `to`; the payload is serialised once.

        An account that is not in memory has no sessions and nobody to tell: it is not loaded for this. `may_see`
        says of a bare JID, and of each resource there, whether the sender shows itself to it; None: to all.
        """
        hosts = self._hosts
        find = self._directory.find
        has_inbound = self._pipeline.has_inbound
        for jid in recipients:
            if jid.domain not in hosts:
                # Other servers are not reached yet, and presence that is broadcast is not bounced.
                if jid.domain in self._links.domains and (may_see is None or may_see(jid)):
                    turn.effect(self._show, stanza, jid)
                continue
            account = find(jid.bare)
            if account is None or not account.sessions or (may_see is not None and not may_see(jid)):
                continue
            if may_see is not None or has_inbound("presence", account):
                passage = Passage(stanza.replace(to=jid), INBOUND, account, turn)
                if self._pipeline.admit(passage, self):
                    for session in account.present_sessions():
                        if may_see is None or may_see(session.jid):
                            turn.effect(session.deliver, passage.stanza)
                continue
            for session in account.sessions.values():
                if session.presence is not None:
                    turn.effect(session.deliver, stanza, jid)

    # --- to the server itself ------------------------------------------------------------------------------------

    def _to_service(self, stanza: Stanza, turn: Turn) -> None:
        if stanza.kind == "iq":
            self.iq.to_server(stanza, turn)
        elif stanza.kind == "message" and stanza.type != "error":
            # Nobody reads a server's mail (RFC 6120 §10.5.1 leaves it to the server).
            self.bounce(stanza, ServiceUnavailable("the server itself takes no messages"), turn)

    # --- to a domain of a component's own ------------------------------------------------------------------------

    def _to_domain(self, to: JID, stanza: Stanza, turn: Turn) -> None:
        """No rules of an account's apply: whatever happens is the component's to say."""
        address = self._directory.peek(to.bare)
        if address is None:
            turn.park()
            self._directory.load(to, lambda address: self._loaded(address, stanza, turn))
        else:
            self._to_address(address, stanza, turn)

    def _to_address(self, address: Account, stanza: Stanza, turn: Turn) -> None:
        owner = self._domains[address.jid.domain]
        if stanza.kind == "iq":
            self.iq.to_domain(owner.name, address, stanza, turn)
            return
        turn.behind(address)
        try:
            owner.receive(address, stanza, turn)
        except StanzaError as error:
            self.bounce(stanza, error, turn)
        except Exception:
            log.exception("component failed at a stanza", component=owner.name, stanza=repr(stanza))
            self.bounce(stanza, InternalServerError("the server failed at this stanza; its log says why"), turn)

    # --- over a link: looked up when the stanza leaves, since links come and go meanwhile --------------------------

    def _to_link(self, stanza: Stanza) -> None:
        to = stanza.to
        assert to is not None
        link = self._links.get(to.domain)
        if link is not None:
            link.deliver(stanza)
        elif stanza.kind != "presence" or stanza.type != "probe":  # nobody sent a probe who could be told
            # RFC 6120 §8.3.3.16: it is known and does not answer.
            # As of the sender's session: what it is told stays in order, though some of it is archived first.
            turn = self._new_turn(self.session(stanza.from_) if stanza.from_ is not None else None)
            self.bounce(stanza, RemoteServerTimeout(f"{to.domain} is not connected at the moment"), turn)
            turn.commit()

    def _show(self, stanza: Stanza, to: JID) -> None:
        link = self._links.get(to.domain)
        if link is not None:
            link.deliver(stanza, to)

    # --- to an account -------------------------------------------------------------------------------------------

    def _loaded(self, account: Account | None, stanza: Stanza, turn: Turn) -> None:
        if account is None:
            self.bounce(stanza, ResourceConstraint("the recipient cannot be looked up at the moment"), turn)
        elif account.jid.domain in self._domains:
            self._to_address(account, stanza, turn)
        else:
            self._to_account(account, stanza, turn)
        turn.unpark()

    def _to_account(self, account: Account, stanza: Stanza, turn: Turn) -> None:
        kind = stanza.kind
        if not account.exists:
            # RFC 6121 §8.5.1: presence to nobody is ignored, the rest may be bounced.
            if kind != "presence":
                self.bounce(stanza, ServiceUnavailable(""), turn)
            return
        if self._pipeline.has_inbound(kind, account):
            passage = Passage(stanza, INBOUND, account, turn)
            if not self._pipeline.admit(passage, self):
                return
            stanza = passage.stanza
        if kind == "message":
            self._message(account, stanza, turn)
        elif kind == "presence":
            self._presence_to(account, stanza, turn)
        else:
            self._iq(account, stanza, turn)

    def _message(self, account: Account, stanza: Stanza, turn: Turn) -> None:
        """RFC 6121 §8.5.2 and §8.5.3, table 1."""
        to = stanza.to
        assert to is not None
        kind = stanza.message_type
        if to.resource:
            session = account.sessions.get(to.resource)
            if session is not None:
                turn.effect(session.deliver, stanza)
                self._pipeline.observe(account, stanza, turn, 1)
                return
            if kind != "chat":
                if kind == "normal" or kind == "groupchat":
                    # §8.5.3.2.1: not for another resource; the sender is told.
                    self.bounce(stanza, ServiceUnavailable("this resource is not connected"), turn)
                return
            # A chat message to a resource that is gone is treated as to the bare JID.
        if kind == "groupchat":
            self.bounce(stanza, ServiceUnavailable("an account is not a room"), turn)
            return
        if kind == "error":
            return  # §8.5.2.1.1: silently ignored
        sessions = account.available_sessions()
        for session in sessions:
            turn.effect(session.deliver, stanza)
        is_stored = not sessions and kind != "headline" and self.fall_back(account, stanza, turn)
        self._pipeline.observe(account, stanza, turn, len(sessions), is_stored=is_stored)

    def fall_back(self, account: Account, stanza: Stanza, turn: Turn) -> bool:
        """§8.5.2.2.1: nobody is there to take it. Whether it was taken care of; if not, its sender is told."""
        try:
            if not self._pipeline.fall_back(account, stanza, turn):
                raise ServiceUnavailable("")
        except StanzaError as error:
            self.bounce(stanza, error, turn)
            return False
        return True

    def _presence_to(self, account: Account, stanza: Stanza, turn: Turn) -> None:
        handler = self._presence.get((INBOUND, stanza.type))
        if handler is not None:
            handler(account, stanza, turn)
            return
        to = stanza.to
        assert to is not None
        if to.resource:  # §8.5.3.1, §8.5.3.2.2
            session = account.sessions.get(to.resource)
            if session is not None:
                turn.effect(session.deliver, stanza)
        elif stanza.type != "error":  # §8.5.2.1.2
            for session in account.present_sessions():
                turn.effect(session.deliver, stanza)

    def _iq(self, account: Account, stanza: Stanza, turn: Turn) -> None:
        to = stanza.to
        assert to is not None
        if not to.resource:
            self.iq.to_account(account, stanza, turn)
            return
        session = account.sessions.get(to.resource)
        if session is None:
            self.bounce(stanza, ServiceUnavailable(""), turn)  # §8.5.3.2.3
        elif stanza.is_request or session.take_request(stanza.from_, stanza.id):
            turn.effect(session.deliver, stanza)


__all__ = ["Router", "Target"]
