"""What Conversations and Monal send when they log in, in their order and pipelined: all is answered, and at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from xml.etree import ElementTree as ET

import pytest
from live_server import NewUser, ServerProcess, User
from questions import QUESTIONS, Answer, At, Question, judge
from raw_client import Installation, RawClient, header, in_one_flight

#: No answer takes longer on a machine that does nothing else, s.
AT_ONCE = 0.2
#: Replays; the machine may do something else during one.
TRIES = 3

_STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
_DISCO = "{http://jabber.org/protocol/disco#info}"
_BY_NAME = {question.name: question for question in QUESTIONS}
_AXOLOTL = "eu.siacs.conversations.axolotl"

CONVERSATIONS_WISHES = (
    "<bind xmlns='urn:xmpp:bind:0'><tag>Conversations</tag><enable xmlns='urn:xmpp:carbons:2'/>"
    "<enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>"
    "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>"
)
CONVERSATIONS = (
    "disco of the server", "disco of the account", "items of the server", "blocklist", "commands", "archive catch-up",
    "PEP publish to http://jabber.org/protocol/nick", "roster with versioning", "PEP items of urn:xmpp:bookmarks:1",
    "PEP items of storage:bookmarks", "bookmarks in private XML", "PEP items of urn:xmpp:mds:displayed:0",
    f"PEP items of {_AXOLOTL}.devicelist", f"PEP publish to {_AXOLOTL}.devicelist",
    f"PEP publish to {_AXOLOTL}.bundles:1", "push", "vCard", "TURN", "upload slot",
)
MONAL_WISHES = "".join(
    f"<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-{size}</upgrade>" for size in (256, 512)
)
MONAL = (
    "roster with versioning", "disco of the server", "items of the server", "disco of the account", "version",
    "offline purge", "archive preferences", "PEP items of urn:xmpp:mds:displayed:0", "carbons", "blocklist", "TURN",
    "push", "archive catch-up", "PEP items of urn:xmpp:avatar:metadata", f"PEP items of {_AXOLOTL}.devicelist",
    f"PEP publish to {_AXOLOTL}.devicelist", "PEP publish to urn:xmpp:bookmarks:1", "upload slot",
)
PRESENCE = (
    "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://client.example' "
    "ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence><active xmlns='urn:xmpp:csi:0'/><r xmlns='urn:xmpp:sm:3'/>"
)


@pytest.fixture
async def raw(server: ServerProcess) -> AsyncIterator[Callable[[User], RawClient]]:
    """Makes raw clients, cut off at the end."""
    made: list[RawClient] = []

    def make(user: User) -> RawClient:
        made.append(RawClient(server, user))
        return made[-1]

    yield make
    for client in made:
        await client.close()


def request(question: Question, server: ServerProcess, user: User) -> str:
    """The question as a stanza; its name is its id."""
    to = {At.SERVER: f" to='{server.domain}'", At.ACCOUNT: "", At.BARE: f" to='{user.jid}'"}[question.at]
    return f"<iq type='{question.type}' id='{question.name}'{to}>{question.payload}</iq>"


async def replay(
    client: RawClient, names: Sequence[str], server: ServerProcess, user: User, before: str = ""
) -> float:
    """Send everything in one piece; returns the slowest answer, in seconds. Everything is judged."""
    questions = [_BY_NAME[name] for name in names]
    begun = time.perf_counter()
    client.send(before + "".join(request(question, server, user) for question in questions) + PRESENCE)
    for name in names:
        await client.first(lambda element, name=name: element.tag.endswith("}iq") and element.get("id") == name)
    await client.first(lambda element: element.tag.endswith("}presence"))
    await client.first(lambda element: element.tag == "{urn:xmpp:sm:3}a")
    answers = {e.get("id", ""): (at - begun, e) for at, e in client.elements if e.tag.endswith("}iq")}
    told = {at: answers[f"disco of the {at.value}"][1] for at in (At.SERVER, At.ACCOUNT)}
    offers = {at: offered(iq) for at, iq in told.items()}
    faults = [judge(question, read(answers[question.name][1]), offers[question.by]) for question in questions]
    assert [fault for fault in faults if fault] == []
    return max(at for at, _ in answers.values())


def read(iq: ET.Element) -> Answer:
    error = iq.find("{jabber:client}error")
    if error is None:
        return Answer("", iq.get("type", ""), iq.get("from", ""), next(iter(iq), None))
    condition = next(child.tag.removeprefix(_STANZAS) for child in error if child.tag.startswith(_STANZAS))
    return Answer(condition, error.get("type", ""), iq.get("from", ""))


def offered(iq: ET.Element) -> frozenset[str]:
    features = {feature.get("var", "") for feature in iq.iter(f"{_DISCO}feature")}
    identities = {f"identity:{one.get('category')}/{one.get('type')}" for one in iq.iter(f"{_DISCO}identity")}
    return frozenset(features | identities)


def identity(success: ET.Element) -> str:
    return success.findtext("{urn:xmpp:sasl:2}authorization-identifier", "")


async def at_once(attempt: Callable[[], Awaitable[float]]) -> None:
    """One of some replays is as fast as it has to be; each is right."""
    slowest: list[float] = []
    while len(slowest) < TRIES and min(slowest, default=AT_ONCE) >= AT_ONCE:
        slowest.append(await attempt())
    assert min(slowest) < AT_ONCE, slowest


async def test_conversations(
    server: ServerProcess, raw: Callable[[User], RawClient], new_user: NewUser
) -> None:
    """First login: SCRAM, Bind 2 with carbons and stream management, a token; then all that it asks."""

    async def attempt() -> float:
        user = new_user("juliet")
        client = await raw(user).connect()
        success = await Installation(user, "Conversations").log_in(client, CONVERSATIONS_WISHES)
        assert identity(success).startswith(f"{user.jid}/Conversations/")
        assert success.find("{urn:xmpp:bind:0}bound/{urn:xmpp:mam:2}metadata") is not None
        features = await client.first(lambda element: element.find("{urn:xmpp:csi:0}csi") is not None)
        assert features.find("{urn:xmpp:features:rosterver}ver") is not None
        assert features.find("{http://jabber.org/protocol/caps}c") is not None
        return await replay(client, CONVERSATIONS, server, user)

    await at_once(attempt)


async def test_conversations_comes_back_in_one_round_trip(
    server: ServerProcess, raw: Callable[[User], RawClient], new_user: NewUser
) -> None:
    """Its quick start: header, token, resumption and the wish for a new session should that fail, in one segment."""
    user = new_user("juliet")
    phone = Installation(user, "Conversations")
    client = await raw(user).connect()
    await phone.log_in(client, CONVERSATIONS_WISHES)
    bound = identity(await client.answer("success"))
    await client.close()
    resume = f"<resume xmlns='urn:xmpp:sm:3' previd='{phone.session}' h='0'/>"

    again = await raw(user).connect(phone.by_token(resume + CONVERSATIONS_WISHES) + "<r xmlns='urn:xmpp:sm:3'/>")
    success = phone.remember(await again.answer("success"))
    assert success.find("{urn:xmpp:sm:3}resumed") is not None
    assert success.find("{urn:xmpp:bind:0}bound") is None
    assert identity(success) == bound
    await again.first(lambda element: element.tag == "{urn:xmpp:sm:3}a")
    again.send("</stream:stream>")
    await again.close()

    resume = resume.replace(phone.session, "a session that is no more")
    anew = await raw(user).connect(phone.by_token(resume + CONVERSATIONS_WISHES))
    success = await anew.answer("success")
    assert success.find("{urn:xmpp:sm:3}failed/{urn:ietf:params:xml:ns:xmpp-stanzas}item-not-found") is not None
    assert success.find("{urn:xmpp:bind:0}bound/{urn:xmpp:sm:3}enabled") is not None
    assert identity(success) == bound, "the same resource each time"
    await replay(anew, CONVERSATIONS, server, user)


async def test_monal(server: ServerProcess, raw: Callable[[User], RawClient], new_user: NewUser) -> None:
    """SASL2 without Bind 2; the upgrade tasks it offers are not needed. Then all else at once."""

    async def attempt() -> float:
        user = new_user("juliet")
        client = await raw(user).connect()
        success = await Installation(user, "Monal").log_in(client, MONAL_WISHES)
        assert identity(success) == user.jid
        bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>Monal</resource></bind>"
        before = f"<iq type='set' id='bind'>{bind}</iq><enable xmlns='urn:xmpp:sm:3' resume='true'/>"
        return await replay(client, MONAL, server, user, before)

    await at_once(attempt)


async def test_everything_in_one_segment_and_at_every_cut(
    server: ServerProcess, raw: Callable[[User], RawClient], new_user: NewUser
) -> None:
    """The end of the TLS handshake, header, login, resumption, the wish for a resource: however the bytes arrive."""
    user = new_user("juliet")
    phone = Installation(user, "Conversations")
    client = await raw(user).connect()
    await phone.log_in(client, CONVERSATIONS_WISHES)
    await client.close()
    wishes = f"<resume xmlns='urn:xmpp:sm:3' previd='{phone.session}' h='0'/><bind xmlns='urn:xmpp:bind:0'/>"
    text = f"{header(server, user)}{phone.by_token(wishes)}<r xmlns='urn:xmpp:sm:3'/>"

    def fly() -> None:
        answer, size = in_one_flight(server, text, None, b"<a xmlns")
        assert b"<resumed " in answer
        for cut in range(1, size):
            answer, _ = in_one_flight(server, text, cut, b"<a xmlns")
            assert b"<resumed " in answer, cut

    await asyncio.to_thread(fly)
