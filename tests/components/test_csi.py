"""Client state indication: what an inactive client has in the end, how much is held, how long, and when it ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppchat.components.csi import holding
from xmppchat.components.csi.holding import MAX_SIZE, MAX_STANZAS, STAMP_SECONDS, Holding
from xmppchat.components.csi.urgency import CHAT_STATES, EVENTS, PRESENCE
from xmppchat.core.account import Account
from xmppchat.core.runtime import timestamp
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StreamError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.testing.clock import FakeClock
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle
from xmppchat.testing.runner import read_stanzas

OWN = JID.parse("juliet@chat.example/phone")
KINDS = frozenset({PRESENCE, CHAT_STATES, EVENTS})


class Screen:
    """The client's end: what was written to it, as it reads there."""

    def __init__(self) -> None:
        self.received: list[Element] = []

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        self.received.extend(read_stanzas(stanza.to_xml(to)))

    def send_nonza(self, element: Element) -> None:
        raise AssertionError("nothing says so here")

    def pause_reading(self, reason: str) -> None:
        raise AssertionError("nothing is sent here")

    resume_reading = pause_reading

    def close(self, error: StreamError | None) -> None:
        raise AssertionError("nobody closes it")


def session(clock: FakeClock, kinds: Iterable[str] | None = KINDS) -> tuple[Session, Screen]:
    screen = Screen()
    made = Session(OWN, Account(OWN.to_bare(), 1), screen, peer="192.0.2.1", connected_at=clock.now())
    if kinds is not None:
        made.shaper = Holding(clock, frozenset(kinds))
    return made, screen


def stanza(xml: str) -> Stanza:
    (element,) = read_stanzas(xml)
    return Stanza.from_element(element)


# --- what an inactive client has in the end ------------------------------------------------------------------------


class Told(NamedTuple):
    """A stanza and what it means to a person: `about` is what only the last of matters for, "" if all matter;
    `says` is who says something by it, so that a chat state of theirs is old."""

    xml: str
    about: str = ""
    says: str = ""


SENDERS = ["romeo@chat.example/a", "romeo@chat.example/b", "nurse@chat.example/a", "juliet@chat.example/laptop"]
STATE = f"<composing xmlns='{NS.CHAT_STATES}'/>"


def _carbon(kind: str, inner: str) -> str:
    return (
        f"<message id='%s' type='chat' from='{OWN.bare}'><{kind} xmlns='{NS.CARBONS}'>"
        f"<forwarded xmlns='{NS.FORWARD}'>{inner}</forwarded></{kind}></message>"
    )


def _told(sender: str) -> list[Told]:
    message = f"<message id='%s' type='chat' from='{sender}'>{{}}</message>".format
    inner = f"<message xmlns='jabber:client' type='chat' from='{sender}' to='{OWN.bare}/x'>{{}}</message>".format

    def event(content: str) -> str:
        return (
            f"<message id='%s' type='headline' from='{sender}'><event xmlns='{NS.PUBSUB_EVENT}'>{content}</event>"
            "</message>"
        )

    return [
        Told(f"<presence id='%s' from='{sender}'/>", f"presence {sender}"),
        Told(f"<presence id='%s' from='{sender}'><show>away</show></presence>", f"presence {sender}"),
        Told(f"<presence id='%s' from='{sender}' type='unavailable'/>", f"presence {sender}"),
        Told(f"<presence id='%s' from='{sender}' type='subscribe'/>"),
        Told(f"<presence id='%s' from='{sender}' type='error'/>"),
        Told(f"<presence id='%s' from='{sender}'><x xmlns='{NS.MUC_USER}'><status code='110'/></x></presence>"),
        Told(f"<iq id='%s' from='{sender}' type='get'><q xmlns='urn:x'/></iq>"),
        Told(message(STATE), f"state {sender}"),
        Told(message(f"{STATE}<no-store xmlns='{NS.HINTS}'/><thread>t</thread>"), f"state {sender}"),
        Told(message("<body>x</body>"), says=sender),
        Told(message(f"<body>x</body>{STATE}"), says=sender),
        Told(message(f"<received xmlns='{NS.RECEIPTS}' id='x'/>")),
        Told(message(f"<encrypted xmlns='{NS.OMEMO}'/>"), says=sender),
        Told(message(f"{STATE}<stanza-id xmlns='{NS.STANZA_IDS}' by='{OWN.bare}' id='1'/>"), says=sender),
        Told(message(STATE).replace("'chat'", "'error'")),
        Told(event("<items node='n'><item id='1'><a xmlns='urn:x'/></item></items>"), f"event {sender} n 1"),
        Told(event("<items node='n'><retract id='1'/></items>"), f"event {sender} n 1"),
        Told(event("<items node='n'><item id='2'/></items>"), f"event {sender} n 2"),
        Told(event("<items node='n'><item id='1'/><item id='2'/></items>")),
        Told(event("<purge node='n'/>")),
        Told(f"<message id='%s' type='headline' from='{sender}'><body>x</body></message>"),
        Told(_carbon("received", inner(STATE)), f"state {sender}"),
        Told(_carbon("received", inner("<body>x</body>")), says=sender),
        Told(_carbon("sent", inner(STATE))),
        Told(_carbon("received", inner(STATE)).replace(f"from='{OWN.bare}'", f"from='{sender}'")),  # forged
    ]


