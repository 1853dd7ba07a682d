"""The policy on messages without encryption: off, encourage, require; by host, by a reload, with exceptions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command_support import A, B, Hosts, two_hosts
from component_support import DOMAIN as GATEWAY
from component_support import NICK, SECRET, attached, condition
from disk_support import FullDisk

from xmppchat.components import BUILTIN
from xmppchat.components.omemo.policy import DAY_MS, MAX_REMINDED, Reminders, is_readable
from xmppchat.core.config import ConfigError, load_config
from xmppchat.protocol.element import Element
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle
from xmppchat.testing.runner import run
from xmppchat.testing.transcript import parse

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]
TRANSCRIPTS = Path(__file__).parent / "omemo_policy"
BODY = "<body>Hi</body>"
OMEMO_1 = "<encrypted xmlns='urn:xmpp:omemo:1'><header sid='1'/></encrypted>"


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(**omemo: object) -> MemoryDriver:
        driver = MemoryDriver(tmp_path, omemo=omemo, external_components={GATEWAY: SECRET})
        drivers.append(driver)
        await driver.start()
        for name in ("romeo", "juliet", "bot"):
            await driver.create_account(name, "secret")
        return driver

    yield start
    for driver in drivers:
        await driver.stop()


async def log_in(driver: MemoryDriver, name: str, resource: str = "x") -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in(name, "secret", resource)
    client.write("<presence/>")
    await driver.settle([client])
    client.inbox.clear()
    return client


def read(client: MemoryClient) -> list[Element]:
    """The messages that came since the last call."""
    found = [element for element in client.inbox if element.name == "message"]
    client.inbox.clear()
    return found


async def say(
    driver: MemoryDriver, sender: MemoryClient, to: str, inner: str = BODY, kind: str = "chat"
) -> list[Element]:
    """Send a message; what the sender gets."""
    sender.write(f"<message to='{to}' type='{kind}' id='m'>{inner}</message>")
    await driver.settle([sender])
    return read(sender)


def text_of(error: Element) -> str:
    found = error.find("error")
    assert found is not None, error.to_xml()
    return found.child_text("text", "urn:ietf:params:xml:ns:xmpp-stanzas") or ""


# --- what is readable -------------------------------------------------------------------------------------------------

RETRACTION = "<retract xmlns='urn:xmpp:message-retract:1' id='x'/>"
FALLBACK = "<fallback xmlns='urn:xmpp:fallback:0' for='{}'>{}</fallback>"
RETRACTED = FALLBACK.format("urn:xmpp:message-retract:1", "")

READABLE = {
    "a body": BODY,
    "a body and another": f"<body xml:lang='de'/>{BODY}",
    "only said to be encrypted": f"{BODY}<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2'/>",
    "encrypted, with nothing in it": f"{BODY}<encrypted xmlns='urn:xmpp:omemo:2'/>",
    "encrypted somewhere below": f"{BODY}<x xmlns='urn:x'><encrypted xmlns='urn:xmpp:omemo:2'><a/></encrypted></x>",
    "of another namespace": f"{BODY}<encrypted xmlns='urn:x'><a/></encrypted>",
    "a correction": f"{BODY}<replace xmlns='urn:xmpp:message-correct:0' id='x'/>",
    "a link": f"{BODY}<x xmlns='jabber:x:oob'><url>https://a</url></x>",
    "a fallback for nothing known": BODY + FALLBACK.format("urn:x", "") + "<retract xmlns='urn:x'/>",
    "a fallback for what is not there": BODY + RETRACTED,
    "a fallback without a purpose": f"{BODY}<fallback xmlns='urn:xmpp:fallback:0'/>{RETRACTION}",
    "a fallback for a part": BODY + RETRACTION + FALLBACK.format("urn:xmpp:message-retract:1", "<body end='1'/>"),
    "a fallback for the subject": BODY + RETRACTION + FALLBACK.format("urn:xmpp:message-retract:1", "<subject/>"),
    "a reply": "<body>&gt; you\nI</body><reply xmlns='urn:xmpp:reply:0' id='x'/>"
    + FALLBACK.format("urn:xmpp:reply:0", "<body start='0' end='6'/>"),
    "a reaction that quotes": f"{BODY}<reactions xmlns='urn:xmpp:reactions:0' id='x'/>"
    + FALLBACK.format("urn:xmpp:reactions:0", "<body/>"),
    "no OTR": "<body>Hm ?OTR:</body>",
    "a room's word of somebody": f"{BODY}<x xmlns='http://jabber.org/protocol/muc#user'/>",
}
NOT_READABLE = {
    "nothing": "",
    "an empty body": "<body/>",
    "blanks": "<body> \n</body>",
    "a subject": "<subject>Hi</subject>",
    "a chat state": "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
    "a receipt": "<received xmlns='urn:xmpp:receipts' id='x'/>",
    "a marker": "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>",
    "a reaction": "<reactions xmlns='urn:xmpp:reactions:0' id='x'/>",
    "a call": "<propose xmlns='urn:xmpp:jingle-message:0' id='x'/>",
    "OMEMO 0.3": f"{BODY}<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>",
    "OMEMO 0.4": f"{BODY}{OMEMO_1}",
    "OMEMO": f"<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'/></encrypted>{BODY}",
    "OpenPGP": f"{BODY}<openpgp xmlns='urn:xmpp:openpgp:0'>AA==</openpgp>",
    "OpenPGP of old": f"{BODY}<x xmlns='jabber:x:encrypted'>AA==</x>",
    "OTR": "<body>?OTR?v23?</body>",
    "a retraction": f"{BODY}{RETRACTION}{RETRACTED}",
    "a retraction, said at length": BODY + RETRACTION + FALLBACK.format("urn:xmpp:message-retract:1", "<body/>"),
    "an invitation": f"{BODY}<x xmlns='jabber:x:conference' jid='room@rooms.example'/>",
    "a room's invitation": f"{BODY}<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>",
}


def message(inner: str, kind: str = "chat") -> Stanza:
    return Stanza.from_element(parse_stored(f"<message xmlns='jabber:client' type='{kind}'>{inner}</message>"))


@pytest.mark.parametrize("kind", ["chat", "normal", "groupchat", "unheard-of"])
def test_what_can_be_read_on_the_way(kind: str) -> None:
    found = {name: is_readable(message(inner, kind)) for name, inner in (READABLE | NOT_READABLE).items()}
    assert found == {**dict.fromkeys(READABLE, True), **dict.fromkeys(NOT_READABLE, False)}


@pytest.mark.parametrize("kind", ["error", "headline"])
def test_what_nobody_writes_is_not_looked_at(kind: str) -> None:
    assert not any(is_readable(message(inner, kind)) for inner in READABLE.values())


def test_reminders_are_bounded() -> None:
    reminders = Reminders()
    assert reminders.is_due("a", "b", 0)
    assert not reminders.is_due("a", "b", DAY_MS - 1)
    assert reminders.is_due("a", "b", DAY_MS)
    assert reminders.is_due("a", "b", 5), "a clock that was set back silences nobody"
    assert reminders.is_due("b", "a", 5)
    for number in range(MAX_REMINDED):
        reminders.is_due("c", str(number), 10)
    assert len(reminders._told) == MAX_REMINDED
    assert reminders.is_due("a", "b", 10)
    reminders.forget("c")
    assert list(reminders._told) == [("a", "b")]


# --- what happens -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["require", "encourage"])
async def test_transcript(start: Start, name: str) -> None:
    path = TRANSCRIPTS / f"{name}.xmpp"
    await run(parse(path.read_text(), Path(path.name)), await start(policy=name))


async def test_off_is_the_default_and_changes_nothing(start: Start) -> None:
    driver = await start()
    romeo, juliet = await log_in(driver, "romeo"), await log_in(driver, "juliet")
    assert await say(driver, romeo, "juliet@chat.example") == []
    assert len(read(juliet)) == 1
    assert driver.server.kernel.counts.unencrypted == {"refused": 0, "passed": 0}


async def test_what_is_refused_is_nowhere(start: Start) -> None:
    """Not archived, not stored for later, whatever kind of message it is; and counted."""
    driver = await start(policy="require")
    romeo = await log_in(driver, "romeo")
    for kind in ("chat", "normal", "groupchat"):
        (error,) = await say(driver, romeo, "juliet@chat.example", kind=kind)
        assert condition(error) == "policy-violation"
        assert error.find("error").get("type") == "modify"  # type: ignore[union-attr]
    (error,) = await say(driver, romeo, "romeo@chat.example")
    assert condition(error) == "policy-violation", "what is kept for oneself is kept here, too"
    answer = await romeo.request("set", "<query xmlns='urn:xmpp:mam:2'/>")
    assert read(romeo) == []
    assert answer.get("type") == "result"
    juliet = await log_in(driver, "juliet")
    assert read(juliet) == []
    assert driver.server.kernel.counts.unencrypted == {"refused": 4, "passed": 0}


async def test_a_message_without_an_address_is_to_oneself(start: Start) -> None:
    driver = await start(policy="require")
    romeo = await log_in(driver, "romeo")
    romeo.write(f"<message id='m'>{BODY}</message>")
    await driver.settle([romeo])
    (error,) = read(romeo)
    assert condition(error) == "policy-violation"


async def test_what_goes_to_the_server_itself_needs_none(start: Start) -> None:
    """It is answered as ever, and an announcement of the server's arrives."""
    driver = await start(policy="require")
    romeo = await log_in(driver, "romeo")
    (error,) = await say(driver, romeo, "chat.example")
    assert condition(error) == "service-unavailable"
    gateway = await attached(driver, GATEWAY)
    assert await say(driver, romeo, GATEWAY, "<body>help</body>") == []
    assert [element.child_text("body", "jabber:component:accept") for element in gateway.inbox] == ["help"]
    await driver.server.execute("announce", {"text": "Maintenance"})
    await driver.settle([romeo])
    assert [element.child_text("body") for element in read(romeo)] == ["Maintenance"]


