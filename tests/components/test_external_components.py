"""External components (XEP-0114): stanzas both ways, by the rules for strangers; who is listed; what a reload does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from xmppchat.core.commit_gate import CommitGate, StorageUnavailable, Write
from xmppchat.core.component import SERVER
from xmppchat.core.config import ServerConfig
from xmppchat.core.runtime import timestamp
from xmppchat.core.session import MAX_HELD
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import SystemShutdown
from xmppchat.protocol.stanza import Stanza
from xmppchat.server import Server
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

SECRET = "correct horse battery staple, thrice"
DOMAIN = "gateway.chat.example"
OTHER = "rooms.elsewhere.example"
NICK = f"nick@{DOMAIN}"
ACCEPT = "jabber:component:accept"
ROMEO = "romeo@chat.example"


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


async def attached(driver: MemoryDriver, domain: str) -> MemoryComponent:
    component = MemoryComponent(driver.server, domain)
    component.attach(SECRET)
    await driver.settle(())
    assert component.is_attached, component.inbox
    component.inbox.clear()
    return component


async def romeo(driver: MemoryDriver, resource: str = "x", *, is_present: bool = True) -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in("romeo", "secret", resource)
    if is_present:
        await client.request("get", "<query xmlns='jabber:iq:roster'/>")
        client.write("<presence/>")
        await driver.settle([client])
        client.inbox.clear()
    return client


def shown(element: Element) -> tuple[str, str, str, str]:
    get = element.attributes.get
    return element.name, get("from", ""), get("to", ""), get("type", "")


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
    assert [(e.get("id"), e.get("from"), _condition(e)) for e in client.inbox] == [
        ("m1", NICK, "remote-server-timeout"), ("i1", DOMAIN, "remote-server-timeout"),
    ]


def _condition(element: Element) -> str:
    error = element.find("error", "jabber:client") or element.find("error", ACCEPT)
    return next(error.elements()).name if error is not None else ""


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
    assert [(e.get("id"), _condition(e)) for e in client.inbox] == [("m2", "remote-server-timeout")]


async def test_an_unknown_domain_is_another_matter(driver: MemoryDriver) -> None:
    client = await romeo(driver)
    client.write("<message to='nick@below.gateway.chat.example' id='m1'><body>Hi</body></message>")
    await driver.settle(())
    assert [_condition(element) for element in client.inbox] == ["remote-server-not-found"]


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
    assert [(e.get("id"), _condition(e)) for e in client.inbox] == [("2", "remote-server-timeout")]
    gateway.transport.vanish()
    (await attached(driver, OTHER)).transport.vanish()
    await driver.settle(())
    assert [(e.get("id"), e.get("from"), _condition(e)) for e in client.inbox] == [
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
    assert {_condition(answer) for answer in answers} == {"service-unavailable"}
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
    assert [_condition(e) for e in client.inbox] == ["not-acceptable"]
    assert [(e.get("id"), _condition(e)) for e in gateway.stanzas()] == [("m1", "service-unavailable")]


# --- what a component may not do -------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        (f"<message from='{ROMEO}' to='juliet@chat.example'><body>I</body></message>", "invalid-from"),
        (f"<message from='chat.example' to='{ROMEO}'><body>Update</body></message>", "invalid-from"),
        (f"<message from='a@sub.{DOMAIN}' to='{ROMEO}'><body>Hi</body></message>", "invalid-from"),
        (f"<message from='@{DOMAIN}' to='{ROMEO}'><body>Hi</body></message>", "invalid-from"),
        ("<message from='@' to='@'><body>Hi</body></message>", "invalid-from"),
        (f"<message to='{ROMEO}'><body>Hi</body></message>", "improper-addressing"),
        (f"<message from='{NICK}'><body>Hi</body></message>", "improper-addressing"),
        (f"<presence from='{NICK}'/>", "improper-addressing"),
        ("<handshake/>", "unsupported-stanza-type"),
        (f"<iq xmlns='jabber:server' type='get' id='1' from='{NICK}' to='{ROMEO}'/>", "unsupported-stanza-type"),
    ],
)
async def test_what_ends_the_stream(
    driver: MemoryDriver, gateway: MemoryComponent, stanza: str, condition: str
) -> None:
    client = await romeo(driver)
    gateway.write(stanza)
    gateway.write(f"<message from='{NICK}' to='{ROMEO}' type='chat'><body>behind</body></message>")
    await driver.settle(())
    assert (gateway.error, gateway.has_ended) == (condition, True)
    assert client.inbox == []
    assert driver.server.kernel.links.get(DOMAIN) is None


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        (f"<message id='x' from='{NICK}' to='@'><body>Hi</body></message>", "jid-malformed"),
        (f"<iq id='x' type='get' from='{NICK}' to='{ROMEO}'/>", "bad-request"),
        (f"<iq id='x' type='ask' from='{NICK}' to='{ROMEO}'><q xmlns='urn:q'/></iq>", "bad-request"),
        (f"<presence id='x' type='ask' from='{NICK}' to='{ROMEO}'/>", "bad-request"),
        (f"<iq id='x' type='set' from='{NICK}' to='chat.example'><query xmlns='jabber:iq:register'><remove/></query>"
         "</iq>", "forbidden"),
        (f"<message id='x' type='chat' from='{NICK}' to='nobody@chat.example'><body>Hi</body></message>",
         "service-unavailable"),
        (f"<message id='x' from='{NICK}' to='{ROMEO}/gone'><body>Hi</body></message>", "service-unavailable"),
    ],
)
async def test_what_is_refused_and_no_more(
    driver: MemoryDriver, gateway: MemoryComponent, stanza: str, condition: str
) -> None:
    gateway.write(stanza)
    await driver.settle(())
    [refusal] = gateway.stanzas()
    assert (refusal.get("id"), refusal.get("to"), refusal.get("type"), _condition(refusal)) == (
        "x", NICK, "error", condition
    )
    assert gateway.is_attached


async def test_the_server_takes_an_answer_to_nothing(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    client = await romeo(driver)
    gateway.write(f"<iq type='result' id='1' from='{DOMAIN}' to='{client.jid}'/>")
    gateway.write(f"<iq type='error' id='1' from='{DOMAIN}' to='chat.example'/>")
    await driver.settle(())
    assert (client.inbox, gateway.stanzas(), gateway.has_ended) == ([], [], False)


async def test_a_second_one_is_refused(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    """As Prosody has it: the one that is there stays; once it is gone, another may come."""
    second = MemoryComponent(driver.server, DOMAIN)
    second.attach(SECRET)
    await driver.settle(())
    assert (second.error, second.has_ended, gateway.has_ended) == ("conflict", True, False)
    gateway.write("</stream:stream>")
    await driver.settle(())
    assert gateway.has_ended
    await attached(driver, DOMAIN)


async def test_who_does_not_prove_itself_in_time_is_gone(driver: MemoryDriver) -> None:
    component = MemoryComponent(driver.server, DOMAIN)
    component.open()
    await driver.settle(())
    await driver.advance(driver.server.kernel.limits.negotiation_stall_seconds + 1)
    await driver.settle(())
    assert (component.error, component.has_ended) == ("connection-timeout", True)


# --- order and pressure ----------------------------------------------------------------------------------------------

async def test_stanzas_of_a_link_keep_their_order(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    """Also where the first is for an account that has to be loaded, and the second for one that is at hand."""
    await driver.create_account("juliet", "secret")
    client = await romeo(driver)
    driver.server.kernel.directory.forget("juliet@chat.example")
    gateway.write(
        f"<message from='{NICK}' to='juliet@chat.example' type='chat' id='1'><body>1</body></message>"
        f"<iq type='get' id='2' from='{NICK}' to='chat.example'><ping xmlns='urn:xmpp:ping'/></iq>"
        f"<iq type='get' id='3' from='{NICK}' to='nobody@chat.example'><ping xmlns='urn:xmpp:ping'/></iq>"
        f"<iq type='get' id='4' from='{NICK}' to='chat.example'><ping xmlns='urn:xmpp:ping'/></iq>"
        f"<message from='{NICK}' to='{ROMEO}' type='chat' id='5'><body>5</body></message>"
    )
    await driver.settle(())
    assert [e.get("id") for e in gateway.stanzas()] == ["2", "3", "4"]
    assert [e.get("id") for e in client.inbox] == ["5"]


async def test_who_sends_faster_than_the_disk_is_not_read(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    kernel = driver.server.kernel
    await kernel.directory.get(JID.parse(ROMEO))
    for number in range(3 * MAX_HELD):
        gateway.connection.received(
            f"<message from='{NICK}' to='{ROMEO}' type='chat' id='{number}'><body>{number}</body></message>".encode()
        )
        if gateway.transport._paused:
            break
    assert number == MAX_HELD - 1
    assert gateway.transport._paused == {"uncommitted"}
    await driver.settle(())
    assert not gateway.transport._paused
    client = await romeo(driver, is_present=False)
    client.write("<presence/>")
    await driver.settle(())
    assert [e.get("id") for e in client.inbox if e.name == "message"] == [str(n) for n in range(MAX_HELD)]


class FailingWriter:
    """A database that cannot write: each ticket fails when the event loop comes to it."""

    def __init__(self, gate: CommitGate) -> None:
        self._gate = gate

    def submit(self, ticket: int, writes: Sequence[Write]) -> None:
        error = StorageUnavailable("the disk is full")
        asyncio.get_running_loop().call_soon(self._gate.on_settled, [(ticket, error)])


async def test_what_cannot_be_stored_is_refused_and_not_shown(
    driver: MemoryDriver, gateway: MemoryComponent, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = driver.server.kernel.gate
    client = await romeo(driver)
    with monkeypatch.context() as patch:
        patch.setattr(gate, "_writer", FailingWriter(gate))
        gateway.write(f"<message id='1' from='{NICK}' to='{ROMEO}' type='chat'><body>Hi</body></message>")
        gateway.write(f"<presence id='2' from='{NICK}' to='{ROMEO}' type='subscribe'/>")
        gateway.write(f"<iq id='3' type='get' from='{NICK}' to='chat.example'><ping xmlns='urn:xmpp:ping'/></iq>")
        await driver.settle(())
    assert client.inbox == []
    assert [(e.get("id"), _condition(e)) for e in gateway.stanzas()] == [
        ("1", "resource-constraint"), ("2", "resource-constraint"), ("3", ""),
    ]
    gateway.write(f"<presence from='{NICK}' to='{ROMEO}' type='subscribe'/>")
    await driver.settle(())
    assert [e.get("type") for e in client.inbox] == ["subscribe"], "it was not taken for stored"


# --- what is listed --------------------------------------------------------------------------------------------------

async def test_services_are_listed_while_they_are_there(driver: MemoryDriver) -> None:
    client = await romeo(driver)

    async def listed() -> list[str]:
        client.write("<iq type='get' id='items' to='chat.example'><query xmlns='http://jabber.org/protocol/disco#items'/>"
                     "</iq>")
        answer = await client.take(lambda element: element.get("id") == "items")
        return [item.get("jid") for item in next(answer.elements()).elements()]

    assert await listed() == []
    gateway = await attached(driver, DOMAIN)
    assert await listed() == [DOMAIN]
    await attached(driver, OTHER)
    assert await listed() == [DOMAIN, OTHER]
    gateway.transport.vanish()
    await driver.settle(())
    assert await listed() == [OTHER]


async def test_a_component_is_listed_at_the_host_it_is_below(tmp_path: Path) -> None:
    config = ServerConfig.for_tests(
        ["example", "chat.example"], data_dir=tmp_path, external_components={DOMAIN: SECRET, "a.test": SECRET}
    )
    server = Server(config, listen=False)
    await server.start()
    try:
        component = next(c for c in server.kernel.components if c.name == "external_components")
        for name in (DOMAIN, "a.test"):
            MemoryComponent(server, name).attach(SECRET)
        await settle(server.kernel)
        shown_at = {
            host: [item.get("jid") for item in component.disco_items(SERVER, host)] for host in server.kernel.hosts
        }
        assert shown_at == {"example": ["a.test"], "chat.example": ["a.test", DOMAIN]}
        server.component_port.close_all(SystemShutdown(""))
    finally:
        await server.stop()


async def test_the_command_tells_who_is_there(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    gateway.write(f"<iq type='get' id='p' from='{DOMAIN}' to='chat.example'><ping xmlns='urn:xmpp:ping'/></iq>")
    await driver.settle(())
    rows = await driver.server.execute("components", {})
    assert rows == [
        {"component": DOMAIN, "since": timestamp(driver.clock.now()), "from": "127.0.0.1", "received": 1, "sent": 1},
        {"component": OTHER, "since": "not connected", "from": "-", "received": 0, "sent": 0},
    ]


# --- reload ----------------------------------------------------------------------------------------------------------

async def test_a_reload_takes_and_adds_components_and_leaves_the_others(
    driver: MemoryDriver, gateway: MemoryComponent
) -> None:
    other = await attached(driver, OTHER)
    server = driver.server

    def reconfigure(**secrets: str) -> None:
        config = ServerConfig.for_tests(
            ["chat.example"], data_dir=server.config.data_dir,
            external_components={name.replace("_", "."): secret for name, secret in secrets.items()},
        )
        server.kernel.reconfigure(config)
        server.component_port.reconfigure()

    reconfigure(gateway_chat_example=SECRET, new_test=SECRET)
    await driver.settle(())
    assert (gateway.has_ended, other.has_ended, other.error) == (False, True, "host-gone")
    await attached(driver, "new.test")
    reconfigure(gateway_chat_example=SECRET[::-1], new_test=SECRET)
    await driver.settle(())
    assert (gateway.has_ended, gateway.error) == (True, "reset")
    late = MemoryComponent(server, OTHER)
    late.open()
    await driver.settle(())
    assert late.error == "host-unknown"
    assert server.kernel.links.domains == {DOMAIN, "new.test"}
