"""Capabilities (XEP-0115): the server's own string, and who is believed what (reliability.md V-54, V-57)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xmppchat.components import BUILTIN
from xmppchat.components.caps.cache import Announced, Cache, judge
from xmppchat.components.caps.component import NODE
from xmppchat.core import events
from xmppchat.core.component import Component, ComponentConfig, on
from xmppchat.core.config import ServerConfig
from xmppchat.core.services import CapsService
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.disco import DiscoForm, DiscoIdentity, DiscoInfo
from xmppchat.protocol.element import Element
from xmppchat.protocol.forms import Field, Form, form_type
from xmppchat.protocol.namespaces import NS
from xmppchat.server import Server
from xmppchat.testing.clock import FakeClock
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle
from xmppchat.testing.runner import read_stanzas

EXODUS = "QgayPKawpkPSDYmwT/WM94uAlu0="
ANSWER = """
    <identity category='client' name='Exodus 0.9.1' type='pc'/>
    <feature var='http://jabber.org/protocol/caps'/>
    <feature var='http://jabber.org/protocol/disco#info'/>
    <feature var='http://jabber.org/protocol/disco#items'/>
    <feature var='http://jabber.org/protocol/muc'/>
"""
MUC = "http://jabber.org/protocol/muc"


def query(xml: str) -> Element:
    return read_stanzas(f"<query xmlns='{NS.DISCO_INFO}'>{xml}</query>")[0]


# --- the server's own --------------------------------------------------------------------------------------------


def as_it_reads(info: Element) -> str:
    """XEP-0115 §5.1 once more, written as it reads there."""
    s = ""
    parts = ("category", "type", "xml:lang", "name")
    for identity in sorted("/".join(i.get(part) for part in parts) for i in info.find_all("identity")):
        s += identity + "<"
    for feature in sorted(f.get("var") for f in info.find_all("feature")):
        s += feature + "<"
    forms = {}
    for form in info.find_all("x", NS.FORM):
        fields = {f.get("var"): sorted(v.text for v in f.find_all("value")) for f in form.find_all("field")}
        (form_type,) = fields.pop("FORM_TYPE")
        forms[form_type] = fields
    for form_type in sorted(forms):
        s += form_type + "<"
        for var in sorted(forms[form_type]):
            s += var + "<" + "".join(value + "<" for value in forms[form_type][var])
    return base64.b64encode(hashlib.sha1(s.encode()).digest()).decode()


Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(*more: type[Component[Any]], **options: Any) -> MemoryDriver:
        driver = MemoryDriver(tmp_path, **options)
        config = replace(driver.server.config, component_classes=(*BUILTIN, *more))
        driver.server = Server(config, clock=driver.clock, listen=False)
        drivers.append(driver)
        await driver.start()
        for name in ("romeo", "juliet", "mallory"):
            await driver.create_account(name, "secret")
        return driver

    yield start
    for driver in drivers:
        await driver.stop()


async def features_after_login(host: str, server: Server) -> tuple[MemoryClient, Element, Element]:
    """A client, its stream features before and after authentication."""
    client = MemoryClient(host, server.connections.new())
    before = await client.open()
    initial = base64.b64encode(b"\0romeo\0secret").decode()
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{initial}</auth>")
    await client.take(lambda element: element.namespace == NS.SASL)
    return client, before, await client.open()


@pytest.mark.parametrize("contacts", [
    {},
    {"abuse": ["mailto:b@x.example", "mailto:a@x.example"], "support": ["https://x.example/help"],
     "external_status": ["https://status.example/a.json"]},
])
async def test_the_servers_string_is_the_hash_of_its_disco_info(start: Start, contacts: dict[str, Any]) -> None:
    driver = await start(contact_addresses=contacts)
    _, before, after = await features_after_login(driver.domain, driver.server)
    assert before.find("c", NS.CAPS) is None
    caps = after.find("c", NS.CAPS)
    assert caps is not None
    client = await connected(driver, "juliet")
    plain = (await ask(client, driver.domain)).find("query", NS.DISCO_INFO)
    assert plain is not None
    assert len(plain.find_all("x", NS.FORM)) == (2 if contacts else 0)
    assert caps.attributes == {"hash": "sha-1", "node": NODE, "ver": as_it_reads(plain)}
    node = f"{NODE}#{caps.get('ver')}"
    same = (await ask(client, driver.domain, node)).find("query", NS.DISCO_INFO)
    assert same == plain.replace(attributes={"node": node})


async def test_each_host_has_its_own_string(tmp_path: Path) -> None:
    """Admins are of a host, so its contact addresses are, so its string is: one must not get the other's."""
    config = ServerConfig.for_tests(["a.example", "b.example"], data_dir=tmp_path)
    hosts = {n: h.model_copy(update={"admins": (JID.parse(f"boss@{n}"),)}) for n, h in config.hosts.items()}
    server = Server(replace(config, hosts=hosts), clock=FakeClock(), listen=False)
    await server.start()
    try:
        strings = {}
        for host in ("a.example", "b.example"):
            await server.execute("user add", {"jid": f"romeo@{host}", "password": "secret"})
            _, _, after = await features_after_login(host, server)
            caps = after.find("c", NS.CAPS)
            assert caps is not None
            strings[host] = caps.get("ver")
        assert strings["a.example"] != strings["b.example"]
    finally:
        await server.stop()