async def test_who_is_exempt_is_so_both_ways(start: Start) -> None:
    driver = await start(policy="require", exempt=["bot@chat.example", "GATEWAY.chat.example"])
    romeo, bot = await log_in(driver, "romeo"), await log_in(driver, "bot")
    gateway = await attached(driver, GATEWAY)
    assert await say(driver, romeo, "bot@chat.example/x") == []
    assert len(read(bot)) == 1
    assert await say(driver, bot, "romeo@chat.example") == []
    assert len(read(romeo)) == 1
    assert await say(driver, romeo, NICK) == []
    gateway.inbox.clear()
    gateway.write(f"<message from='{NICK}' to='romeo@chat.example' type='chat'>{BODY}</message>")
    await driver.settle([romeo])
    assert len(read(romeo)) == 1
    assert gateway.inbox == []


async def test_what_comes_from_elsewhere_has_to_be_encrypted_too(start: Start) -> None:
    driver = await start(policy="require")
    romeo = await log_in(driver, "romeo")
    gateway = await attached(driver, GATEWAY)

    def send(inner: str, kind: str = "chat") -> None:
        gateway.write(f"<message from='{NICK}' to='romeo@chat.example' type='{kind}' id='m'>{inner}</message>")

    send(BODY)
    await driver.settle([romeo])
    assert read(romeo) == []
    (error,) = gateway.inbox
    assert condition(error) == "policy-violation"
    assert "chat.example takes encrypted messages only, so this one was not delivered" in error.to_xml()
    gateway.inbox.clear()
    send(NOT_READABLE["OMEMO"])
    send(NOT_READABLE["a chat state"])
    send(NOT_READABLE["a room's invitation"], "normal")
    await driver.settle([romeo])
    assert len(read(romeo)) == 3
    assert gateway.inbox == []
    gateway.write(f"<message from='room@{GATEWAY}/nick' to='romeo@chat.example/x' type='groupchat'>{BODY}</message>")
    await driver.settle([romeo])
    assert len(read(romeo)) == 1, "a refusal might make a room throw its member out"


