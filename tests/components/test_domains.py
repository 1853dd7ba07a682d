"""Domains of components (ADR 21): what of a stanza to one is whose, whatever the component does with it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest
from command_support import A, two_hosts
from pubsub_support import condition
from sqlalchemy import bindparam, select

from xmppchat.core.account import Account
from xmppchat.core.component import DOMAIN, Component, ComponentConfig, Feature, Identity, IqRequest, iq_get
from xmppchat.core.domains import collect
from xmppchat.core.tables import DeclarationError
from xmppchat.core.turn import Turn
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import NotAcceptable
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryClient, settle

ECHO = f"echo.{A}"
_accounts = schema.accounts.c


class Echo(Component[ComponentConfig]):
    """Each account of the host has a namesake here, which says again what it is told."""

    name = "echo"
    features = (Feature("urn:example:echo", at=DOMAIN),)
    identities = (Identity("component", "bot", at=DOMAIN),)
    address_query = select(_accounts.id, _accounts.localpart, _accounts.disabled, _accounts.created_at).where(
        _accounts.domain == A, _accounts.localpart.in_(bindparam("localparts", expanding=True)),
        bindparam("domain") == ECHO,
    )

    def domains(self) -> Collection[str]:
        return (ECHO,)

    @iq_get("urn:example:echo", "who", at=DOMAIN)
    def who(self, request: IqRequest) -> Element:
        assert request.account is not None
        return text_element("who", "urn:example:echo", request.account.jid.full)

    def receive(self, address: Account, stanza: Stanza, turn: Turn) -> None:
        found = stanza.find("body")
        body = "" if found is None else found.text
        if stanza.kind != "message" or stanza.type == "error" or not address.exists:
            super().receive(address, stanza, turn)
        elif body == "refuse":
            raise NotAcceptable("not that")
        elif body == "fail":
            raise ValueError("a bug")
        else:
            self.kernel.router.route(stanza.replace(from_=address.jid, to=stanza.from_), turn)


class Other(Echo):
    """Wants the same domain."""

    name = "other"


async def ask(client: MemoryClient, xml: str) -> Element:
    client.inbox.clear()
    client.write(xml)
    await client.until_received(1)
    (found,) = client.inbox
    return found


async def test_a_component_answers_at_its_domain(tmp_path: Path) -> None:
    async with two_hosts(tmp_path, [Echo]) as hosts:
        alice = await hosts.log_in(f"alice@{A}")
        romeo = f"romeo@{ECHO}"
        assert hosts.kernel.directory.peek(romeo) is None, "cold"
        asked = f"<iq type='get' id='w' to='{romeo}/desk'><who xmlns='urn:example:echo'/></iq>"
        answer = await ask(alice, asked)
        assert (answer.get("from"), answer.child_text("who", "urn:example:echo")) == (f"{romeo}/desk", romeo)
        assert condition(await ask(alice, asked.replace("romeo", "nobody"))) == "service-unavailable"
        for to in (A, f"romeo@{A}", "pubsub.a.example"):
            assert condition(await ask(alice, asked.replace(f"{romeo}/desk", to))) == "service-unavailable"
        info = await ask(alice, f"<iq type='get' id='d' to='{romeo}'><query xmlns='{NS.DISCO_INFO}'/></iq>")
        query = info.find("query", NS.DISCO_INFO)
        assert query is not None
        assert [one.get("category") for one in query.find_all("identity")] == ["component"]
        assert {one.get("var") for one in query.find_all("feature")} == {
            NS.DISCO_INFO, NS.DISCO_ITEMS, NS.PING, "urn:example:echo",
        }  # fmt: skip
        assert condition(await ask(alice, f"<iq type='get' id='p' to='{romeo}'><ping xmlns='{NS.PING}'/></iq>")) == ""


async def test_messages_come_to_it_and_its_errors_to_the_sender(tmp_path: Path) -> None:
    async with two_hosts(tmp_path, [Echo]) as hosts:
        alice = await hosts.log_in(f"alice@{A}")
        message = f"<message id='m' type='chat' to='romeo@{ECHO}'><body>{{}}</body></message>"
        said = await ask(alice, message.format("hello"))
        assert (said.get("from"), said.child_text("body")) == (f"romeo@{ECHO}", "hello")
        assert condition(await ask(alice, message.format("refuse"))) == "not-acceptable"
        assert condition(await ask(alice, message.format("fail"))) == "internal-server-error"
        nobody = await ask(alice, message.format("hello").replace("romeo", "nobody"))
        assert condition(nobody) == "service-unavailable"
        alice.inbox.clear()
        alice.write(f"<presence to='romeo@{ECHO}'/><message type='error' to='romeo@{ECHO}'/>")
        await settle(hosts.kernel)
        assert alice.inbox == []


async def test_a_domain_has_one_owner(tmp_path: Path) -> None:
    async with two_hosts(tmp_path, [Echo]) as hosts:
        echo = next(component for component in hosts.kernel.components if isinstance(component, Echo))
        other = Other(hosts.kernel, ComponentConfig())
        with pytest.raises(DeclarationError, match=f"other and echo both want the domain {ECHO}"):
            collect([echo, other])
