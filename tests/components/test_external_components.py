"""External components (XEP-0114): stanzas both ways, by the rules for strangers; presence; who is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from component_support import DOMAIN, NICK, OTHER, ROMEO, SECRET, attached, condition, romeo, shown

from xmppchat.components.invitations import Invitations
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.stanza import Stanza
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryDriver


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, external_components={DOMAIN: SECRET, OTHER: SECRET})
    await driver.start()
    await driver.create_account("romeo", "secret")
    yield driver
    await driver.stop()


@pytest.fixture
async def gateway(driver: MemoryDriver) -> MemoryComponent:
    """A component that is attached."""
    return await attached(driver, DOMAIN)


async def test_messages_go_both_ways(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    client = await romeo(driver)
    client.write(f"<message to='{NICK}' type='chat'><body>Hi</body><x xmlns='urn:x'><body xmlns='jabber:client'/></x>"
                 "</message>")
    await driver.settle(())
    [message] = gateway.stanzas()
    assert shown(message) == ("message", client.jid, NICK, "chat")
    assert message.child_text("body") == "Hi", "in the namespace of its stream"
    assert message.find("x", "urn:x").find("body", "jabber:client") is not None, "and not what names another"  # type: ignore[union-attr]
    gateway.write(f"<message from='{NICK}/phone' to='{ROMEO}' type='chat'><body>Ho</body></message>")
    await driver.settle(())
    [answer] = client.inbox
    assert shown(answer) == ("message", f"{NICK}/phone", ROMEO, "chat")
    assert answer.child_text("body", "jabber:client") == "Ho"


async def test_requests_are_answered_both_ways(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    client = await romeo(driver)
    client.write(f"<iq type='get' id='d1' to='{DOMAIN}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
    await driver.settle(())
    [request] = gateway.stanzas()
    assert shown(request) == ("iq", client.jid, DOMAIN, "get")
    gateway.write(f"<iq type='result' id='d1' from='{DOMAIN}' to='{client.jid}'><query xmlns='urn:q'/></iq>")
    gateway.write(f"<iq type='result' id='d1' from='{DOMAIN}' to='{client.jid}'><query xmlns='urn:again'/></iq>")
    gateway.write(f"<iq type='result' id='d1' from='{NICK}' to='{client.jid}'><query xmlns='urn:another'/></iq>")
    await driver.settle(())
    assert [child.namespace for answer in client.inbox for child in answer.elements()] == ["urn:q"]
    client.inbox.clear()
    gateway.write(f"<iq type='get' id='p1' from='{NICK}' to='{client.jid}'><ping xmlns='urn:xmpp:ping'/></iq>")
    gateway.write(f"<iq type='get' id='p2' from='{NICK}' to='chat.example'><ping xmlns='urn:xmpp:ping'/></iq>")
    await driver.settle(())
    assert shown(client.inbox[0]) == ("iq", NICK, client.jid, "get")
    client.write(f"<iq type='result' id='p1' to='{NICK}'/>")
    await driver.settle(())
    assert [(e.get("id"), *shown(e)) for e in gateway.stanzas()] == [
        ("p2", "iq", "chat.example", NICK, "result"), ("p1", "iq", client.jid, NICK, "result"),
    ]


async def test_the_server_asks_a_component(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    answers: list[Stanza | None] = []
    kernel = driver.server.kernel

    def ask(to: str) -> None:
        kernel.iq.request(JID.parse(to), Element("publish", "urn:p"), answers.append, domain="chat.example", type="set")

    ask(DOMAIN)
    await driver.settle(())
    [request] = gateway.stanzas()
    gateway.write(f"<iq type='result' id='{request.get('id')}' from='{NICK}' to='chat.example'/>")  # was not asked
    await driver.settle(())
    assert answers == []
    gateway.write(f"<iq type='result' id='{request.get('id')}' from='{DOMAIN}' to='chat.example'/>")
    await driver.settle(())
    assert [answer and answer.type for answer in answers] == ["result"]
    gateway.transport.vanish()
    await driver.settle(())
    ask(DOMAIN)
    await driver.settle(())
    assert [answer and answer.type for answer in answers] == ["result", "error"], "at once, not after a timeout"


# --- who is not there ------------------------------------------------------------------------------------------------

async def test_what_is_for_a_component_that_is_not_there_comes_back(driver: MemoryDriver) -> None:
    client = await romeo(driver)
    client.write(f"<message to='{NICK}' id='m1' type='chat'><body>Hi</body></message>")
    client.write(f"<iq type='get' id='i1' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>")
    client.write(f"<presence to='{NICK}' id='s1' type='probe'/>")
    client.write(f"<iq type='result' id='i2' to='{DOMAIN}'/>")
    await driver.settle(())
    assert [(e.get("id"), e.get("from"), condition(e)) for e in client.inbox] == [
        ("m1", NICK, "remote-server-timeout"), ("i1", DOMAIN, "remote-server-timeout"),
    ]


async def test_what_waits_while_the_link_breaks_comes_back(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    """A message that waits for the disk is sent over the link that there is when it has been written, or refused."""
    client = await romeo(driver)
    turn = driver.server.kernel.new_turn()
    driver.server.kernel.router.route(
        Stanza("message", to=JID.parse(NICK), from_=JID.parse(client.jid), id="m2", type="chat"), turn
    )
    turn.park()  # as if for a write
    turn.commit()
    gateway.transport.vanish()
    await driver.settle(())
    assert client.inbox == []
    turn.unpark()
    await driver.settle(())
    assert [(e.get("id"), condition(e)) for e in client.inbox] == [("m2", "remote-server-timeout")]


async def test_an_unknown_domain_is_another_matter(driver: MemoryDriver) -> None:
    client = await romeo(driver)
    client.write("<message to='nick@below.gateway.chat.example' id='m1'><body>Hi</body></message>")
    await driver.settle(())
    assert [condition(element) for element in client.inbox] == ["remote-server-not-found"]


async def test_who_waits_for_an_answer_is_told_that_it_will_not_come(
    driver: MemoryDriver, gateway: MemoryComponent
) -> None:
    client = await romeo(driver)
    answers: list[Stanza | None] = []
    kernel = driver.server.kernel
    kernel.iq.request(JID.parse(NICK), Element("query", "urn:q"), answers.append, domain="chat.example")
    for number, to in enumerate((DOMAIN, NICK, OTHER)):  # the last is not there
        client.write(f"<iq type='get' id='{number}' to='{to}'><ping xmlns='urn:xmpp:ping'/></iq>")
    await driver.settle(())
    assert [(e.get("id"), condition(e)) for e in client.inbox] == [("2", "remote-server-timeout")]
    gateway.transport.vanish()
    (await attached(driver, OTHER)).transport.vanish()
    await driver.settle(())
    assert [(e.get("id"), e.get("from"), condition(e)) for e in client.inbox] == [
        ("2", OTHER, "remote-server-timeout"), ("0", DOMAIN, "remote-server-timeout"),
        ("1", NICK, "remote-server-timeout"),
    ], "each once"
    assert answers == [None]


# --- presence --------------------------------------------------------------------------------------------------------

async def test_a_contact_at_a_component(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    """Both subscribe; presence, probes and the end go to each other as between servers (RFC 6121 §3, §4)."""
    client = await romeo(driver)
    client.write(f"<presence to='{NICK}' type='subscribe'/>")
    await driver.settle(())
    assert [shown(e) for e in gateway.stanzas()] == [("presence", ROMEO, NICK, "subscribe")]
    gateway.write(f"<presence from='{NICK}' to='{ROMEO}' type='subscribed'/>")
    gateway.write(f"<presence from='{NICK}/phone' to='{ROMEO}'/>")
    gateway.write(f"<presence from='{NICK}' to='{ROMEO}' type='subscribe'/>")
    await driver.settle(())
    client.write(f"<presence to='{NICK}' type='subscribed'/>")
    await driver.settle(())
    assert [shown(e) for e in client.inbox if e.name == "presence"] == [
        ("presence", NICK, ROMEO, "subscribed"), ("presence", f"{NICK}/phone", ROMEO, ""),
        ("presence", NICK, ROMEO, "subscribe"),
    ]
    assert [shown(e) for e in gateway.stanzas()] == [
        ("presence", ROMEO, NICK, "subscribed"), ("presence", client.jid, NICK, ""),
    ]
    client.write("<presence><show>away</show></presence>")
    gateway.write(f"<presence from='{NICK}' to='{ROMEO}' type='probe'/>")
    second = await romeo(driver, "y")
    await driver.settle(())
    seen = [shown(e) for e in gateway.stanzas()]
    assert seen.count(("presence", client.jid, NICK, "")) == 2, "the broadcast, and the answer to the probe"
    assert ("presence", second.jid, NICK, "probe") in seen
    await second.vanish()
    await driver.settle(())
    assert [shown(e) for e in gateway.stanzas()] == [("presence", second.jid, NICK, "unavailable")]
    client.write(f"<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='{NICK}' subscription='remove'/>"
                 "</query></iq>")
    await driver.settle(())
    assert {e.get("type") for e in gateway.stanzas()} == {"unsubscribe", "unsubscribed", "unavailable"}


async def test_who_is_not_subscribed_learns_nothing(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    client = await romeo(driver)
    gateway.write(f"<presence from='{NICK}' to='{ROMEO}' type='probe'/>")
    for number, name in enumerate(("romeo", "nobody")):
        for payload in ("<vCard xmlns='vcard-temp'/>", "<query xmlns='jabber:iq:roster'/>"):
            gateway.write(f"<iq type='get' id='{number}' from='{NICK}' to='{name}@chat.example'>{payload}</iq>")
    await driver.settle(())
    probe, *answers = gateway.stanzas()
    assert shown(probe) == ("presence", ROMEO, NICK, "unsubscribed")
    assert {condition(answer) for answer in answers} == {"service-unavailable"}
    assert client.inbox == []


async def test_directed_presence(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    client = await romeo(driver)
    client.write(f"<presence to='room@{DOMAIN}/me'/>")
    await driver.settle(())
    await client.vanish()
    await driver.settle(())
    assert [shown(e) for e in gateway.stanzas()] == [
        ("presence", client.jid, f"room@{DOMAIN}/me", ""), ("presence", client.jid, f"room@{DOMAIN}/me", "unavailable"),
    ]


async def test_who_is_blocked_is_cut_off_both_ways(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    client = await romeo(driver)
    await client.request("set", f"<block xmlns='urn:xmpp:blocking'><item jid='{DOMAIN}'/></block>")
    client.inbox.clear()
    gateway.write(f"<message from='{NICK}' to='{ROMEO}' type='chat' id='m1'><body>Spam</body></message>")
    gateway.write(f"<presence from='{NICK}' to='{ROMEO}' type='subscribe'/>")
    client.write(f"<message to='{NICK}' type='chat' id='m2'><body>Hi</body></message>")
    await driver.settle(())
    assert [condition(e) for e in client.inbox] == ["not-acceptable"]
    assert [(e.get("id"), condition(e)) for e in gateway.stanzas()] == [("m1", "service-unavailable")]


async def test_who_is_blocked_sees_no_presence(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    client = await romeo(driver)
    client.write(f"<presence to='{NICK}' type='subscribed'/>")  # approved before it asks
    gateway.write(f"<presence from='{NICK}' to='{ROMEO}' type='subscribe'/>")
    await driver.settle(())
    assert [e.get("type") for e in gateway.stanzas()] == ["subscribed", ""]
    await client.request("set", f"<block xmlns='urn:xmpp:blocking'><item jid='{NICK}'/></block>")
    client.write("<presence><show>dnd</show></presence>")
    await driver.settle(())
    assert [shown(e) for e in gateway.stanzas()] == [("presence", client.jid, NICK, "unavailable")]


async def test_guesses_of_invitations_are_those_of_the_domain(
    driver: MemoryDriver, gateway: MemoryComponent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A component has any number of names to guess under (V-29)."""
    asked: list[str] = []

    async def find(self: object, token: str, domain: str, network: str) -> None:
        asked.append(network)

    monkeypatch.setattr(Invitations, "find", find)
    for number in range(2):
        gateway.write(f"<presence from='nick{number}@{DOMAIN}' to='{ROMEO}' type='subscribe'>"
                      f"<preauth xmlns='urn:xmpp:pars:0' token='{number}'/></presence>")
    await driver.settle(())
    assert asked == [DOMAIN, DOMAIN]


