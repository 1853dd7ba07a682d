"""In-band registration (XEP-0077): accounts made before login where the admin allows it, changed and removed after.

Closed by default: an open server is a gift to spammers (reliability.md V-40). With mode "invite", and with "open", too,
a token of an invitation (XEP-0445) opens the door.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import structlog
from pydantic import Field, field_validator

from xmppchat.components.register.applicant import Applicant, registration_form
from xmppchat.components.register.budgets import Budget, Budgets
from xmppchat.core import networks
from xmppchat.core.component import ACCOUNT, SERVER, Component, ComponentConfig, Feature, IqRequest, Xep, iq_get, iq_set
from xmppchat.core.services import (
    AccountService,
    InvitationService,
    RegistrationService,
    RosterService,
)
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import (
    BadRequest,
    Forbidden,
    NotAcceptable,
    NotAllowed,
    ResourceConstraint,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stream_features import Fact, StreamFeature

log = structlog.get_logger(__name__)


class RegisterConfig(ComponentConfig):
    """Options of registration."""

    mode: Literal["closed", "invite", "open"] = Field(
        "closed", description='who may make an account: "closed" the admin, "invite" who was invited, "open" anybody'
    )
    min_password: int = Field(
        8, ge=1, le=64, description="shortest password that is taken", json_schema_extra={"unit": "characters"}
    )
    unlimited_networks: tuple[str, ...] = Field(
        networks.LOOPBACK,
        description="networks that may register any number of accounts, such as that of your office",
    )

    @field_validator("unlimited_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        networks.parse(value)
        return value


class Register(Component[RegisterConfig]):
    """Registration before login (XEP-0077 §3.1), changes after (§3.2, §3.3)."""

    name = "register"
    implements = (Xep(77, "2.4"),)
    features = (Feature(NS.REGISTER),)
    Config = RegisterConfig
    provides = (RegistrationService,)
    requires = (AccountService, InvitationService, RosterService)

    def setup(self) -> None:
        """Find accounts, invitations and rosters."""
        self.accounts = self.kernel.services.get(AccountService)
        self.invitations = self.kernel.services.get(InvitationService)
        self.roster = self.kernel.services.get(RosterService)
        self._budgets = Budgets()
        before_login = {"needs": Fact.SECURE, "forbids": Fact.AUTHENTICATED}
        self.stream_features = (  # type: ignore[misc]
            StreamFeature("register by token", lambda _: self._announce(NS.REGISTER_INVITED), **before_login),
            StreamFeature("register", lambda _: self._announce(NS.REGISTER_FEATURE), **before_login),
        )

    def reconfigured(self) -> None:
        """Budgets are made of the limits: those that are spent are forgotten with the old ones."""
        self._budgets = Budgets()

    def _announce(self, namespace: str) -> Element | None:
        return Element("register", namespace) if self.takes_invitations else None

    @property
    def takes_invitations(self) -> bool:
        """See :class:`RegistrationService`."""
        return self.config.mode != "closed"

    @property
    def is_open(self) -> bool:
        """See :class:`RegistrationService`."""
        return self.config.mode == "open"

    def begin(self, domain: str, peer: str) -> Applicant:
        """See :class:`RegistrationService`."""
        return Applicant(self, domain, peer)

    # --- what an applicant needs ------------------------------------------------------------------------------------

    def check_password(self, password: str) -> None:
        """Raises :class:`NotAcceptable` where a password is too short."""
        if len(password) < self.config.min_password:
            raise NotAcceptable(f"a password has at least {self.config.min_password} characters")

    def spend(self, peer: str, *, is_invited: bool) -> Budget | None:
        """What an account from the address `peer` takes of the budgets. Raises :class:`ResourceConstraint`.

        An invitation is a budget of its own, but nobody may go through all names with it: attempts count (V-17).
        """
        limits = self.kernel.limits
        per_hour, per_day = limits.registrations_per_hour, limits.registrations_per_day
        if not (per_hour or per_day) or networks.is_in(peer, networks.parse(self.config.unlimited_networks)):
            return None
        now = self.kernel.clock.monotonic()
        budget = self._budgets.of(networks.network_of(peer), per_hour, per_day, now)
        if exhausted := budget.attempt(now) if is_invited else budget.take(now):
            self.kernel.limit_counters.fired(exhausted)
            raise ResourceConstraint("too many accounts were made from your network; try again tomorrow")
        return None if is_invited else budget

    # --- after login -------------------------------------------------------------------------------------------------

    @iq_get(NS.REGISTER, "query", at=SERVER | ACCOUNT)
    def show(self, request: IqRequest) -> Element:
        """Who is logged in is registered (§3.1.1)."""
        self._own(request)
        form = registration_form()
        name = text_element("username", NS.REGISTER, request.sender.local)
        return form.replace(children=[Element("registered", NS.REGISTER), name, *form.children[2:]])

    @iq_set(NS.REGISTER, "query", at=SERVER | ACCOUNT)
    async def change(self, request: IqRequest) -> None:
        """Change the password (§3.3), or end the account (§3.2)."""
        self._own(request)
        session = request.session
        assert session is not None
        query = request.payload
        if query.find("remove") is not None:
            if len(list(query.elements())) != 1:
                raise BadRequest("<remove/> stands alone")
            self.accounts.delete(session.account, request.turn)
            request.turn.effect(partial(log.info, "account removed by its owner", account=session.account.jid.bare))
            return
        if (query.child_text("username") or session.account.jid.local) != session.account.jid.local:
            raise NotAllowed("only your own password can be changed")
        password = query.child_text("password") or ""
        self.check_password(password)
        await self.accounts.set_password(session.account, password, request.turn)

    def _own(self, request: IqRequest) -> None:
        if request.session is None or request.sender.domain != request.domain:
            raise Forbidden("this is for accounts of this host")