TOLD = [told for sender in SENDERS for told in _told(sender)]
STEPS = st.lists(
    st.one_of(
        st.sampled_from(TOLD), st.sampled_from(TOLD), st.sampled_from(TOLD),
        st.floats(0.1, 30.0), st.sampled_from(["active", "inactive"]),
    ),
    max_size=60,
)  # fmt: skip


def _is_superseded(told: Told, later: list[Told]) -> bool:
    """Whether nobody misses it: one about the same, or a message of who was about to write, came behind it."""
    sender = told.about.removeprefix("state ") if told.about.startswith("state ") else None
    return any(other.about == told.about or (sender is not None and other.says == sender) for other in later)


@given(STEPS)
def test_an_inactive_client_has_what_an_active_one_has_but_for_what_is_superseded(
    steps: list[Told | float | str],
) -> None:
    clock = FakeClock()
    sleeper, screen = session(clock)
    all_of_it: list[tuple[Told, int]] = []  # with the time it was sent
    for step in [*steps, "active"]:
        if isinstance(step, float):
            clock.advance(step)
        elif step == "active":
            if sleeper.shaper is not None:
                sleeper.shaper.flush(sleeper)
            assert sleeper.shaper is None
        elif step == "inactive":
            sleeper.shaper = sleeper.shaper or Holding(clock, KINDS)
        else:
            assert isinstance(step, Told)
            sleeper.deliver(stanza(step.xml % len(all_of_it)))
            all_of_it.append((step, clock.now()))
    numbers = [int(element.get("id")) if element.get("id") else -1 for element in screen.received]
    # Each once, none that was not sent, and in the order in which they were sent.
    assert numbers == sorted(set(numbers))
    missing = set(range(len(all_of_it))) - set(numbers)
    for number in missing:
        told = all_of_it[number][0]
        assert told.about, f"what nothing supersedes is lost: {told.xml}"
        assert _is_superseded(told, [later for later, _ in all_of_it[number + 1 :]]), told
    for number, element in zip(numbers, screen.received, strict=True):
        told, sent_at = all_of_it[number]
        delay = element.find("delay", NS.DELAY)
        expected = stanza(told.xml % number).to_element()
        if delay is not None:
            assert delay.attributes == {"from": "chat.example", "stamp": timestamp(sent_at)}
            element = element.replace(children=[child for child in element.children if child is not delay])
        assert element == expected


@given(STEPS)
def test_when_something_urgent_comes_nothing_is_held_any_more(steps: list[Told | float | str]) -> None:
    clock = FakeClock()
    sleeper, screen = session(clock)
    shaper = sleeper.shaper
    assert isinstance(shaper, Holding)
    for number, step in enumerate(step for step in steps if isinstance(step, Told)):
        before = len(screen.received)
        sleeper.deliver(stanza(step.xml % number))
        assert len(shaper) < MAX_STANZAS
        if len(screen.received) > before:
            assert len(shaper) == 0
            assert shaper.size == 0
            assert screen.received[-1].get("id") == str(number)
        else:
            assert len(shaper) > 0


# --- how much, and how long -----------------------------------------------------------------------------------------


def test_a_flood_of_presence_is_bounded_and_loses_nothing() -> None:
    clock = FakeClock()
    sleeper, screen = session(clock)
    shaper = sleeper.shaper
    assert isinstance(shaper, Holding)
    for number in range(3 * MAX_STANZAS):
        sleeper.deliver(stanza(f"<presence from='nurse@chat.example/{number}'/>"))
        assert len(shaper) < MAX_STANZAS
    assert len(screen.received) == 3 * MAX_STANZAS
    assert [JID.parse(element.get("from")).resource for element in screen.received] == [
        str(number) for number in range(3 * MAX_STANZAS)
    ]


