"""Tokens on the wire (XEP-0484 with XEP-0388 and XEP-0386): asked for, given, used, given back; SCRAM's offer."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from devices_support import change_password

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

NONE = "HT-SHA-256-NONE"


@dataclass
class Installation:
    """A client program on one device, from the first start to the last."""

    driver: MemoryDriver
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    token: str = ""

    async def authenticate(self, mechanism: str, initial: bytes, inner: str = "") -> tuple[MemoryClient, Element]:
        """One login on a connection of its own: the client, and the answer."""
        client = await self.driver.connect()
        assert isinstance(client, MemoryClient)
        client.write(
            f"<authenticate xmlns='{NS.SASL_2}' mechanism='{mechanism}'>"
            f"<initial-response>{base64.b64encode(initial).decode()}</initial-response>"
            f"<user-agent id='{self.id}'><software>Chat</software><device>phone</device></user-agent>{inner}"
            "</authenticate>"
        )
        answer = await client.take(lambda element: element.namespace == NS.SASL_2)
        if (token := answer.find("token", NS.FAST)) is not None:
            self.token = token.get("token")
        return client, answer

    async def with_password(self, inner: str = "") -> tuple[MemoryClient, Element]:
        return await self.authenticate("PLAIN", b"\0juliet\0secret", inner)

    async def with_token(self, inner: str = "", *, token: str = "", fast: str = "") -> tuple[MemoryClient, Element]:
        proof = hmac.new((token or self.token).encode(), b"Initiator", hashlib.sha256).digest()
        inner += f"<fast xmlns='{NS.FAST}' {fast}/>"
        return await self.authenticate(NONE, b"juliet\0" + proof, inner)


ASK = f"<request-token xmlns='{NS.FAST}' mechanism='{NONE}'/>"
BIND = f"<bind xmlns='{NS.BIND_2}'><tag>Chat</tag></bind>"


def condition(answer: Element) -> str:
    """Why a login failed, "" where it did not."""
    return next(answer.elements()).name if answer.name == "failure" else ""


async def installation(driver: MemoryDriver) -> Installation:
    """One that has a token."""
    await driver.create_account("juliet", "secret")
    made = Installation(driver)
    _, answer = await made.with_password(ASK)
    assert made.token, answer.to_xml()
    return made


async def test_it_is_offered_with_what_works(driver: MemoryDriver) -> None:
    features = await MemoryClient(driver.domain, driver.server.connections.new()).open()
    offer = features.find("authentication", NS.SASL_2)
    assert offer is not None
    inline = offer.find("inline", NS.SASL_2)
    assert inline is not None
    fast = inline.find("fast", NS.FAST)
    assert fast is not None
    assert [child.text for child in fast.elements()] == [NONE], "without TLS nothing is bound"
    assert "tls-0rtt" not in fast.attributes


async def test_one_request_and_the_client_is_there(driver: MemoryDriver) -> None:
    chat = await installation(driver)
    client, answer = await chat.with_token(BIND)
    assert condition(answer) == ""
    data = base64.b64decode(answer.child_text("additional-data") or "")
    assert data == hmac.new(chat.token.encode(), b"Responder", hashlib.sha256).digest(), "the server has the token, too"
    assert answer.find("token", NS.FAST) is None
    assert answer.find("bound", NS.BIND_2) is not None
    first = answer.child_text("authorization-identifier") or ""
    assert first.startswith("juliet@chat.example/Chat/")
    await client.close()
    _, answer = await chat.with_token(BIND)
    assert answer.child_text("authorization-identifier") == first, "an installation keeps its resource"


async def test_the_next_token_comes_with_a_login(driver: MemoryDriver) -> None:
    chat = await installation(driver)
    first = chat.token
    await chat.with_token(ASK + BIND)
    second = chat.token
    assert second != first
    for token in (first, second):
        _, answer = await chat.with_token(BIND, token=token)
        assert condition(answer) == ""
    _, answer = await chat.with_token(BIND, token=first)
    assert condition(answer) == "not-authorized"


async def test_a_login_may_be_the_last(driver: MemoryDriver) -> None:
    chat = await installation(driver)
    _, answer = await chat.with_token(fast="invalidate='true'")
    assert condition(answer) == ""
    _, answer = await chat.with_token()
    assert condition(answer) == "not-authorized"


async def test_the_same_bytes_do_not_come_twice(driver: MemoryDriver) -> None:
    chat = await installation(driver)
    outcomes = [condition((await chat.with_token(fast=f"count='{count}'"))[1]) for count in (1, 1, 2, 1)]
    assert outcomes == ["", "not-authorized", "", "not-authorized"]


async def test_an_expired_token_is_told_apart(driver: MemoryDriver) -> None:
    chat = await installation(driver)
    driver.clock.advance(61 * 86_400)
    _, answer = await chat.with_token()
    assert condition(answer) == "credentials-expired"
    _, answer = await chat.with_token(token="made up")
    assert condition(answer) == "not-authorized"


async def test_tokens_are_for_tokens(driver: MemoryDriver) -> None:
    """HT is no mechanism of a login without ``<fast/>``, in neither SASL, and others are none with it."""
    chat = await installation(driver)
    proof = hmac.new(chat.token.encode(), b"Initiator", hashlib.sha256).digest()
    _, answer = await chat.authenticate(NONE, b"juliet\0" + proof)
    assert condition(answer) == "invalid-mechanism"
    _, answer = await chat.authenticate("PLAIN", b"\0juliet\0secret", f"<fast xmlns='{NS.FAST}'/>")
    assert condition(answer) == "invalid-mechanism"
    client = await driver.connect()
    initial = base64.b64encode(b"juliet\0" + proof).decode()
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='{NONE}'>{initial}</auth>")
    answer = await client.take(lambda element: element.namespace == NS.SASL)
    assert condition(answer) == "invalid-mechanism"


async def test_another_password_ends_it(driver: MemoryDriver) -> None:
    chat = await installation(driver)
    client, _ = await chat.with_token(BIND)
    await change_password(driver)
    await client.until_closed()
    _, answer = await chat.with_token(BIND)
    assert condition(answer) == "not-authorized"


async def test_a_client_without_an_id_gets_no_token(driver: MemoryDriver) -> None:
    await driver.create_account("juliet", "secret")
    client = await driver.connect()
    initial = base64.b64encode(b"\0juliet\0secret").decode()
    client.write(
        f"<authenticate xmlns='{NS.SASL_2}' mechanism='PLAIN'><initial-response>{initial}</initial-response>{ASK}"
        "</authenticate>"
    )
    answer = await client.take(lambda element: element.namespace == NS.SASL_2)
    assert answer.name == "success"
    assert answer.find("token", NS.FAST) is None


async def test_the_list_has_who_logged_in_by_sasl_2(driver: MemoryDriver) -> None:
    chat = await installation(driver)
    client, _ = await chat.with_token(BIND)
    await settle(driver.server.kernel)
    answer = await client.request("get", f"<list xmlns='{NS.CLIENT_ACCESS}'/>")
    clients = answer.find("clients", NS.CLIENT_ACCESS)
    assert clients is not None
    [one] = clients.elements()
    agent = one.find("user-agent", NS.CLIENT_ACCESS)
    assert agent is not None
    assert (agent.child_text("software"), agent.child_text("device")) == ("Chat", "phone")
    assert one.get("connected") == "true"


# --- what SCRAM says of the offer (XEP-0474) ------------------------------------------------------------------------

SCRAM = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}


async def challenge(driver: MemoryDriver, mechanism: str, *, is_sasl_2: bool) -> tuple[str, list[str]]:
    """The server's first message, and the mechanisms that were offered in that profile."""
    client = MemoryClient(driver.domain, driver.server.connections.new())
    features = await client.open()
    offer = features.find(*(("authentication", NS.SASL_2) if is_sasl_2 else ("mechanisms", NS.SASL)))
    assert offer is not None
    initial = base64.b64encode(b"n,,n=juliet,r=nonce").decode()
    if is_sasl_2:
        inner = f"<initial-response>{initial}</initial-response>"
        client.write(f"<authenticate xmlns='{NS.SASL_2}' mechanism='{mechanism}'>{inner}</authenticate>")
    else:
        client.write(f"<auth xmlns='{NS.SASL}' mechanism='{mechanism}'>{initial}</auth>")
    answer = await client.take(lambda element: element.name == "challenge")
    return base64.b64decode(answer.text).decode(), [one.text for one in offer.elements() if one.name == "mechanism"]


@pytest.mark.parametrize("is_sasl_2", [False, True])
@pytest.mark.parametrize("mechanism", SCRAM)
async def test_scram_vouches_for_what_was_offered(driver: MemoryDriver, mechanism: str, *, is_sasl_2: bool) -> None:
    first, offered = await challenge(driver, mechanism, is_sasl_2=is_sasl_2)
    assert mechanism in offered
    hashed = hashlib.new(SCRAM[mechanism], "\x1e".join(sorted(offered)).encode()).digest()
    assert first.partition(",h=")[2] == base64.b64encode(hashed).decode()


async def test_it_need_not(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path, accounts={"downgrade_protection": False})
    await driver.start()
    first, _ = await challenge(driver, "SCRAM-SHA-256", is_sasl_2=True)
    assert [part[:2] for part in first.split(",")] == ["r=", "s=", "i="]
    await driver.stop()