async def test_encouragement_does_not_reach_elsewhere(start: Start) -> None:
    """Who is not of this host is not reminded, nor is a room, a second device, or the other side."""
    driver = await start(policy="encourage")
    romeo, laptop, juliet = [await log_in(driver, *who) for who in (("romeo",), ("romeo", "laptop"), ("juliet",))]
    gateway = await attached(driver, GATEWAY)
    gateway.write(f"<message from='{NICK}' to='romeo@chat.example/x' type='chat'>{BODY}</message>")
    await driver.settle([romeo])
    assert [element.get("type") for element in read(romeo)] == ["chat"]
    assert gateway.inbox == []
    (reminder,) = await say(driver, romeo, "juliet@chat.example")
    assert (reminder.get("type"), reminder.get("from")) == ("headline", "chat.example")
    assert "Your message to juliet@chat.example was sent, but not encrypted" in (reminder.child_text("body") or "")
    assert read(laptop) == []
    assert [element.get("type") for element in read(juliet)] == ["chat"]
    (reminder,) = await say(driver, romeo, NICK)
    assert f"Your message to {NICK}" in (reminder.child_text("body") or "")
    assert await say(driver, laptop, "juliet@chat.example/x") == [], "once for all devices"
    assert driver.server.kernel.counts.unencrypted == {"refused": 0, "passed": 3}
    await driver.server.execute("user delete", {"jid": "romeo@chat.example"})
    assert not component_of(driver)._reminders._told


def component_of(driver: MemoryDriver) -> Any:
    return next(one for one in driver.server.kernel.components if one.name == "omemo")