# --- clients' ----------------------------------------------------------------------------------------------------


class Listener(Component[ComponentConfig]):
    """Hears of capabilities."""

    name = "listener"

    def setup(self) -> None:
        self.heard: list[Session] = []

    @on(events.CapabilitiesKnown)
    def known(self, event: events.CapabilitiesKnown) -> None:
        self.heard.append(event.session)


async def connected(driver: MemoryDriver, name: str, resource: str = "x") -> MemoryClient:
    client = MemoryClient(driver.domain, driver.server.connections.new())
    await client.open()
    await client.log_in(name, "secret", resource)
    return client


async def ask(client: MemoryClient, to: str, node: str = "") -> Element:
    attribute = f" node='{node}'" if node else ""
    client.write(f"<iq type='get' id='ask' to='{to}'><query xmlns='{NS.DISCO_INFO}'{attribute}/></iq>")
    return await client.take(lambda element: element.get("id") == "ask")


async def announce(driver: MemoryDriver, client: MemoryClient, ver: str, **attributes: str) -> None:
    attributes = {"hash": "sha-1", "node": "urn:example:client", **attributes, "ver": ver}
    caps = Element("c", NS.CAPS, {name: value or None for name, value in attributes.items()})
    client.write(f"<presence>{caps.to_xml(NS.CLIENT)}</presence>")
    await settle(driver.server.kernel)


def question(client: MemoryClient) -> Element | None:
    """The disco#info request a client has got and not yet answered."""
    found = [e for e in client.inbox if e.name == "iq" and e.get("type") == "get"]
    client.inbox[:] = [e for e in client.inbox if e not in found]
    assert len(found) <= 1
    return found[0] if found else None


async def answer(driver: MemoryDriver, client: MemoryClient, asked: Element | None, xml: str) -> None:
    assert asked is not None, "nobody asked"
    client.write(
        f"<iq type='result' to='{driver.domain}' id='{asked.get('id')}'>"
        f"<query xmlns='{NS.DISCO_INFO}'>{xml}</query></iq>"
    )
    await settle(driver.server.kernel)


def known(driver: MemoryDriver, client: MemoryClient) -> frozenset[str] | None:
    kernel = driver.server.kernel
    session = kernel.router.session(JID.parse(client.jid))
    assert session is not None
    return kernel.services.get(CapsService).features_of(session)