def test_one_sender_has_one_place_however_often_it_changes() -> None:
    sleeper, screen = session(FakeClock())
    shaper = sleeper.shaper
    assert isinstance(shaper, Holding)
    for number in range(10_000):
        sleeper.deliver(stanza(f"<presence id='{number}' from='nurse@chat.example/x'/>"))
    assert len(shaper) == 1
    shaper.flush(sleeper)
    assert [element.get("id") for element in screen.received] == ["9999"]


def test_large_stanzas_are_bounded_by_their_size() -> None:
    sleeper, screen = session(FakeClock())
    shaper = sleeper.shaper
    assert isinstance(shaper, Holding)
    status = "x" * 10_000
    for number in range(100):
        sleeper.deliver(stanza(f"<presence from='nurse@chat.example/{number}'><status>{status}</status></presence>"))
        assert shaper.size < MAX_SIZE
    assert len(screen.received) >= 100 - MAX_SIZE // 10_000


def test_events_without_an_id_take_a_place_each() -> None:
    sleeper, screen = session(FakeClock())
    event = f"<event xmlns='{NS.PUBSUB_EVENT}'><items node='n'><item/></items></event>"
    xml = f"<message type='headline' from='nurse@chat.example'>{event}</message>"
    for _ in range(MAX_STANZAS - 1):
        sleeper.deliver(stanza(xml))
    assert screen.received == []
    sleeper.deliver(stanza(xml))
    assert len(screen.received) == MAX_STANZAS


@pytest.mark.parametrize(("seconds", "is_stamped"), [(STAMP_SECONDS, False), (STAMP_SECONDS + 0.1, True)])
def test_only_what_waited_for_long_is_stamped(seconds: float, is_stamped: bool) -> None:
    clock = FakeClock()
    sleeper, screen = session(clock)
    sent_at = clock.now()
    sleeper.deliver(stanza("<presence from='nurse@chat.example/x'/>"))
    clock.advance(seconds)
    assert sleeper.shaper is not None
    sleeper.shaper.flush(sleeper)
    (received,) = screen.received
    delay = received.find("delay", NS.DELAY)
    assert (delay is not None) is is_stamped
    assert delay is None or delay.attributes == {"from": "chat.example", "stamp": timestamp(sent_at)}


def test_who_gets_it_by_another_name_gets_it_by_that_name() -> None:
    """A fan-out has one stanza for all, and an address for each."""
    clock = FakeClock()
    sleeper, screen = session(clock)
    for number in itertools.count():
        sleeper.deliver(stanza(f"<presence from='nurse@chat.example/{number}' to='elsewhere@chat.example'/>"), OWN)
        if number:
            break
        clock.advance(60)
    assert sleeper.shaper is not None
    sleeper.shaper.flush(sleeper)
    assert [element.get("to") for element in screen.received] == [OWN.full, OWN.full]


@pytest.mark.parametrize("kinds", [{PRESENCE}, {CHAT_STATES}, {EVENTS}])
def test_the_admin_says_what_waits(kinds: set[str]) -> None:
    sleeper, screen = session(FakeClock(), kinds)
    of_kind = {
        PRESENCE: "<presence id='presence' from='nurse@chat.example/x'/>",
        CHAT_STATES: f"<message id='chat_states' from='nurse@chat.example/x' type='chat'>{STATE}</message>",
        EVENTS: f"<message id='events' from='{OWN}' type='headline'><event xmlns='{NS.PUBSUB_EVENT}'/></message>",
    }
    for kind in (*kinds, *(KINDS - kinds)):
        sleeper.deliver(stanza(of_kind[kind]))
    held = [element.get("id") for element in screen.received]
    assert held[0] == next(iter(kinds))  # the others are urgent, and took it along
    assert set(held) == KINDS


def test_the_queue_is_bounded_where_the_limits_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (MAX_STANZAS, MAX_SIZE) == (256, 256 * 1024)  # reliability.md, limit 59
    monkeypatch.setattr(holding, "MAX_STANZAS", 2)
    sleeper, screen = session(FakeClock())
    sleeper.deliver(stanza("<presence from='nurse@chat.example/1'/>"))
    assert screen.received == []
    sleeper.deliver(stanza("<presence from='nurse@chat.example/2'/>"))
    assert len(screen.received) == 2


