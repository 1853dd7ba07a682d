"""External components (XEP-0114): what they may not do, order and pressure, who is listed, what a reload does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from component_support import DOMAIN, NICK, OTHER, ROMEO, SECRET, attached, condition, romeo

from xmppchat.core.commit_gate import CommitGate, StorageUnavailable, Write
from xmppchat.core.component import SERVER
from xmppchat.core.config import ServerConfig
from xmppchat.core.runtime import timestamp
from xmppchat.core.session import MAX_HELD
from xmppchat.jid import JID
from xmppchat.protocol.errors import SystemShutdown
from xmppchat.server import Server
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryDriver, settle


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


# --- what a component may not do -------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("stanza", "wanted"),
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
    driver: MemoryDriver, gateway: MemoryComponent, stanza: str, wanted: str
) -> None:
    client = await romeo(driver)
    gateway.write(stanza)
    gateway.write(f"<message from='{NICK}' to='{ROMEO}' type='chat'><body>behind</body></message>")
    await driver.settle(())
    assert (gateway.error, gateway.has_ended) == (wanted, True)
    assert client.inbox == []
    assert driver.server.kernel.links.get(DOMAIN) is None


@pytest.mark.parametrize(
    ("stanza", "wanted"),
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
    driver: MemoryDriver, gateway: MemoryComponent, stanza: str, wanted: str
) -> None:
    gateway.write(stanza)
    await driver.settle(())
    [refusal] = gateway.stanzas()
    assert (refusal.get("id"), refusal.get("to"), refusal.get("type"), condition(refusal)) == (
        "x", NICK, "error", wanted
    )
    assert gateway.is_attached


async def test_what_only_this_server_may_say_is_stripped(driver: MemoryDriver, gateway: MemoryComponent) -> None:
    """V-27: ids and delays of anybody here; those of the component's own domain stay."""
    client = await romeo(driver)
    claims = "".join(
        f"<delay xmlns='urn:xmpp:delay' from='{by}' stamp='2020-01-01T00:00:00Z'/>"
        f"<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='1'/>"
        for by in ("chat.example", "CHAT.example", "juliet@chat.example", ROMEO, f"room@{DOMAIN}")
    )
    gateway.write(f"<message from='room@{DOMAIN}/nick' to='{ROMEO}' type='chat'><body>Hi</body>{claims}</message>")
    gateway.write(f"<presence from='room@{DOMAIN}/nick' to='{ROMEO}'>{claims}</presence>")
    await driver.settle(())
    message, presence = client.inbox
    for stanza in (message, presence):
        assert {e.get("from") for e in stanza.elements() if e.name == "delay"} == {f"room@{DOMAIN}"}
    ids = [(e.get("by"), e.get("id")) for e in message.elements() if e.name == "stanza-id"]
    assert [by for by, _ in ids] == [f"room@{DOMAIN}", ROMEO]
    assert ids[1][1] != "1"


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
    assert [(e.get("id"), condition(e)) for e in gateway.stanzas()] == [
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

    ours = await listed()
    assert not {DOMAIN, OTHER} & set(ours)
    gateway = await attached(driver, DOMAIN)
    assert sorted(await listed()) == sorted([*ours, DOMAIN])
    await attached(driver, OTHER)
    assert sorted(await listed()) == sorted([*ours, DOMAIN, OTHER])
    gateway.transport.vanish()
    await driver.settle(())
    assert sorted(await listed()) == sorted([*ours, OTHER])


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