async def test_a_client_is_known_once_it_proved_itself_and_again_when_it_changes(start: Start) -> None:
    driver = await start(Listener)
    (listener,) = [c for c in driver.server.kernel.components if isinstance(c, Listener)]
    client = await connected(driver, "romeo")
    await announce(driver, client, EXODUS)
    assert known(driver, client) is None
    await answer(driver, client, question(client), ANSWER)
    assert MUC in (known(driver, client) or ())
    assert len(listener.heard) == 1
    await announce(driver, client, EXODUS)
    assert question(client) is None
    assert len(listener.heard) == 1, "nothing new"
    info = DiscoInfo([DiscoIdentity("client", "pc")], ["urn:example:new+notify"])
    await announce(driver, client, info.verification_string("sha-256"), hash="sha-256")
    assert MUC in (known(driver, client) or ()), "until the new string is proven"
    await answer(
        driver, client, question(client),
        "<identity category='client' type='pc'/><feature var='urn:example:new+notify'/>",
    )
    assert known(driver, client) == {"urn:example:new+notify"}
    assert len(listener.heard) == 2
    await announce(driver, client, EXODUS)
    assert MUC in (known(driver, client) or ()), "proven before"
    assert len(listener.heard) == 3
    client.write("<presence/>")
    await settle(driver.server.kernel)
    assert MUC in (known(driver, client) or ()), "a presence without <c/> says nothing new (§8.4)"


@pytest.mark.parametrize("forged", [
    "<identity category='client' name='Exodus 0.9.1' type='pc'/><feature var='urn:example:evil'/>",
    ANSWER + "<feature var='urn:example:evil'/>",
    ANSWER + "<feature var='http://jabber.org/protocol/muc'/>",
    ANSWER + "<identity category='client' name='Exodus 0.9.1' type='pc'/>",
    "",
])
async def test_a_forged_answer_is_used_for_nobody(start: Start, forged: str) -> None:
    """V-54: also not for the others who announce the same string, before or after."""
    driver = await start()
    mallory, romeo = await connected(driver, "mallory"), await connected(driver, "romeo")
    await announce(driver, mallory, EXODUS)
    asked = question(mallory)
    await announce(driver, romeo, EXODUS)
    assert question(romeo) is None, "one question at a time for a string"
    await answer(driver, mallory, asked, forged)
    assert known(driver, mallory) is None
    assert known(driver, romeo) is None
    await answer(driver, romeo, question(romeo), ANSWER)
    assert MUC in (known(driver, romeo) or ())
    juliet = await connected(driver, "juliet")
    await announce(driver, juliet, EXODUS)
    assert MUC in (known(driver, juliet) or ())
    assert question(juliet) is None
    assert known(driver, mallory) is None


async def test_an_answer_that_was_not_asked_for_is_nothing(start: Start) -> None:
    driver = await start()
    mallory, romeo = await connected(driver, "mallory"), await connected(driver, "romeo")
    await announce(driver, romeo, EXODUS)
    asked = question(romeo)
    await answer(driver, mallory, asked, ANSWER)
    assert known(driver, romeo) is None, "an answer counts only from whom was asked (V-28)"
    await answer(driver, romeo, asked, ANSWER)
    assert known(driver, romeo) is not None


async def test_many_liars_of_one_account_do_not_keep_others_waiting(start: Start) -> None:
    driver = await start()
    liars = [await connected(driver, "mallory", f"liar{i}") for i in range(10)]
    for liar in liars:
        await announce(driver, liar, EXODUS)
    romeo = await connected(driver, "romeo")
    await announce(driver, romeo, EXODUS)
    assert question(romeo) is None
    driver.clock.advance(2)
    await settle(driver.server.kernel)
    await answer(driver, romeo, question(romeo), ANSWER)
    assert MUC in (known(driver, romeo) or ())
    assert MUC in (known(driver, liars[9]) or ()), "it announced what is proven now"