async def test_a_reminder_leaves_with_the_message(start: Start) -> None:
    """What could not be stored was not sent, and nobody says that it was."""
    driver = await start(policy="encourage")
    romeo = await log_in(driver, "romeo")
    gate = driver.server.kernel.gate
    writer, gate._writer = gate._writer, FullDisk(driver)
    (error,) = await say(driver, romeo, "juliet@chat.example")
    assert condition(error) == "resource-constraint"
    gate._writer = writer


# --- hosts, options, reload -------------------------------------------------------------------------------------------

@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    async with two_hosts(tmp_path, omemo={"policy": "off", "hosts": {A: "require"}}) as made:
        yield made


async def test_each_host_has_its_own(hosts: Hosts) -> None:
    """What a host wants holds for what its people send, and for what they are sent from hosts that do not want it."""
    clients = {bare: await hosts.log_in(bare) for bare in (f"romeo@{A}", f"alice@{A}", f"romeo@{B}", f"bob@{B}")}
    outcomes = {}
    for sender, recipient in (
        (f"romeo@{A}", f"alice@{A}"), (f"romeo@{A}", f"bob@{B}"), (f"bob@{B}", f"romeo@{A}"),
        (f"romeo@{B}", f"bob@{B}"),
    ):  # fmt: skip
        clients[sender].write(f"<message to='{recipient}' type='chat' id='m'>{BODY}</message>")
        await settle(hosts.kernel)
        (answer,) = read(clients[sender]) or [None]
        outcomes[sender, recipient] = text_of(answer).partition(" ")[0] if answer is not None else ""
        assert bool(read(clients[recipient])) is (answer is None)
    assert list(outcomes.values()) == [A, A, A, ""], "the host that wants it is named"


async def test_what_the_other_host_refuses_was_not_sent(tmp_path: Path) -> None:
    """Nobody is reminded that it was."""
    async with two_hosts(tmp_path, omemo={"policy": "encourage", "hosts": {A: "require"}}) as hosts:
        bob = await hosts.log_in(f"bob@{B}")
        bob.write(f"<message to='romeo@{A}' type='chat' id='m'>{BODY}</message>")
        await settle(hosts.kernel)
        (error,) = read(bob)
        assert condition(error) == "policy-violation"
        assert hosts.kernel.counts.unencrypted == {"refused": 1, "passed": 0}


def reconfigure(driver: MemoryDriver, **omemo: object) -> None:
    """What a reload does with a configuration that was found good."""
    server = driver.server
    server.config = replace(server.config, component_options={"omemo": omemo})
    assert server.kernel.reconfigure(server.config) == []


async def test_a_reload_changes_it(start: Start) -> None:
    driver = await start()
    romeo = await log_in(driver, "romeo")
    assert await say(driver, romeo, "juliet@chat.example") == []
    reconfigure(driver, policy="require")
    (error,) = await say(driver, romeo, "juliet@chat.example")
    assert condition(error) == "policy-violation"
    reconfigure(driver, policy="require", exempt=["juliet@chat.example"])
    assert await say(driver, romeo, "juliet@chat.example") == []
    reconfigure(driver, policy="require", hosts={"chat.example": "off"})
    assert await say(driver, romeo, "juliet@chat.example") == []


@pytest.mark.parametrize(("options", "fault"), [
    ('policy = "required"', 'components.omemo.policy'),
    ('hosts = {"chat.exmple" = "require"}', "chat.exmple is not served here; the hosts are: chat.example"),
    ('hosts = {"chat.example" = "on"}', "components.omemo.hosts"),
    ('hosts = {"@" = "off"}', "is not a domain"),
    ('exempt = ["@"]', 'an address looks like "bot@chat.example"'),
    ("few_prekeys = 0", "components.omemo.few_prekeys"), ("unseen_days = 0", "components.omemo.unseen_days"),
])  # fmt: skip
def test_what_is_misspelt_is_told_with_its_line(tmp_path: Path, options: str, fault: str) -> None:
    """A host that is not there would otherwise be one without a policy, and nobody would know."""
    path = tmp_path / "xmppchat.toml"
    path.write_text(
        f'[hosts."chat.example"]\ncertificate = "a.pem"\nkey = "b.pem"\n[components.omemo]\n{options}\n'
    )
    with pytest.raises(ConfigError) as error:
        load_config(path, BUILTIN)
    assert fault in str(error.value)
    assert f"{path}:5" in str(error.value)


def test_names_of_hosts_are_prepared(tmp_path: Path) -> None:
    path = tmp_path / "xmppchat.toml"
    path.write_text(
        '[hosts."chat.example"]\ncertificate = "a.pem"\nkey = "b.pem"\n[components.omemo]\n'
        'hosts = {"CHAT.example" = "require"}\n'
    )
    assert load_config(path, BUILTIN).component_options["omemo"].hosts == {"chat.example": "require"}
