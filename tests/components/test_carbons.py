"""Carbons: with an archive, as one payload for all, within bounds; the rules themselves are transcripts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from xmppchat.components import BUILTIN, carbons
from xmppchat.components.carbons import wrap
from xmppchat.core.component import INBOUND, OUTBOUND, Component, ComponentConfig, Direction, Stage, stage
from xmppchat.core.pipeline import Archived, NotArchived, Passage
from xmppchat.core.session import Behind
from xmppchat.jid import JID
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.element import Element
from xmppchat.protocol.message_content import is_for_copies
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.server import Server
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle
from xmppchat.testing.runner import read_stanzas

ENABLE = f"<iq type='set' id='enable'><enable xmlns='{NS.CARBONS}'/></iq>"


class Shelf(Component[ComponentConfig]):
    """An archive for the tests: it keeps what says <keep/>, under the number there, for sender and recipient apart."""

    name = "shelf"

    @stage(Stage.ARCHIVE, OUTBOUND, kinds=("message",))
    def archive_sent(self, passage: Passage) -> Archived | NotArchived:
        """Under 1000 and the number."""
        return self._archive(passage, 1_000)

    @stage(Stage.ARCHIVE, INBOUND, kinds=("message",))
    def archive_received(self, passage: Passage) -> Archived | NotArchived:
        """Under 2000 and the number."""
        return self._archive(passage, 2_000)

    def _archive(self, passage: Passage, base: int) -> Archived | NotArchived:
        keep = passage.stanza.find("keep", "urn:test")
        return NotArchived("no <keep/>") if keep is None else Archived(base + int(keep.text))

    @stage(Stage.STAMP, INBOUND, kinds=("message",))
    def stamp(self, passage: Passage) -> Stanza:
        """As an archive does."""
        assert isinstance(passage.archived, Archived)
        kept = stanza_ids.without(passage.stanza.children, passage.account.jid)
        return passage.stanza.replace(children=[*kept, stanza_ids.element(passage.archived.id, passage.account.jid)])


@pytest_asyncio.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path)
    config = replace(driver.server.config, component_classes=(*BUILTIN, Shelf))
    driver.server = Server(config, clock=driver.clock, listen=False)
    await driver.start()
    for name in ("romeo", "juliet"):
        await driver.create_account(name, "secret")
    yield driver
    await driver.stop()


async def log_in(driver: MemoryDriver, name: str, resource: str) -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in(name, "secret", resource)
    client.write(ENABLE + "<presence/>")
    await settle(driver.server.kernel)
    return client


async def devices(driver: MemoryDriver, *names: str) -> list[MemoryClient]:
    """Clients "account/resource", with carbons, whose inboxes are empty."""
    clients = [await log_in(driver, *name.split("/")) for name in names]
    for client in clients:
        client.inbox.clear()
    return clients


def inside(element: Element, kind: str) -> Element:
    carbon = element.find(kind, NS.CARBONS)
    assert carbon is not None, element.to_xml()
    forwarded = carbon.find("forwarded", NS.FORWARD)
    assert forwarded is not None
    inner = forwarded.find("message", NS.CLIENT)
    assert inner is not None
    return inner


def ids(element: Element) -> list[tuple[str, str]]:
    return [(one.get("by"), one.get("id")) for one in element.find_all("stanza-id", NS.STANZA_IDS)]


async def test_a_copy_has_the_id_of_its_owners_archive(driver: MemoryDriver) -> None:
    """XEP-0313, XEP-0359: the same id live, in carbons and in the archive, and nobody else's."""
    phone, laptop, hers, her_laptop = await devices(
        driver, "romeo/phone", "romeo/laptop", "juliet/phone", "juliet/laptop"
    )
    phone.write(
        f"<message to='{hers.jid}' type='chat' id='m'><body>x</body><keep xmlns='urn:test'>7</keep>"
        f"<stanza-id xmlns='{NS.STANZA_IDS}' by='ROMEO@chat.example' id='666'/></message>"
    )
    await settle(driver.server.kernel)
    assert ids(inside(laptop.inbox[0], "sent")) == [("romeo@chat.example", "1007")]
    received = ids(hers.inbox[0])
    assert ("juliet@chat.example", "2007") in received
    assert ids(inside(her_laptop.inbox[0], "received")) == received
    assert [len(client.inbox) for client in (phone, laptop, hers, her_laptop)] == [0, 1, 1, 1]


