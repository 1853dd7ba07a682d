"""Invitations (XEP-0401): a token lets somebody make an account (XEP-0445), be a contact at once (XEP-0379), or both.

A token is used as often as it says and never once more: its use is numbered and written together with what it was
used for, and two uses cannot have one number. Unknown, expired, used up, revoked: all are told the same.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field

from xmppchat.components.invitations import store
from xmppchat.core import events
from xmppchat.core.callers import Caller, is_admin
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import Component, ComponentConfig, Role, Xep, command, every, on
from xmppchat.core.guesses import Backoff
from xmppchat.core.runtime import timestamp
from xmppchat.core.services import Invitation, InvitationService, RegistrationService
from xmppchat.core.turn import Turn
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.errors import ItemNotFound, NotAllowed, ResourceConstraint, StanzaError
from xmppchat.protocol.namespaces import NS

_DAY = 86_400_000
#: Longest token that is looked at; ours have 22 characters.
_MAX_TOKEN = 128
#: How long an invitation that can no longer be used is still listed, ms.
_KEPT = 30 * _DAY


class InvitationsConfig(ComponentConfig):
    """Options of invitations."""

    users_may_invite: bool = Field(
        True, description="whether users may invite contacts, who may make an account here"
    )
    days: int = Field(7, ge=1, le=365, description="how long an invitation is good", json_schema_extra={"unit": "days"})
    landing_page: str = Field(
        "", pattern=r"^(https://.*)?$",
        description='web page for the invited, such as "https://chat.example/invite/#"; the token is added to it',
    )  # fmt: skip


class Invitations(Component[InvitationsConfig]):
    """Makes, checks and uses up invitations; provides :class:`InvitationService`."""

    name = "invitations"
    implements = (Xep(379, "0.3.3"), Xep(401, "0.5.0"), Xep(445, "0.2.0"))
    Config = InvitationsConfig
    provides = (InvitationService,)

    def setup(self) -> None:
        """Nobody has guessed yet."""
        self._taken: Counter[bytes] = Counter()
        self.reconfigured()

    def reconfigured(self) -> None:
        """Who guesses is counted by the limits."""
        minutes = 60.0
        self._guesses = Backoff(
            self.kernel.clock, failures=self.kernel.limits.auth_failures_per_address or 1, window=10 * minutes,
            first=5 * minutes, longest=60 * minutes,
        )  # fmt: skip

    # --- InvitationService ------------------------------------------------------------------------------------------

    async def find(self, token: str, domain: str, network: str) -> Invitation | None:
        """See :class:`InvitationService`."""
        is_limited = self.kernel.limits.auth_failures_per_address > 0
        if is_limited and not self._guesses.may_try(network):
            self.kernel.limit_counters.fired("invitation_guesses")
            return None
        rows = await self.kernel.reader.fetch(store.FIND, {"hash": store.hash_of(token[:_MAX_TOKEN])})
        if rows and self._is_good(rows[0], domain):
            return _invitation(rows[0])
        if is_limited:
            self._guesses.failed(network)
        return None

    def _is_good(self, row: Any, domain: str) -> bool:
        return bool(
            row.domain == domain and row.expires_at > self.kernel.clock.now()
            and row.used + self._taken[row.token_hash] < row.uses
        )  # fmt: skip

    @asynccontextmanager
    async def redemption(self, invitation: Invitation, by: JID, turn: Turn) -> AsyncIterator[None]:
        """See :class:`InvitationService`."""
        token_hash = invitation.token_hash
        # Not its end: that is looked at when it is shown, and no more (XEP-0445 §5).
        rows = await self.kernel.reader.fetch(store.FIND, {"hash": token_hash})
        number = rows[0].used + self._taken[token_hash] + 1 if rows else 0
        if not rows or number > rows[0].uses:
            raise ItemNotFound("this invitation is no longer valid; ask for another one")
        self._taken[token_hash] += 1
        try:
            turn.write(None, store.INSERT_USE, {
                "token_hash": token_hash, "number": number, "used_at": self.kernel.clock.now(), "used_by": by.bare,
            })
            yield
        finally:
            self._taken[token_hash] -= 1
            if not self._taken[token_hash]:
                del self._taken[token_hash]

    async def is_reserved(self, jid: JID) -> bool:
        """See :class:`InvitationService`."""
        rows = await self.kernel.reader.fetch(
            store.RESERVATIONS, {"domain": jid.domain, "localpart": jid.local, "now": self.kernel.clock.now()}
        )
        return any(row.used < row.uses for row in rows)

    # --- making them ------------------------------------------------------------------------------------------------

    async def make(
        self, domain: str, *, creator: str = "", localpart: str = "", is_account: bool = True, uses: int = 1,
        days: int = 0, is_limited: bool = True,
    ) -> tuple[str, int]:  # fmt: skip
        """A new invitation: (URI, its end in ms). Raises a stanza error where `creator` has made too many."""
        if is_account and not self.kernel.services.get(RegistrationService).takes_invitations:
            raise NotAllowed('registration is closed: set mode = "invite" under [components.register], and reload')
        now = self.kernel.clock.now()
        if creator and is_limited:
            await self._check_quota(domain, creator, now)
        token = secrets.token_urlsafe(16)
        expires_at = now + (days or self.config.days) * _DAY
        turn = self.kernel.new_turn()
        turn.write(None, store.INSERT, {
            "token_hash": store.hash_of(token), "domain": domain, "creator": creator, "localpart": localpart,
            "is_account": is_account, "uses": uses, "created_at": now, "expires_at": expires_at,
        })
        await self.kernel.settled(turn)
        return _uri(domain, creator, localpart, token, is_account=is_account), expires_at

    async def _check_quota(self, domain: str, creator: str, now: int) -> None:
        limits, fired = self.kernel.limits, self.kernel.limit_counters.fired
        rows = await self.kernel.reader.fetch(
            store.OF_CREATOR, {"domain": domain, "creator": creator, "since": now - _DAY, "now": now}
        )
        if sum(row.expires_at > now and row.used < row.uses for row in rows) >= limits.open_invitations:
            fired("open_invitations")
            raise NotAllowed(f"you have {limits.open_invitations} invitations that nobody has used yet")
        if sum(row.created_at >= now - _DAY for row in rows) >= limits.invitations_per_day:
            fired("invitations_per_day")
            raise ResourceConstraint(f"you may invite {limits.invitations_per_day} times a day; go on tomorrow")

    # --- commands of clients (XEP-0401 §4) ------------------------------------------------------------------------

    @command(
        "invite a contact", adhoc=f"{NS.INVITE}#invite", by=Role.USER, form_type=f"{NS.INVITE}#invitation", hidden=True
    )
    async def invite_contact(self, caller: Caller) -> dict[str, object]:
        """Invite user."""
        account = caller.account
        if account is None or not self.config.users_may_invite:
            raise NotAllowed("invitations are made by the admin of this server")
        # With registration closed the link makes a contact, and no account (§4.1: then ibr=y is left out).
        may_register = self.kernel.services.get(RegistrationService).takes_invitations
        uri, end = await self.make(caller.domain, creator=account.jid.bare, is_account=may_register)
        return self._shown(uri, end)

    @command(
        "invite to an account", adhoc=f"{NS.INVITE}#create-account", form_type=f"{NS.INVITE}#invitation", hidden=True
    )
    async def invite_to_account(
        self,
        caller: Caller,
        username: Annotated[str, Parameter("name of the new account; empty: the invited chooses")] = "",
        roster_subscription: Annotated[
            bool, Parameter("the new account and you are contacts", field="roster-subscription")
        ] = False,
    ) -> dict[str, object]:
        """Create account."""
        localpart = ""
        if username:
            account = self._account(f"{username}@{caller.domain}")
            if is_admin(self.kernel.config, account) and not caller.is_command_line:
                raise NotAllowed(f"{account} is an admin's address: invite it with `xmppchat invite --user`")
            localpart = account.local
        creator = caller.account.jid.bare if roster_subscription and caller.account is not None else ""
        uri, end = await self.make(caller.domain, creator=creator, localpart=localpart, is_limited=False)
        return self._shown(uri, end)

    # --- commands of the operator -----------------------------------------------------------------------------------

    @command("invite", adhoc=None)
    async def invite(
        self,
        host: Annotated[str, Parameter("host the account will be at; default: the first one")] = "",
        user: Annotated[str, Parameter("name that the account must have; default: the invited chooses")] = "",
        contact: Annotated[str, Parameter("account here that becomes a contact of the invited")] = "",
        uses: Annotated[int, Parameter("how many may use it")] = 1,
        days: Annotated[int, Parameter("how long it is good; default: as configured")] = 0,
    ) -> dict[str, object]:
        """Invite somebody: prints a link that makes an account, or a contact who may make one."""
        creator = self._account(contact).bare if contact else ""
        domain = host or (JID.parse(creator).domain if creator else self.kernel.hosts[0])
        if domain not in self.kernel.hosts:
            raise CommandError(f"{domain} is not served here; the hosts are: {', '.join(self.kernel.hosts)}")
        if not 1 <= uses <= 1_000 or not 0 <= days <= 365:
            raise CommandError("an invitation has from 1 to 1000 uses, and is good for 365 days at most")
        localpart = self._account(f"{user}@{domain}").local if user else ""
        if localpart and (creator or uses > 1):
            raise CommandError("a name is for one person: --user goes without --contact and --uses")
        if creator and not (await self.kernel.directory.get(JID.parse(creator))).exists:
            raise CommandError(f"there is no account {creator}")
        try:
            uri, end = await self.make(domain, localpart=localpart, uses=uses, days=days) if not creator else (
                await self.make(domain, creator=creator, uses=uses, days=days)
            )
        except StanzaError as error:
            raise CommandError(error.text) from None
        return self._shown(uri, end)

    def _account(self, text: str) -> JID:
        try:
            jid = JID.parse(text)
        except InvalidJID as error:
            raise CommandError(str(error)) from None
        if not jid.local or jid.resource:
            raise CommandError(f"{text!r} is not an account's address")
        return jid

    def _shown(self, uri: str, end: int) -> dict[str, object]:
        """What XEP-0401 §4.1 has in the result."""
        token = uri.partition("preauth=")[2].partition(";")[0]
        page = {"landing-url": self.config.landing_page + token} if self.config.landing_page else {}
        return {"uri": uri, **page, "expire": timestamp(end)}

    @command("invitations", adhoc=None, changes=False)
    async def invitations(
        self, limit: Annotated[int, Parameter("at most so many, the oldest first")] = 1_000
    ) -> list[dict[str, object]]:
        """List invitations. Their links are not kept, so they cannot be shown again."""
        now = self.kernel.clock.now()
        rows = await self.kernel.reader.fetch(store.LIST, {"limit": max(0, min(limit, 1_000_000))})
        return [
            {
                "id": store.short_name(row), "host": row.domain, "by": row.creator or "admin",
                "name": row.localpart or "any", "used": f"{row.used} of {row.uses}",
                "until": "ended" if row.expires_at <= now else timestamp(row.expires_at)[:16],
            }
            for row in rows
        ]  # fmt: skip

    @command("revoke", adhoc=None)
    async def revoke(
        self, id: Annotated[str, Parameter("id of an invitation, as `xmppchat invitations` shows it")]
    ) -> dict[str, str]:
        """Revoke an invitation that was not used up."""
        rows = await self.kernel.reader.fetch(store.LIST, {"limit": 1_000_000})
        found = [row for row in rows if store.short_name(row) == id]
        if len(found) != 1:
            raise CommandError(f"there is no invitation {id}; `xmppchat invitations` lists those there are")
        turn = self.kernel.new_turn()
        self._delete(found[0].token_hash, turn)
        await self.kernel.settled(turn)
        return {"revoked": id}

    def _delete(self, token_hash: bytes, turn: Turn) -> None:
        turn.write(None, store.DELETE, {"hash": token_hash})
        turn.write(None, store.DELETE_USES, {"hash": token_hash})

    # --- the end of them --------------------------------------------------------------------------------------------

    @every(3_600)
    async def clean(self) -> None:
        """Forget invitations that ended long ago."""
        rows = await self.kernel.reader.fetch(store.EXPIRED, {"before": self.kernel.clock.now() - _KEPT})
        turn = self.kernel.new_turn()
        for row in rows:
            self._delete(row.token_hash, turn)
        turn.commit()

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """Nobody invites on behalf of an account that is gone."""
        jid = event.account.jid
        event.turn.write(event.account, store.DELETE_OF_CREATOR, {"domain": jid.domain, "creator": jid.bare})


def _invitation(row: Any) -> Invitation:
    return Invitation(row.token_hash, row.domain, row.creator, row.localpart, bool(row.is_account))


def _uri(domain: str, creator: str, localpart: str, token: str, *, is_account: bool) -> str:
    """XEP-0445 §3, XEP-0401 §4.1; names as RFC 5122 spells them."""
    if creator and not localpart:
        return f"xmpp:{quote(creator, safe='@')}?roster;preauth={token}" + (";ibr=y" if is_account else "")
    at = f"{quote(localpart)}@" if localpart else ""
    return f"xmpp:{at}{quote(domain)}?register;preauth={token}"
