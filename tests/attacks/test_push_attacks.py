"""V-45, V-46, limit 51: notifications that tell nothing, hostile app servers, clients that register too much."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator

import pytest
from attack_client import Attacker
from attack_target import GATEWAY, A, Target, scale
from live_server import wait_for
from test_component_attacks import asked, gateway  # noqa: F401  (a fixture)

PUSH = "urn:xmpp:push:0"
SM = "urn:xmpp:sm:3"
CANARY = "canary-push-9c1e"
NODE = "nodecanary-77aa"
SECRET = "secretcanary-42"
ROOM = f"{CANARY}-room@{GATEWAY}"
FORM = (
    "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
    "<value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
    f"<field var='secret'><value>{SECRET}</value></field></x>"
)
#: What is sent twice with the same id is one message.
_numbers = itertools.count(1)
#: What is said, each with canaries wherever there is room.
SAID = (
    f"<message to='{{to}}' type='chat' id='{CANARY}-{{number}}'><body>{CANARY}</body><thread>{CANARY}</thread>"
    "</message>",
    f"<message to='{{to}}' id='{CANARY}-{{number}}'><subject>{CANARY}</subject><body>{CANARY}</body></message>",
    f"<message to='{{to}}' type='chat'><propose xmlns='urn:xmpp:jingle-message:0' id='{CANARY}'/></message>",
    f"<message to='{{to}}'><x xmlns='jabber:x:conference' jid='{ROOM}' reason='{CANARY}'/></message>",
    f"<message to='{{to}}' type='chat'><body>x</body><notification xmlns='{PUSH}'>{CANARY}</notification></message>",
    f"<message to='{{to}}' type='chat'><body>x</body><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
    f"<value>urn:xmpp:push:summary</value></field><field var='last-message-body'><value>{CANARY}</value></field></x>"
    "</message>",
)


@pytest.fixture(scope="session")
def people(target: Target) -> None:
    """Who writes has a canary for a name, too."""
    for name in ("pushed", f"{CANARY}-sender"):
        target.add(f"{name}@{A}")


@pytest.fixture
def sender(target: Target, people: None) -> Iterator[Attacker]:
    """Who says all that."""
    with target.login(f"{CANARY}-sender", resource=CANARY) as client:
        yield client


def enable(client: Attacker, node: str, *, app: str = GATEWAY, form: str = FORM, number: int = 1) -> bytes:
    """The answer to <enable/>."""
    client.restart()
    client.send(
        f"<iq type='set' id='e{number}'><enable xmlns='{PUSH}' jid='{app}' node='{node}'>{form}</enable></iq>".encode()
    )
    return client.until(f"id='e{number}'".encode())


def notifications(component: Attacker, count: int) -> bytes:
    """What the app server gets until it has so many; each is answered."""
    answered: set[bytes] = set()

    def answer() -> bool:
        asked(component, int(time.monotonic() * 1000))
        for id_ in re.findall(rb"<iq (?=[^>]*type='set')[^>]* id='([^']*)'", component.received):
            if id_ not in answered:
                answered.add(id_)
                component.send(f"<iq type='result' id='{id_.decode()}' from='{GATEWAY}' to='{A}'/>".encode())
        return len(answered) >= count

    wait_for(answer, 20, lambda: f"{count} notifications: {component.received[-3_000:]!r}")
    return component.received


@pytest.mark.parametrize("state", ["closed", "hibernating"])
def test_a_notification_tells_nobody_what_was_said_by_whom_or_where(
    target: Target, gateway: Attacker, sender: Attacker, state: str  # noqa: F811
) -> None:
    with target.login("pushed", resource="phone") as phone:
        phone.available()
        assert b"type='result'" in enable(phone, NODE)
        if state == "hibernating":
            phone.send(f"<enable xmlns='{SM}' resume='true'/>".encode()).until(b"<enabled ")
        else:
            phone.send(b"</stream:stream>").until_closed()
    heard = b""
    for xml in SAID:
        gateway.restart()
        sender.send(xml.format(to=f"pushed@{A}", number=next(_numbers)).encode())
        sender.barrier()
        heard += notifications(gateway, 1)
    assert heard.count(b"New Message!") >= len(SAID)
    assert CANARY.encode() not in heard
    assert b"pushed" not in heard, "nor for whom"
    assert SECRET.encode() in heard, "but it is who may wake the device"
    with target.login("pushed", resource="phone") as phone:
        phone.send(f"<iq type='set' id='d'><disable xmlns='{PUSH}' jid='{GATEWAY}'/></iq>".encode()).until(b"id='d'")


def test_nothing_that_wakes_a_device_is_in_the_log_or_in_what_commands_show(
    target: Target, gateway: Attacker, sender: Attacker  # noqa: F811
) -> None:
    with target.login("pushed", resource="phone") as phone:
        enable(phone, NODE)
        enable(phone, NODE + "x" * 9_000, number=2)
        enable(phone, NODE, app="@@", number=3)
        enable(phone, NODE, form=f"<x xmlns='jabber:x:data'><field var='{SECRET}'/></x>", number=4)
        enable(phone, NODE, app="nowhere.invalid", number=5)
    sender.send(SAID[0].format(to=f"pushed@{A}", number=next(_numbers)).encode())
    sender.barrier()
    gateway.restart()
    wait_for(lambda: asked(gateway, int(time.monotonic() * 1000)).count(NODE.encode()), 20, "a notification")
    [id_] = re.findall(rb"<iq (?=[^>]*type='set')[^>]* id='([^']*)'", gateway.received)
    gateway.send(
        f"<iq type='error' id='{id_.decode()}' from='{GATEWAY}' to='{A}'><error type='cancel'>"
        f"<forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>"
        f"{NODE} {SECRET}</text></error></iq>".encode()
    )
    asked(gateway, 1)
    config = ("--config", str(target.config_file))
    wait_for(lambda: "forbidden" in target.run("push", "status", f"pushed@{A}", *config), 20, "the refusal is seen")
    shown = target.run("push", "status", f"pushed@{A}", *config)
    assert "remote-server-not-found" in shown
    for secret in (NODE, SECRET, CANARY):
        assert secret not in shown
        assert secret not in target.log().replace(f"{CANARY}-sender@{A}", "")
    with target.login("pushed", resource="phone") as phone:
        for number, app in enumerate((GATEWAY, "nowhere.invalid")):
            phone.send(f"<iq type='set' id='d{number}'><disable xmlns='{PUSH}' jid='{app}'/></iq>".encode())
            phone.until(f"id='d{number}'".encode())


def test_many_registrations_are_ten(target: Target, people: None) -> None:
    with target.login("pushed", resource="flood") as client:
        for number in range(scale(100, 2_000)):
            assert b"type='result'" in enable(client, f"n{number}", form="", number=number)
        shown = target.run("push", "status", f"pushed@{A}", "--json", "--config", str(target.config_file))
        assert shown.count('"app server"') == 10
        client.send(f"<iq type='set' id='d'><disable xmlns='{PUSH}' jid='{GATEWAY}'/></iq>".encode()).until(b"id='d'")


@pytest.mark.parametrize("address", [
    "127.0.0.1", "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254", "localhost", "2130706433", "http://127.0.0.1:80/",
    f"{A}:5347", "user@127.0.0.1",
])  # fmt: skip
def test_an_address_of_the_machine_is_no_way_into_it(target: Target, people: None, address: str) -> None:
    """V-45: a notification goes where stanzas go, and nothing is ever connected to for it."""
    with target.login("pushed", resource="ssrf") as client:
        answer = enable(client, "n", app=address)
        client.send(
            f"<iq type='set' id='d'><disable xmlns='{PUSH}' jid='{address}'/></iq>".encode()
        ).until(b"id='d'")
    assert b"type='result'" in answer or b"jid-malformed" in answer
