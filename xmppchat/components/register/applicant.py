"""One connection before login that wants an account."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog

from xmppchat.core import lookalikes
from xmppchat.core.callers import is_admin
from xmppchat.core.networks import network_of
from xmppchat.core.services import Invitation, RosterItem
from xmppchat.core.turn import Turn
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import Conflict, ItemNotFound, JidMalformed, NotAcceptable, NotAllowed, StanzaError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

if TYPE_CHECKING:
    from xmppchat.components.register.component import Register

log = structlog.get_logger(__name__)


class Applicant:
    """One connection before login: see :class:`~xmppchat.core.services.Registration`."""

    def __init__(self, register: Register, domain: str, peer: str) -> None:
        self._register = register
        self._domain = domain
        self._peer = peer
        self._invitation: Invitation | None = None

    async def answer(self, request: Stanza) -> Stanza:
        """See :class:`~xmppchat.core.services.Registration`."""
        request.from_, request.to = None, None
        payload = request.payload
        assert payload is not None
        try:
            if payload.name == "preauth":
                result = await self._invited(payload)
            else:
                result = await self._registration(request, payload)
        except StanzaError as error:
            answer = request.error(error)
        else:
            answer = request.result(result)
        assert answer is not None, "a request can always be answered"
        return answer.replace(from_=JID.parse(self._domain))

    async def _invited(self, preauth: Element) -> Element | None:
        """XEP-0445 §5: a token is shown; it is used up only by the account that is made with it."""
        invitation = None
        if self._register.config.mode != "closed":
            network = network_of(self._peer)
            invitation = await self._register.invitations.find(preauth.get("token"), self._domain, network)
        if invitation is None or not invitation.is_account:
            raise ItemNotFound("this invitation is not valid, or no longer; ask for another one")
        self._invitation = invitation
        return None

    async def _registration(self, request: Stanza, query: Element) -> Element | None:
        mode = self._register.config.mode
        if mode == "closed":
            raise NotAllowed("accounts are made by the admin of this server")
        if mode == "invite" and self._invitation is None:
            raise NotAllowed("accounts are for the invited: open the link of your invitation with this client")
        if request.type == "get":
            return registration_form(self._invitation.localpart if self._invitation is not None else "")
        await self._create(query)
        return None

    async def _create(self, query: Element) -> None:
        jid = self._address(query.child_text("username") or "")
        password = query.child_text("password") or ""
        self._register.check_password(password)
        budget = self._register.spend(self._peer, is_invited=self._invitation is not None)
        try:
            await self._check_name(jid)
            await self._make(jid, password)
        except StanzaError:
            if budget is not None:
                budget.give_back()
            raise

    def _address(self, username: str) -> JID:
        if not username:
            raise NotAcceptable("a user name and a password are needed")
        try:
            jid = JID.parse(f"{username}@{self._domain}")
        except InvalidJID as error:
            raise JidMalformed(str(error)) from None
        if jid.domain != self._domain or not jid.local or jid.resource:
            raise JidMalformed("a user name has no '@' and no '/'")
        return jid

    async def _check_name(self, jid: JID) -> None:
        """The name an invitation asks for, and none that is another's or looks like it (V-25)."""
        wanted = self._invitation.localpart if self._invitation is not None else ""
        if self._is_kept_for_an_admin(jid):
            raise Conflict("this name is taken; choose another")
        if wanted:
            if jid.local != wanted:
                raise NotAcceptable(f"this invitation is for the name {wanted}")
        elif await self._register.invitations.is_reserved(jid):
            raise Conflict("this name is taken; choose another")
        if lookalikes.is_mixed(jid.local):
            raise NotAcceptable("a name does not mix letters of several scripts; choose another")
        if await self._register.accounts.resembles(jid):
            raise Conflict("this name looks too much like one that is taken; choose another")

    def _is_kept_for_an_admin(self, jid: JID) -> bool:
        """Whether the configuration makes an admin of `jid`, whoever has it: it is for whom the operator names in an
        invitation, also where its account is not made yet or was deleted (V-30). Nor is what looks like it (V-25)."""
        invitation, config = self._invitation, self._register.kernel.config
        if invitation is not None and not invitation.creator and invitation.localpart == jid.local:
            return False
        return is_admin(config, jid) or any(
            admin.domain == jid.domain and lookalikes.may_be_mistaken(jid.local, admin.local)
            and lookalikes.skeleton(jid.local) == lookalikes.skeleton(admin.local)
            for host in config.hosts.values() for admin in host.admins
        )  # fmt: skip

    async def _make(self, jid: JID, password: str) -> None:
        register, invitation = self._register, self._invitation
        kernel = register.kernel
        turn = kernel.new_turn()
        async with AsyncExitStack() as redeemed:
            if invitation is not None:
                await redeemed.enter_async_context(register.invitations.redemption(invitation, jid, turn))
            account_id = await register.accounts.create(jid, password, turn)
            if invitation is not None and invitation.creator:
                await self._introduce(jid, account_id, JID.parse(invitation.creator), turn)
            await kernel.settled(turn)
        inviter = "" if invitation is None else invitation.creator or "admin"
        log.info("account registered", account=jid.bare, peer=self._peer, invited_by=inviter)
        self._invitation = None

    async def _introduce(self, jid: JID, account_id: int, inviter: JID, turn: Turn) -> None:
        """XEP-0401 §5: who invites and who is invited are contacts, in the same moment as there is an account."""
        directory, roster = self._register.kernel.directory, self._register.roster
        account = await directory.get(inviter)
        if not account.exists or not roster.has_room(account):
            return
        roster.store_for_new(await directory.get(jid), account_id, RosterItem(inviter, "both"), turn)
        roster.store(account, RosterItem(jid, "both"), turn, push=True)


def registration_form(localpart: str = "") -> Element:
    """What is asked for (XEP-0077 §3.1); with the name that an invitation is for."""
    return Element("query", NS.REGISTER, None, [
        text_element("instructions", NS.REGISTER, "Choose a user name and a password."),
        text_element("username", NS.REGISTER, localpart),
        Element("password", NS.REGISTER),
    ])
