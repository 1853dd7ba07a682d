"""V-17, V-42, V-54, V-57: profiles that tell strangers nothing, capabilities that are no way to fill the memory."""

from __future__ import annotations

import re
from collections.abc import Callable

from attack_target import A, Target, scale
from observation import MIB

CAPS = "http://jabber.org/protocol/caps"
DISCO = "http://jabber.org/protocol/disco#info"

#: What a stranger may try on a bare JID: (type, payload).
TRIES = [
    ("get", "<vCard xmlns='vcard-temp'/>"),
    ("set", "<vCard xmlns='vcard-temp'><FN>Mallory was here</FN></vCard>"),
    ("get", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"),
    ("set", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>x</storage></query>"),
    ("get", "<query xmlns='jabber:iq:private'/>"),
    ("get", f"<query xmlns='{DISCO}' node='urn:x-xmppchat:server#x'/>"),
    ("get", "<query xmlns='jabber:iq:version'/>"),
    ("get", "<time xmlns='urn:xmpp:time'/>"),
]


def test_a_stranger_cannot_tell_an_account_with_a_profile_from_none(target: Target) -> None:
    with target.login("romeo") as romeo:
        romeo.restart()
        romeo.send(b"<iq type='set' id='v'><vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard></iq>").until(b"'result'")
        for client_of in (A, "b.test"):
            user = "mallory" if client_of == A else "benvolio"
            with target.login(user, client_of) as stranger:
                for kind, inner in TRIES:
                    answers = set()
                    for name in ("romeo", "juliet", "nobody"):
                        stranger.restart()
                        stranger.send(f"<iq type='{kind}' id='q' to='{name}@{A}'>{inner}</iq>".encode())
                        answers.add(stranger.until(b"</iq>").replace(name.encode(), b"NAME"))
                    assert len(answers) == 1, (kind, inner, answers)
                    assert b"<service-unavailable" in answers.pop()
        romeo.restart()
        romeo.send(b"<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>")
        assert b"<FN>Romeo</FN>" in romeo.until(b"</iq>")


def test_a_flood_of_strings_costs_one_open_question(target: Target, bystander: Callable[[], float]) -> None:
    """V-57: each presence announces another string, and no question is ever answered."""
    many = scale(3_000, 200_000)
    with target.login("mallory") as client:
        client.available()
        before = target.process.rss
        for start in range(0, many, 500):
            client.restart()
            client.send("".join(
                f"<presence><c xmlns='{CAPS}' hash='sha-1' node='urn:x' ver='{number}'/></presence>"
                for number in range(start, start + 500)
            ).encode())
            received = client.barrier()
            assert received.count(b"<presence ") == 500
            assert received.count(f"<query xmlns='{DISCO}'".encode()) <= 1
        assert bystander() < 1
        assert target.process.rss - before < 32 * MIB


def test_a_flood_of_proven_strings_is_bounded(target: Target, bystander: Callable[[], float]) -> None:
    """V-57: each string is proven, so each would be worth remembering."""
    import base64
    import hashlib

    filler = "".join(f"urn:filler:{number:04}<" for number in range(500))
    features = "".join(f"<feature var='urn:filler:{number:04}'/>" for number in range(500))
    with target.login("mallory") as client:
        client.available()
        before = target.process.rss
        for number in range(scale(300, 5_000)):
            text = f"client/pc//{number}<{filler}"
            ver = base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()
            client.restart()
            client.send(f"<presence><c xmlns='{CAPS}' hash='sha-1' node='urn:x' ver='{ver}'/></presence>".encode())
            received = client.until(lambda data: re.search(rb"<iq [^>]*type='get'", data) and b"</iq>" in data)
            asked = re.search(rb"<iq [^>]*id='([^']*)' type='get'", received)
            assert asked is not None, received
            client.send((
                f"<iq type='result' to='{A}' id='{asked[1].decode()}'><query xmlns='{DISCO}'>"
                f"<identity category='client' type='pc' name='{number}'/>{features}</query></iq>"
            ).encode())
        assert bystander() < 1
        assert target.process.rss - before < 96 * MIB