async def test_who_comes_after_patience_was_lost_is_asked_soon_too(start: Start) -> None:
    driver = await start()
    mallory, romeo = await connected(driver, "mallory"), await connected(driver, "romeo")
    await announce(driver, mallory, EXODUS)
    driver.clock.advance(10)
    await announce(driver, romeo, EXODUS)
    driver.clock.advance(2)
    await settle(driver.server.kernel)
    assert question(romeo) is not None


async def test_one_that_leaves_is_not_waited_for(start: Start) -> None:
    driver = await start()
    mallory, romeo = await connected(driver, "mallory"), await connected(driver, "romeo")
    await announce(driver, mallory, EXODUS)
    await announce(driver, romeo, EXODUS)
    await mallory.close()
    driver.clock.advance(2)
    await settle(driver.server.kernel)
    await answer(driver, romeo, question(romeo), ANSWER)
    assert known(driver, romeo) is not None
    await romeo.close()
    driver.clock.advance(60)
    await settle(driver.server.kernel)
    (caps,) = [c for c in driver.server.kernel.components if c.name == "caps"]
    assert not caps._clients  # type: ignore[attr-defined]
    assert not caps._questions  # type: ignore[attr-defined]


@pytest.mark.parametrize("attributes", [{"hash": ""}, {"hash": "md5"}, {"hash": "unheard-of"}])
async def test_what_cannot_be_proven_counts_for_its_sender_alone(start: Start, attributes: dict[str, str]) -> None:
    """§5.4, items 1 and 2; caches of others were poisoned by the format of before 2008."""
    driver = await start()
    mallory, romeo = await connected(driver, "mallory"), await connected(driver, "romeo")
    await announce(driver, mallory, "1.0", **attributes)
    asked = question(mallory)
    await announce(driver, romeo, "1.0", **attributes)
    asked_romeo = question(romeo)
    await answer(driver, mallory, asked, "<feature var='urn:example:evil'/>")
    assert known(driver, mallory) == {"urn:example:evil"}
    assert known(driver, romeo) is None
    await answer(driver, romeo, asked_romeo, "<feature var='urn:example:good'/>")
    assert known(driver, romeo) == {"urn:example:good"}


async def test_what_cannot_be_asked_for_is_ignored(start: Start) -> None:
    driver = await start()
    client = await connected(driver, "romeo")
    for ver, node in (("", "urn:example:a"), (EXODUS, ""), ("x" * 257, "urn:example:a"), (EXODUS, "u" * 300)):
        await announce(driver, client, ver, node=node)
        assert question(client) is None
    assert known(driver, client) is None


async def test_a_hundred_changes_are_one_question_at_a_time(start: Start) -> None:
    """V-57: who does not answer holds one request open, and what it announced meanwhile is forgotten."""
    driver = await start()
    client = await connected(driver, "romeo")
    for number in range(100):
        await announce(driver, client, f"never-{number}")
        assert (question(client) is not None) is (number == 0)
    (caps,) = [c for c in driver.server.kernel.components if c.name == "caps"]
    assert len(caps._questions) == 2  # type: ignore[attr-defined]
    driver.clock.advance(30)
    await settle(driver.server.kernel)
    asked = question(client)
    assert asked is not None
    assert asked.to_xml().count("never-99") == 1, "the last is asked for next"
    driver.clock.advance(31)
    await settle(driver.server.kernel)
    assert not caps._questions  # type: ignore[attr-defined]
    assert len(caps._cache) == 0  # type: ignore[attr-defined]


async def test_who_changes_before_it_answered_is_asked_again_behind_the_answer(start: Start) -> None:
    driver = await start()
    client = await connected(driver, "romeo")
    await announce(driver, client, "first")
    first = question(client)
    await announce(driver, client, EXODUS)
    await answer(driver, client, first, "<feature var='urn:example:x'/>")
    assert known(driver, client) is None, "what it was asked is not what it announces now"
    await answer(driver, client, question(client), ANSWER)
    assert MUC in (known(driver, client) or ())


