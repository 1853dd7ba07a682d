"""A golden login: all that today's clients ask at login is answered, with what was advertised or the right error."""

from __future__ import annotations

import asyncio
from typing import Literal
from xml.etree import ElementTree as ET

import pytest
from live_server import NewUser, ServerProcess, User
from questions import QUESTIONS, Answer, At, judge
from slix import MakeSlix, Slix
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.stanza import Iq
from slixmpp.xmlstream import StanzaBase
from waiting import PATIENCE

_DISCO = "{http://jabber.org/protocol/disco#info}"


async def ask(client: Slix, kind: Literal["get", "set"], to: str, payload: str) -> Answer:
    """Sends one request ("" as `to` for none) and waits for its answer."""
    iq: Iq = client.make_iq(ito=to or None, itype=kind)
    iq.xml.append(ET.fromstring(payload))
    try:
        result = await iq.send(timeout=PATIENCE)
    except IqError as error:
        return Answer(error.condition, error.etype, str(error.iq.xml.get("from", "")))
    except IqTimeout:
        return Answer("silence")
    return Answer("", "result", str(result.xml.get("from", "")), next(iter(result.xml), None))


async def advertised(client: Slix, to: str) -> frozenset[str]:
    """Features and identities of `to`."""
    answer = await ask(client, "get", to, '<query xmlns="http://jabber.org/protocol/disco#info"/>')
    assert answer.payload is not None, answer
    features = {feature.get("var", "") for feature in answer.payload.iter(f"{_DISCO}feature")}
    identities = {
        f"identity:{identity.get('category')}/{identity.get('type')}"
        for identity in answer.payload.iter(f"{_DISCO}identity")
    }
    assert identities, "an entity has at least one identity (XEP-0030 §3.1)"
    return frozenset(features | identities)


async def test_all_questions_at_once(
    server: ServerProcess, slix: MakeSlix, new_user: NewUser, pytestconfig: pytest.Config
) -> None:
    """Asked in parallel, as clients do."""
    user = new_user("juliet")
    client = await slix(user).login(available=False)
    to = {At.SERVER: server.domain, At.ACCOUNT: "", At.BARE: user.jid}
    answers = await asyncio.gather(*(ask(client, q.type, to[q.at], q.payload) for q in QUESTIONS))
    offers = {At.SERVER: await advertised(client, server.domain), At.ACCOUNT: await advertised(client, user.jid)}

    faults = [judge(q, answer, offers[q.by]) for q, answer in zip(QUESTIONS, answers, strict=True)]
    for question, answer in zip(QUESTIONS, answers, strict=True):
        sender = server.domain if question.at is At.SERVER else user.jid
        # No `from` means the account (RFC 6120 §8.1.2.1) and Prosody leaves it out, but some clients want it.
        allowed = {sender, ""} if pytestconfig.getoption("--server") == "prosody" else {sender}
        if answer.sender not in allowed and answer.condition != "silence":
            faults.append(f"{question.name}: answered from {answer.sender!r}, not {sender!r}")
    assert [fault for fault in faults if fault] == []


async def test_each_item_of_the_server_can_be_asked(server: ServerProcess, slix: MakeSlix, user: User) -> None:
    """go-sendxmpp and others ask every item, and hang on one that is dead."""
    client = await slix(user).login()
    answer = await ask(client, "get", server.domain, '<query xmlns="http://jabber.org/protocol/disco#items"/>')
    assert answer.payload is not None
    for item in answer.payload:
        assert await advertised(client, item.get("jid", ""))


async def test_nobody_is_asked_in_vain(server: ServerProcess, slix: MakeSlix, new_user: NewUser) -> None:
    """Requests to those who cannot answer come back at once (RFC 6121 §8.5.1, §8.5.2, §8.5.3)."""
    client = await slix(new_user("juliet")).login()
    offline = new_user("romeo").jid
    for to in (f"nobody@{server.domain}", f"{offline}/gone", f"{client.boundjid.bare}/other-device"):
        answer = await ask(client, "get", to, '<query xmlns="jabber:iq:version"/>')
        assert (to, answer.condition, answer.type, answer.sender) == (to, "service-unavailable", "cancel", to)


@pytest.mark.parametrize("direct_tls", [False, True], ids=["starttls", "direct-tls"])
async def test_stream_features(server: ServerProcess, slix: MakeSlix, user: User, direct_tls: bool) -> None:
    """Each step offers what belongs there and nothing before its time (RFC 6120 §5.3.1, §6.3, §7.3)."""
    client = slix(user, direct_tls=direct_tls)
    offered: list[set[str]] = []

    def note(stanza: StanzaBase) -> StanzaBase:
        xml = stanza.xml
        if xml.tag.endswith("}features"):
            offered.append({child.tag.rpartition("}")[2] for child in xml})
        return stanza

    client.add_filter("in", note)
    await client.login()
    if not direct_tls:
        assert offered.pop(0) == {"starttls"}
    assert len(offered) == 2
    assert "mechanisms" in offered[0]
    assert not {"starttls", "bind"} & offered[0]
    assert "bind" in offered[1]
    assert not {"starttls", "mechanisms"} & offered[1]
