"""In-band registration (XEP-0077): accounts made before login where the admin allows it, changed and removed after.

Closed by default: an open server is a gift to spammers (reliability.md V-40).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xmppchat.core.authentication import network_of
from xmppchat.core.component import ACCOUNT, SERVER, Component, ComponentConfig, Feature, IqRequest, Xep, iq_get, iq_set
from xmppchat.core.limits import TokenBucket
from xmppchat.core.services import AccountService, RegistrationService
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import (
    BadRequest,
    Forbidden,
    JidMalformed,
    NotAcceptable,
    NotAllowed,
    ResourceConstraint,
    StanzaError,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream import Stream
from xmppchat.protocol.stream_features import Fact, StreamFeature

#: Networks whose registrations are counted; the oldest are forgotten.
_TABLE = 10_000


class RegisterConfig(ComponentConfig):
    """Options of registration."""

    mode: Literal["closed", "invite", "open"] = Field(
        "closed", description='who may make an account: "closed" the admin, "invite" who was invited, "open" anybody'
    )


class Register(Component[RegisterConfig]):
    """Registration before login (XEP-0077 §3.1), changes after (§3.2, §3.3)."""

    name = "register"
    implements = (Xep(77, "2.4"),)
    features = (Feature(NS.REGISTER),)
    Config = RegisterConfig
    provides = (RegistrationService,)
    requires = (AccountService,)

    def setup(self) -> None:
        """Find the accounts."""
        self._accounts = self.kernel.services.get(AccountService)
        self._budgets: dict[str, tuple[TokenBucket, TokenBucket]] = {}
        self._server_budget: TokenBucket | None = None
        self.stream_features = (  # type: ignore[misc]
            StreamFeature("register", self._announce, needs=Fact.SECURE, forbids=Fact.AUTHENTICATED),
        )

    def reconfigured(self) -> None:
        """Budgets are made of the limits: those that are spent are forgotten with the old ones."""
        self._budgets.clear()

    def _announce(self, stream: Stream) -> Element | None:
        return Element("register", NS.REGISTER_FEATURE) if self.config.mode == "open" else None

    # --- before login ----------------------------------------------------------------------------------------------

    async def register(self, domain: str, request: Stanza, peer: str) -> Stanza:
        """See :class:`RegistrationService`."""
        request.from_, request.to = None, None
        try:
            if self.config.mode != "open":
                raise NotAllowed("accounts are made by the admin of this server")
            if request.type == "get":
                payload: Element | None = _form()
            else:
                await self._create(domain, request, peer)
                payload = None
        except StanzaError as error:
            answer = request.error(error)
        else:
            answer = request.result(payload)
        assert answer is not None, "a request can always be answered"
        return answer.replace(from_=JID.parse(domain))

    async def _create(self, domain: str, request: Stanza, peer: str) -> None:
        query = request.payload
        assert query is not None
        username = query.child_text("username") or ""
        password = query.child_text("password") or ""
        if not username or not password:
            raise NotAcceptable("a user name and a password are needed")
        try:
            jid = JID.parse(f"{username}@{domain}")
        except InvalidJID as error:
            raise JidMalformed(str(error)) from None
        if jid.domain != domain or not jid.local or jid.resource:
            raise JidMalformed("a user name has no '@' and no '/'")
        self._spend(peer)
        turn = self.kernel.new_turn()
        failures: list[StanzaError] = []
        turn.on_failure = failures.append
        await self._accounts.create(jid, password, turn)
        turn.commit()
        await self.kernel.gate.committed(self.kernel.gate.last)
        if failures:
            raise failures[0]

    def _spend(self, peer: str) -> None:
        """Budgets of reliability.md, limit 13: 2 an hour and 5 a day per network, 60 an hour in all."""
        limits = self.kernel.limits
        if not limits.registrations_per_hour or peer.startswith("127.") or peer == "::1":
            return
        now = self.kernel.clock.monotonic()
        if self._server_budget is None:
            self._server_budget = TokenBucket(60 / 3600, 60)
        network = network_of(peer)
        budgets = self._budgets.pop(network, None) or (
            TokenBucket(limits.registrations_per_hour / 3600, limits.registrations_per_hour),
            TokenBucket(limits.registrations_per_day / 86_400, limits.registrations_per_day),
        )
        if len(self._budgets) >= _TABLE:
            del self._budgets[next(iter(self._budgets))]
        self._budgets[network] = budgets
        all_budgets = (*budgets, self._server_budget)
        if max([bucket.take(now, 1) for bucket in all_budgets]) > 0:
            for bucket in all_budgets:
                bucket.take(now, -1)  # who is refused has spent nothing
            self.kernel.limit_counters.fired("registrations")
            raise ResourceConstraint("too many accounts were made from your network; try again tomorrow")

    # --- after login -------------------------------------------------------------------------------------------------

    @iq_get(NS.REGISTER, "query", at=SERVER | ACCOUNT)
    def show(self, request: IqRequest) -> Element:
        """Who is logged in is registered (§3.1.1)."""
        self._own(request)
        form = _form()
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
            self._accounts.delete(session.account, request.turn)
            return
        if (query.child_text("username") or session.account.jid.local) != session.account.jid.local:
            raise NotAllowed("only your own password can be changed")
        await self._accounts.set_password(session.account, query.child_text("password") or "", request.turn)

    def _own(self, request: IqRequest) -> None:
        if request.session is None or request.sender.domain != request.domain:
            raise Forbidden("this is for accounts of this host")


def _form() -> Element:
    return Element("query", NS.REGISTER, None, [
        text_element("instructions", NS.REGISTER, "Choose a user name and a password."),
        Element("username", NS.REGISTER),
        Element("password", NS.REGISTER),
    ])
