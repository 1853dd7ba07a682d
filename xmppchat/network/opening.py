"""From login to stanzas: a resource is bound (RFC 6120 §7), or a former session goes on (XEP-0198 §5).

With SASL2 both are asked for with the login and told with its success (XEP-0386 §3.2, XEP-0198 §9): first what came of
the login itself, then resumption, and only where that fails a new resource.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from xmppchat.core.account import Account
from xmppchat.core.commit_gate import StorageUnavailable
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import ArchiveService, DeviceService, ResumptionService, Successor
from xmppchat.core.session import Session
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol import stream_management
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import (
    BadRequest,
    ItemNotFound,
    ResourceConstraint,
    StanzaError,
    StreamConflict,
    StreamError,
    StreamInternalServerError,
    StreamResourceConstraint,
)
from xmppchat.protocol.sasl2 import LoginRequest
from xmppchat.protocol.stream import Stream
from xmppchat.protocol.stream_phases import Phase

log = structlog.get_logger(__name__)

_TOO_MANY = "too many devices are connected; disconnect one first"
_NO_ACCOUNT = "the account cannot be opened at the moment"


class Holder(Successor, Protocol):
    """The connection that gets a session."""

    def adopt(self, session: Session) -> None:
        """Hold `session` from now on."""


class Opening:
    """One client that has logged in as `account`, with its `access` of then, and has no session yet."""

    __slots__ = ("_access", "_account", "_device_id", "_holder", "_kernel", "_peer", "_request", "_stream")

    def __init__(self, kernel: Kernel, stream: Stream, holder: Holder, account: JID, peer: str, access: int) -> None:
        self._kernel = kernel
        self._stream = stream
        self._holder = holder
        self._account = account
        self._access = access
        self._peer = peer
        self._device_id = 0
        self._request: LoginRequest | None = None  # of SASL2, while it is worked on

    # --- a resource (RFC 6120 §7) -------------------------------------------------------------------------------

    def bind(self, resource: str) -> None:
        """A resource is asked for, "" leaves it to the server."""
        try:
            jid = self._account.with_resource(resource or self._kernel.ids.token())
        except InvalidJID:
            self._stream.bind_failed(BadRequest("this resource is not a valid one; leave it out to get one"))
            return
        self._kernel.directory.load(self._account, lambda account: self._bind(jid, account))

    def _bind(self, jid: JID, account: Account | None) -> None:
        if self._stream.phase is not Phase.BINDING:
            return
        if account is None or self._is_shut(account):
            self._holder.close(StreamInternalServerError(_NO_ACCOUNT))
            return
        if self._is_full(account, jid):
            self._stream.bind_failed(ResourceConstraint(_TOO_MANY))
        else:
            self._begin(account, jid)
            self._stream.bound(jid)
        self._holder.resume()

    def _is_shut(self, account: Account) -> bool:
        """Whether nobody gets in any more, or nobody with the password that was proved."""
        return not account.exists or account.is_disabled or account.access != self._access

    def _is_full(self, account: Account, jid: JID) -> bool:
        if len(account.sessions) < self._kernel.limits.sessions_per_account or jid.resource in account.sessions:
            return False
        self._kernel.limit_counters.fired("sessions_per_account")
        return True

    def _begin(self, account: Account, jid: JID, *, fetches_up_to: int = 0) -> Session:
        kernel = self._kernel
        session = Session(
            jid, account, self._holder, peer=self._peer, connected_at=kernel.clock.now(), lang=self._stream.lang,
            device_id=self._device_id,
        )
        session.fetches_up_to = fetches_up_to
        self._holder.adopt(session)
        kernel.add_session(session)
        return session

    # --- a former session (XEP-0198 §5) -------------------------------------------------------------------------

    def resume(self, previd: str, handled: int | None) -> None:
        """A former session is asked for."""
        service = self._kernel.services.get(ResumptionService)
        account = self._kernel.directory.find(self._account.bare)
        if account is not None and self._is_shut(account):
            self._holder.close(StreamInternalServerError(_NO_ACCOUNT))
            return
        if handled is None:
            self._not_resumed(stream_management.failed(BadRequest()))
            return
        try:
            if service.resume(self._account, previd, handled, self._holder):
                return
        except StreamError as error:
            self._holder.close(error)
            return
        self._kernel.tasks.spawn(self._tell_handled(service, previd), name="resumption")

    async def _tell_handled(self, service: ResumptionService, previd: str) -> None:
        try:
            handled = await service.last_handled(self._account, previd)
        except StorageUnavailable:
            handled = None
        if self._stream.phase is Phase.BINDING:
            self._not_resumed(stream_management.failed(ItemNotFound(), handled))
            self._holder.resume()

    def _not_resumed(self, answer: Element) -> None:
        self._stream.resume_failed(answer)
        if self._request is not None:
            self._kernel.tasks.spawn(self._bind_2(self._request), name="bind")

    def take_over(self, session: Session, answer: Element) -> bool:
        """See :class:`~xmppchat.core.services.Successor`."""
        if self._stream.phase is not Phase.BINDING:
            return False
        session.device_id = self._device_id or session.device_id
        self._holder.adopt(session)
        self._stream.resumed(answer, session.jid)
        return True

    # --- both with the login (XEP-0388 §2.6.1, XEP-0386 §3.2) --------------------------------------------------

    async def open(self, request: LoginRequest, token: bytes | None) -> None:
        """The client has logged in by SASL2, with `token` or the password: do what it asked for with that."""
        self._request = request
        try:
            account = await self._kernel.directory.get(self._account)
            await self._note_device(account, request, token)
        except (StorageUnavailable, StanzaError):
            self._holder.close(StreamInternalServerError(_NO_ACCOUNT))
            return
        if self._stream.phase is not Phase.BINDING:
            return
        if request.resume is not None:
            self.resume(request.resume.previd, request.resume.handled)
        else:
            await self._bind_2(request)

    async def _note_device(self, account: Account, request: LoginRequest, token: bytes | None) -> None:
        turn = self._kernel.new_turn()
        bindings = self._stream.channel_bindings
        outcome = self._kernel.services.get(DeviceService).logged_in(account, request, token, bindings, turn)
        self._device_id = outcome.device_id
        if turn.has_writes:
            await self._kernel.settled(turn)  # a token that is told is one that works, whatever happens
        if outcome.token is not None:
            self._stream.include(outcome.token)

    async def _bind_2(self, request: LoginRequest) -> None:
        if request.bind is None:
            self._stream.opened()
            self._holder.resume()
            return
        try:
            account = await self._kernel.directory.get(self._account)
            metadata = await self._kernel.services.get(ArchiveService).metadata(account)
        except StorageUnavailable:
            self._holder.close(StreamInternalServerError(_NO_ACCOUNT))
            return
        # From here to the success nothing is waited for: what the archive's end does not cover comes live.
        if self._stream.phase is not Phase.BINDING:
            return
        if self._is_shut(account):
            self._holder.close(StreamInternalServerError(_NO_ACCOUNT))
            return
        jid = self._resource(account, request)
        self._end_earlier(account, jid)
        if self._is_full(account, jid):
            self._holder.close(StreamResourceConstraint(_TOO_MANY))
            return
        # What was stored until now it gets from the archive, and not once more at its first presence (§3.2).
        session = self._begin(account, jid, fetches_up_to=self._kernel.ids.sortable())
        told = [metadata] if metadata is not None else []
        self._stream.bound(jid, [*told, *self._kernel.enable_inline(session, request.bind.features)])
        self._holder.resume()

    def _resource(self, account: Account, request: LoginRequest) -> JID:
        """§3.2.1: the client's tag and a part of the server's, which stays the same for an installation."""
        assert request.bind is not None
        suffix = self._kernel.services.get(DeviceService).resource_suffix(account, request.user_agent.id)
        tag = request.bind.tag
        try:
            return account.jid.with_resource(f"{tag}/{suffix}" if tag else suffix)
        except InvalidJID:
            return account.jid.with_resource(suffix)

    def _end_earlier(self, account: Account, jid: JID) -> None:
        """§3.2: an installation has one session; that of the same resource ends with the bind anyway."""
        for session in list(account.sessions.values()):
            if self._device_id and session.device_id == self._device_id and session.jid.resource != jid.resource:
                session.close(StreamConflict("the same client has logged in anew"))
                self._kernel.end_session(session)