@pytest.mark.parametrize("to", ["romeo@chat.example", "romeo@chat.example/laptop", None])
async def test_a_message_to_oneself_is_copied_with_its_id(driver: MemoryDriver, to: str | None) -> None:
    phone, laptop, tv = await devices(driver, "romeo/phone", "romeo/laptop", "romeo/tv")
    tv.write("<presence><priority>-1</priority></presence>")
    await settle(driver.server.kernel)
    for client in (phone, laptop, tv):
        client.inbox.clear()
    address = f"to='{to}'" if to else ""
    phone.write(f"<message {address} type='chat' id='m'><body>x</body><keep xmlns='urn:test'>7</keep></message>")
    await settle(driver.server.kernel)
    assert [len(client.inbox) for client in (phone, laptop, tv)] == [int(to is None or "/" not in to), 1, 1]
    assert ids(laptop.inbox[0]) == ids(inside(tv.inbox[0], "sent")) == [("romeo@chat.example", "2007")]


@pytest.mark.parametrize("content", ["<x xmlns='urn:x'/>", "<body>x</body>"])
async def test_whatever_is_archived_is_copied(driver: MemoryDriver, content: str) -> None:
    _, laptop, hers, her_laptop = clients = await devices(
        driver, "romeo/phone", "romeo/laptop", "juliet/phone", "juliet/laptop"
    )
    clients[0].write(f"<message to='{hers.jid}'>{content}<keep xmlns='urn:test'>7</keep></message>")
    await settle(driver.server.kernel)
    assert ids(inside(laptop.inbox[0], "sent")) == [("romeo@chat.example", "1007")]
    assert ids(inside(her_laptop.inbox[0], "received")) == [("juliet@chat.example", "2007")]


@pytest.mark.parametrize("attributes", ["type='groupchat'", "type='headline'"])
async def test_what_is_not_of_instant_messaging_is_not_copied_even_if_archived(
    driver: MemoryDriver, attributes: str
) -> None:
    phone, laptop, hers, her_laptop = await devices(
        driver, "romeo/phone", "romeo/laptop", "juliet/phone", "juliet/laptop"
    )
    phone.write(f"<message {attributes} to='{hers.jid}'><body>x</body><keep xmlns='urn:test'>7</keep></message>")
    await settle(driver.server.kernel)
    assert [len(client.inbox) for client in (phone, laptop, hers, her_laptop)] == [0, 0, 1, 0]


async def test_a_device_that_left_while_its_message_was_on_its_way_is_still_copied(driver: MemoryDriver) -> None:
    phone, laptop = await devices(driver, "romeo/phone", "romeo/laptop")
    driver.server.kernel.directory.forget("juliet@chat.example")  # so that she has to be loaded
    phone.write("<message to='juliet@chat.example' type='chat'><body>x</body></message></stream:stream>")
    await settle(driver.server.kernel)
    assert [element.name for element in laptop.inbox if element.find("sent", NS.CARBONS)] == ["message"]


async def test_while_stored_messages_are_handed_out_new_ones_are_not_copied_besides(driver: MemoryDriver) -> None:
    (hers,) = await devices(driver, "juliet/phone")
    (his,) = await devices(driver, "romeo/phone")
    session = driver.server.kernel.router.session(JID.parse("juliet@chat.example/phone"))
    assert session is not None
    session.behind = Behind()
    his.write("<message to='juliet@chat.example' type='chat'><body>x</body></message>")
    await settle(driver.server.kernel)
    assert hers.inbox == [], "it waits behind the others"
    session.release()
    await settle(driver.server.kernel)
    assert [element.child_text("body") for element in hers.inbox] == ["x"]


async def test_errors_are_told_by_peer_and_id_within_bounds(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carbons, "MAX_REMEMBERED", 3)
    phone, laptop, hers = await devices(driver, "romeo/phone", "romeo/laptop", "juliet/phone")
    for number in range(5):
        phone.write(f"<message to='{hers.jid}' type='chat' id='m{number}'><body>x</body></message>")
    await settle(driver.server.kernel)
    laptop.inbox.clear()
    for number in range(5):
        hers.write(f"<message to='{phone.jid}' type='error' id='m{number}'/>")
    hers.write(f"<message to='{phone.jid}' type='error' id='unknown'/><message to='{phone.jid}' type='error'/>")
    await settle(driver.server.kernel)
    assert [inside(element, "received").get("id") for element in laptop.inbox] == ["m2", "m3", "m4"]
    assert len([element for element in phone.inbox if element.get("type") == "error"]) == 7


