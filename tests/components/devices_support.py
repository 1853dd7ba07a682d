"""Clients that log in as SASL2 lets them, without the wire: what they ask for, and what comes of it."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from typing import Any

from xmppchat.core.account import Account
from xmppchat.core.services import AccountService, DeviceService, LoggedIn
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.sasl import Failure, NeedTokens, Success
from xmppchat.protocol.sasl2 import LoginRequest, TokenUse, UserAgent
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

NONE, ENDP = "HT-SHA-256-NONE", "HT-SHA-256-ENDP"
END_POINT = hashlib.sha256(b"the certificate").digest()
BINDINGS = {"tls-server-end-point": END_POINT}
DAY = 86_400


def devices(driver: MemoryDriver) -> DeviceService:
    """The service under test."""
    return driver.server.kernel.services.get(DeviceService)


async def account(driver: MemoryDriver, name: str = "juliet") -> Account:
    """An account, in memory."""
    return await driver.server.kernel.directory.get(JID.parse(f"{name}@{driver.domain}"))


@dataclass
class Phone:
    """A client of `account` that says which it is. `token` is the one it was given last."""

    driver: MemoryDriver
    account: str = "juliet"
    software: str = "Chat"
    device: str = "phone"
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    token: str = ""
    device_id: int = 0
    peer: str = "192.0.2.1"

    async def with_password(self, token_for: str = "") -> LoggedIn:
        """Log in with the password, and ask for a token."""
        return await self._logged_in(LoginRequest("PLAIN", None, self._agent, token_for=token_for), None)

    async def with_token(
        self, token: str = "", *, mechanism: str = NONE, count: int | None = None, is_last: bool = False,
        token_for: str = "", username: str = "",
    ) -> LoggedIn | str:
        """Log in with `token`, by default the one it has; what comes of it, or the condition of the failure."""
        proved = await self.prove((token or self.token).encode(), mechanism, username)
        if isinstance(proved, Failure):
            return proved.condition
        assert proved.token is not None
        use = TokenUse(count, is_last)
        owner = await account(self.driver, self.account)
        if refusal := devices(self.driver).refusal(owner, self.id, proved.token, use):
            return refusal
        request = LoginRequest(mechanism, None, self._agent, token=use, token_for=token_for)
        return await self._logged_in(request, proved.token)

    async def prove(self, token: bytes, mechanism: str = NONE, username: str = "") -> Success | Failure:
        """The exchange itself, as the server runs it."""
        authenticator = self.driver.server.connections.authenticator
        exchange = authenticator.create(mechanism, self.driver.domain, BINDINGS, by_token=True)
        binding = END_POINT if mechanism == ENDP else b""
        proof = hmac.new(token, b"Initiator" + binding, hashlib.sha256).digest()
        name = username or self.account
        step = exchange.start(name.encode() + b"\0" + proof)
        if isinstance(step, NeedTokens):
            step = authenticator.at_hand(exchange, step, self.driver.domain, self.peer, self.id)
        answer = await authenticator.proceed(exchange, step, self.driver.domain, self.peer, self.id)
        assert isinstance(answer, (Success, Failure))
        if isinstance(answer, Failure) and answer.condition == "not-authorized":
            authenticator.failed(name, self.driver.domain, self.peer)
        return answer

    async def connect(self, resource: str = "phone") -> MemoryClient:
        """A session of this client."""
        client = await self.driver.connect()
        assert isinstance(client, MemoryClient)
        await client.log_in(self.account, "secret", resource)
        self.session(await account(self.driver, self.account), resource).device_id = self.device_id
        return client

    @staticmethod
    def session(owner: Account, resource: str) -> Session:
        """The session of a resource."""
        return owner.sessions[resource]

    @property
    def _agent(self) -> UserAgent:
        return UserAgent(self.id, self.software, self.device)

    async def _logged_in(self, request: LoginRequest, token: bytes | None) -> LoggedIn:
        kernel = self.driver.server.kernel
        turn = kernel.new_turn()
        owner = await account(self.driver, self.account)
        outcome = devices(self.driver).logged_in(owner, request, token, BINDINGS, turn)
        await kernel.settled(turn)
        self.device_id = outcome.device_id
        if outcome.token is not None:
            self.token = outcome.token.get("token")
        return outcome


def given(outcome: LoggedIn | str) -> str:
    """The token that came with a login, "" for none."""
    assert isinstance(outcome, LoggedIn), outcome
    return outcome.token.get("token") if outcome.token is not None else ""


async def phone(driver: MemoryDriver, name: str = "juliet", *, mechanism: str = NONE, **names: Any) -> Phone:
    """A client that has a token; its account is made if need be."""
    if not (await account(driver, name)).exists:
        await driver.create_account(name, "secret")
    made = Phone(driver, name, **names)
    await made.with_password(token_for=mechanism)
    return made


async def change_password(driver: MemoryDriver, name: str = "juliet") -> None:
    """As the admin does it."""
    await driver.server.execute("user passwd", {"jid": f"{name}@{driver.domain}", "password": "secret"})
    await settle(driver.server.kernel)


async def listed(client: MemoryClient) -> dict[str, Element]:
    """The list of clients that a client is shown, by what runs there."""
    answer = await client.request("get", f"<list xmlns='{NS.CLIENT_ACCESS}'/>")
    clients = answer.find("clients", NS.CLIENT_ACCESS)
    assert clients is not None, answer.to_xml()
    return {_name(one): one for one in clients.elements()}


def _name(client: Element) -> str:
    agent = client.find("user-agent", NS.CLIENT_ACCESS)
    assert agent is not None
    return agent.child_text("device") or ""


def auth(client: Element) -> list[str]:
    """The ways by which a client gets in."""
    found = client.find("auth", NS.CLIENT_ACCESS)
    assert found is not None
    return [way.name for way in found.elements()]


async def revoke(client: MemoryClient, device_id: str) -> list[str]:
    """End the access of a client; the conditions of the error, none where there is none."""
    answer = await client.request("set", f"<revoke xmlns='{NS.CLIENT_ACCESS}' id='{device_id}'/>")
    error = answer.find("error")
    return [] if error is None else [child.name for child in error.elements() if child.name != "text"]


def service(driver: MemoryDriver) -> AccountService:
    """The accounts."""
    return driver.server.kernel.services.get(AccountService)