async def test_when_no_request_can_be_sent_it_is_tried_again_later(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await start()
    clients = [await connected(driver, name) for name in ("mallory", "romeo")]
    monkeypatch.setattr("xmppchat.core.iq.MAX_OPEN", 0)
    for client in clients:
        await announce(driver, client, EXODUS)
    monkeypatch.setattr("xmppchat.core.iq.MAX_OPEN", 10)
    assert question(clients[1]) is None
    driver.clock.advance(2)
    await settle(driver.server.kernel)
    assert question(clients[1]) is not None or question(clients[0]) is not None


# --- the cache, and what is believed -----------------------------------------------------------------------------


def test_the_cache_is_bounded_in_number_and_length() -> None:
    cache = Cache(max_entries=3, max_total=100)
    for number in range(5):
        cache.put(("sha-1", str(number)), frozenset({"x"}))
    assert [cache.get(("sha-1", str(n))) is not None for n in range(5)] == [False, False, True, True, True]
    cache.get(("sha-1", "2"))
    cache.put(("sha-1", "5"), frozenset({"y"}))
    assert cache.get(("sha-1", "2")) is not None, "used lately"
    assert cache.get(("sha-1", "3")) is None
    cache.put(("sha-1", "long"), frozenset({"z" * 99}))
    assert len(cache) == 2
    cache.put(("sha-1", "too long"), frozenset({"z" * 101}))
    assert len(cache) == 0


def announced(info: DiscoInfo) -> Announced:
    return Announced("sha-1", info.verification_string("sha-1"), "urn:example:x")


def to_form(form: DiscoForm) -> Form:
    return Form("result", (form_type(form.type), *(Field(name, values=tuple(v)) for name, v in form.fields)))


def to_element(info: DiscoInfo) -> Element:
    return Element("query", NS.DISCO_INFO, None, [
        *(Element("identity", NS.DISCO_INFO, {"category": i.category, "type": i.type, "name": i.name or None})
          for i in info.identities),
        *(Element("feature", NS.DISCO_INFO, {"var": feature}) for feature in info.features),
        *(to_form(form).to_element() for form in info.forms),
    ])


HONEST = DiscoInfo([DiscoIdentity("client", "pc", name="x")], ["d:1", "e:2", "urn:omemo+notify", "vcard-temp", "zzz"])


@pytest.mark.parametrize("forged", [
    # features made a form: they would be hidden
    DiscoInfo(HONEST.identities, ["d:1", "e:2", "urn:omemo+notify"], [DiscoForm("vcard-temp", [("zzz", ())])]),
    DiscoInfo(HONEST.identities, ["d:1"], [DiscoForm("e:2", [("urn:omemo+notify", ("vcard-temp", "zzz"))])]),
    # an identity made a feature, and several made one
    DiscoInfo([], ["client/pc//x", *HONEST.features]),
    DiscoInfo([DiscoIdentity("client", "pc", name="x<d:1<e:2")], HONEST.features[2:]),
    DiscoInfo(HONEST.identities, ["d:1<e:2<urn:omemo+notify", "vcard-temp", "zzz"]),
])
def test_the_same_string_by_another_reading_speaks_for_nobody_else(forged: DiscoInfo) -> None:
    """XEP-0115 §9.3: the hash does not say where parts begin, so a forger can keep it and hide features."""
    assert forged.verification_string("sha-1") == HONEST.verification_string("sha-1")
    judged = judge(announced(HONEST), to_element(forged))
    assert judged is None or not judged.is_shared
    honest = judge(announced(HONEST), to_element(HONEST))
    assert honest is not None
    assert honest.is_shared


def test_an_answer_with_too_much_in_it_is_none() -> None:
    for features in ([f"urn:example:{n}" for n in range(1_001)], ["x" * 65_537]):
        info = DiscoInfo([DiscoIdentity("client", "pc")], features)
        assert judge(announced(info), to_element(info)) is None
    assert judge(announced(HONEST), None) is None