async def test_an_error_for_somebody_else_is_no_answer(driver: MemoryDriver) -> None:
    """Ids are guessable: who was not written to cannot have an error copied."""
    await driver.create_account("mallory", "secret")
    phone, laptop, hers, mallory = await devices(
        driver, "romeo/phone", "romeo/laptop", "juliet/phone", "mallory/phone"
    )
    phone.write(f"<message to='{hers.jid}' type='chat' id='m'><body>x</body></message>")
    await settle(driver.server.kernel)
    laptop.inbox.clear()
    mallory.write(f"<message to='{phone.jid}' type='error' id='m'/>")
    await settle(driver.server.kernel)
    assert laptop.inbox == []


# --- one payload for all ----------------------------------------------------------------------------------------------


async def test_all_devices_get_one_and_the_same_payload(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = await devices(driver, "romeo/phone", "juliet/a", "juliet/b", "juliet/c")
    made: list[Stanza] = []

    def counted(name: str, stanza: Stanza, account: JID) -> Stanza:
        made.append(wrap(name, stanza, account))
        return made[-1]

    monkeypatch.setattr(carbons, "wrap", counted)
    clients[0].write(f"<message to='{clients[1].jid}' type='chat' id='m'><body>x</body></message>")
    await settle(driver.server.kernel)
    assert len(made) == 1
    assert [client.inbox[0].get("to") for client in clients[2:]] == [client.jid for client in clients[2:]]


# --- what is eligible -------------------------------------------------------------------------------------------------

PAYLOADS = [
    "<body xmlns='jabber:client'>x</body>", f"<request xmlns='{NS.RECEIPTS}'/>", f"<active xmlns='{NS.CHAT_STATES}'/>",
    f"<displayed xmlns='{NS.CHAT_MARKERS}'/>", f"<x xmlns='{NS.CONFERENCE}'/>", f"<x xmlns='{NS.MUC_USER}'/>",
    f"<x xmlns='{NS.MUC_USER}'><invite/></x>", f"<propose xmlns='{NS.JINGLE_MESSAGE}'/>", "<x xmlns='urn:x'/>",
    f"<private xmlns='{NS.CARBONS}'/>", f"<received xmlns='{NS.CARBONS}'/>", f"<sent xmlns='{NS.CARBONS}'/>",
    f"<no-copy xmlns='{NS.HINTS}'/>", f"<store xmlns='{NS.HINTS}'/>",
]  # fmt: skip


@given(
    st.sampled_from(["", "chat", "normal", "headline", "groupchat", "unknown"]),
    st.lists(st.sampled_from(PAYLOADS), max_size=4),
    st.sampled_from(["room@rooms.example", "room@rooms.example/nick"]),
    st.sampled_from([INBOUND, OUTBOUND]),
)
def test_what_is_eligible(kind: str, payloads: list[str], sender: str, direction: Direction) -> None:
    """XEP-0280 §6.1, rule by rule as they stand there; and what is a carbon itself (V-26), and XEP-0334 §4.3."""
    (element,) = read_stanzas(f"<message from='{sender}' type='{kind}'>{''.join(payloads)}</message>")
    held = "".join(payloads)
    is_normal = kind in ("", "normal", "unknown")
    rules = [
        kind == "chat",
        is_normal and "<body" in held,
        any(namespace in held for namespace in (NS.RECEIPTS, NS.CHAT_STATES, NS.CHAT_MARKERS)),
        NS.CONFERENCE in held,
        "<invite/>" in held,
        NS.JINGLE_MESSAGE in held,
    ]
    of_room = NS.MUC_USER in held and "/" in sender and direction is INBOUND
    plain_x = f"<x xmlns='{NS.MUC_USER}'/>" in payloads
    never = [
        kind in ("groupchat", "headline"),
        f"xmlns='{NS.CARBONS}'" in held,
        "<no-copy" in held,
        of_room and plain_x,
    ]
    found = is_for_copies(Stanza.from_element(element), is_inbound=direction is INBOUND)
    assert found == (any(rules) and not any(never))