async def test_who_is_elsewhere_subscribes_to_nodes(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    """XEP-0163 §4.3.2: nodes know addresses; where those are is the router's affair."""
    client = await romeo(driver)
    pubsub = "http://jabber.org/protocol/pubsub"
    form = (
        f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>{pubsub}#publish-options"
        "</value></field><field var='pubsub#access_model'><value>open</value></field></x>"
    )

    async def publish(item: str) -> None:
        publish = f"<publish node='urn:n'><item id='{item}'><a xmlns='urn:a'/></item></publish>"
        options = f"<publish-options>{form}</publish-options>"
        await client.request("set", f"<pubsub xmlns='{pubsub}'>{publish}{options}</pubsub>")
        await driver.settle(())

    await publish("1")
    gateway.write(
        f"<iq type='set' id='s' from='{NICK}/phone' to='{ROMEO}'><pubsub xmlns='{pubsub}'>"
        f"<subscribe node='urn:n' jid='{NICK}'/></pubsub></iq>"
        f"<iq type='get' id='g' from='{NICK}/phone' to='{ROMEO}'>"
        f"<pubsub xmlns='{pubsub}'><items node='urn:n'/></pubsub></iq>"
    )
    await driver.settle(())
    answers = {stanza.get("id"): stanza for stanza in gateway.stanzas()}
    assert answers["s"].get("type") == answers["g"].get("type") == "result"
    gateway.inbox.clear()
    await publish("2")
    [event] = gateway.stanzas()
    assert shown(event) == ("message", ROMEO, NICK, "headline")
    assert "<item id='2'>" in event.to_xml()
    client.write(f"<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='{DOMAIN}'/></block></iq>")
    await driver.settle(())
    gateway.inbox.clear()
    await publish("3")
    assert gateway.stanzas() == []