# --- in the server --------------------------------------------------------------------------------------------------


@pytest.fixture
async def memory(tmp_path: Path) -> MemoryDriver:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    for name in ("juliet", "romeo"):
        await driver.create_account(name, "secret")
    return driver


async def log_in(driver: MemoryDriver, name: str) -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in(name, "secret", "x")
    client.write("<presence/>")
    await settle(driver.server.kernel)
    client.inbox.clear()
    return client


async def test_a_new_session_is_active_whatever_the_old_one_was(memory: MemoryDriver) -> None:
    """XEP-0352 §5.2, and §4.2: a stream begins active."""
    romeo, juliet = await log_in(memory, "romeo"), await log_in(memory, "juliet")
    juliet.write(f"<inactive xmlns='{NS.CSI}'/>")
    romeo.write(f"<presence to='{juliet.jid}'><show>away</show></presence>")
    await settle(memory.server.kernel)
    assert juliet.inbox == []
    juliet = await log_in(memory, "juliet")  # the same resource
    romeo.write(f"<presence to='{juliet.jid}'><show>xa</show></presence>")
    await settle(memory.server.kernel)
    assert [element.name for element in juliet.inbox] == ["presence"]
    await memory.stop()


@pytest.mark.parametrize("is_noticed", [True, False])
async def test_a_resumed_stream_is_active_and_has_what_was_held(memory: MemoryDriver, is_noticed: bool) -> None:
    """XEP-0352 §5.2, whether or not the loss of the connection was noticed before its client came back."""
    romeo, juliet = await log_in(memory, "romeo"), await log_in(memory, "juliet")
    juliet.write(f"<enable xmlns='{NS.STREAM_MANAGEMENT}' resume='true'/>")
    enabled = await juliet.take(lambda element: element.name == "enabled")
    juliet.write(f"<inactive xmlns='{NS.CSI}'/>")
    for show in ("away", "xa"):
        romeo.write(f"<presence to='{juliet.jid}'><show>{show}</show></presence>")
    await settle(memory.server.kernel)
    assert juliet.inbox == []
    if is_noticed:
        await juliet.vanish()
        await settle(memory.server.kernel)
        romeo.write(f"<message to='{juliet.jid}' type='chat'><active xmlns='{NS.CHAT_STATES}'/></message>")
        await settle(memory.server.kernel)
    again = await memory.connect()
    await again.authenticate("juliet", "secret")
    again.write(f"<resume xmlns='{NS.STREAM_MANAGEMENT}' previd='{enabled.get('id')}' h='0'/>")
    assert (await again.take(lambda element: element.namespace == NS.STREAM_MANAGEMENT)).name == "resumed"
    romeo.write(f"<presence to='{juliet.jid}'><show>dnd</show></presence>")
    await settle(memory.server.kernel)
    stanzas = [element for element in again.inbox if element.namespace == NS.CLIENT]
    assert [element.child_text("show") for element in stanzas] == (["xa", None, "dnd"] if is_noticed else ["xa", "dnd"])
    await memory.stop()


async def test_an_admin_who_holds_nothing_switches_it_off(memory: MemoryDriver) -> None:
    server = memory.server
    server.config = replace(server.config, component_options={"csi": {"hold": []}})
    assert server.kernel.reconfigure(server.config) == []
    romeo, juliet = await log_in(memory, "romeo"), await log_in(memory, "juliet")
    juliet.write(f"<inactive xmlns='{NS.CSI}'/>")
    romeo.write(f"<presence to='{juliet.jid}'><show>away</show></presence>")
    await settle(memory.server.kernel)
    assert [element.child_text("show") for element in juliet.inbox] == ["away"]
    await memory.stop()


async def test_the_stream_feature_comes_after_authentication(memory: MemoryDriver) -> None:
    client = MemoryClient("chat.example", memory.server.connections.new())
    before = await client.open()
    assert before.find("csi", NS.CSI) is None
    await client.log_in("romeo", "secret", "x")
    after: list[Element] = []
    client = MemoryClient("chat.example", memory.server.connections.new())
    opened = client.open

    async def open_and_keep() -> Element:
        after.append(await opened())
        return after[-1]

    client.open = open_and_keep  # type: ignore[method-assign]
    await client.open()
    await client.log_in("romeo", "secret", "y")
    assert [features.find("csi", NS.CSI) is not None for features in after] == [False, True]
    await memory.stop()
