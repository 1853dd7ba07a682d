"""V-26, V-44, V-57: forged carbons, carbons of carbons, and floods at a client that sleeps."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from attack_target import A, Target, scale
from observation import MIB

CARBONS, FORWARD = "urn:xmpp:carbons:2", "urn:xmpp:forward:0"
ENABLE = f"<iq type='set' id='enable'><enable xmlns='{CARBONS}'/></iq>".encode()
INACTIVE, ACTIVE = b"<inactive xmlns='urn:xmpp:csi:0'/>", b"<active xmlns='urn:xmpp:csi:0'/>"


def wrapped(kind: str, sender: str) -> str:
    """A carbon as the server makes them, of a message that nobody sent."""
    return (
        f"<{kind} xmlns='{CARBONS}'><forwarded xmlns='{FORWARD}'><message xmlns='jabber:client' type='chat' "
        f"from='{sender}' to='juliet@{A}/phone'><body>forged</body></message></forwarded></{kind}>"
    )


#: What claims to be from whom: the start of a message that a client of `mallory` or of `juliet` herself may send.
CLAIMS = {
    "no claim": "",
    "own full address": "from='{own}'",
    "own bare address": "from='{bare}'",
}


@pytest.mark.parametrize("kind", ["received", "sent"])
@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("attacker", ["mallory", "juliet"])
def test_a_forged_carbon_has_its_true_sender_and_is_never_copied(
    target: Target, attacker: str, claim: str, kind: str
) -> None:
    with (
        target.login("juliet", resource="phone") as phone,
        target.login("juliet", resource="laptop") as laptop,
        target.login(attacker, resource="forger") as forger,
    ):
        for device in (phone, laptop):
            device.send(ENABLE).until(b"'enable'")
            device.available()
        claimed = CLAIMS[claim].format(own=forger.jid, bare=forger.jid.partition("/")[0])
        for to in (phone.jid, f"juliet@{A}"):
            for device in (phone, laptop):
                device.barrier()
                device.restart()
            forger.send(
                f"<message {claimed} to='{to}' type='chat' id='f'>{wrapped(kind, f'romeo@{A}/x')}</message>".encode()
            )
            received = phone.until(b"forged") + laptop.barrier()
            received += phone.barrier()
            for start in re.findall(rb"<message (?!xmlns)[^>]*>", received):
                assert f"from='{forger.jid}'".encode() in start, start
            assert received.count(b"<forwarded ") == received.count(b"<message from="), "one inside another"
            if to == phone.jid:
                laptop.restart()
                assert b"forged" not in laptop.barrier()


def test_somebody_elses_address_ends_the_stream(target: Target) -> None:
    with target.login("juliet", resource="phone") as phone, target.login("mallory") as mallory:
        phone.available()
        carbon = wrapped("sent", f"juliet@{A}/x")
        mallory.send(f"<message from='juliet@{A}' to='{phone.jid}' type='chat'>{carbon}</message>".encode())
        assert b"<invalid-from " in mallory.until_closed()
        assert b"forged" not in phone.barrier()


def test_a_bounced_carbon_goes_nowhere(target: Target) -> None:
    """XEP-0280 §10.3: the error of a carbon is not forwarded to the original sender; nor to anybody (V-44)."""
    with (
        target.login("juliet", resource="phone") as phone,
        target.login("juliet", resource="laptop") as laptop,
        target.login("romeo") as romeo,
    ):
        for device in (phone, laptop):
            device.send(ENABLE).until(b"'enable'")
            device.available()
        romeo.available()
        phone.barrier()
        romeo.send(f"<message to='{phone.jid}' type='chat' id='m'><body>x</body></message>".encode())
        laptop.until(b"</received>")
        phone.until(b"<body>x</body>")
        for client in (romeo, phone, laptop):
            client.restart()
        for inner in ("", wrapped("received", romeo.jid)):
            laptop.send(
                f"<message to='juliet@{A}' type='error' id='m'>{inner}<error type='cancel'>"
                "<not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>".encode()
            )
        for client in (laptop, romeo, phone):
            assert b"<message" not in client.barrier()


def test_a_flood_at_a_client_that_sleeps_is_bounded(target: Target, bystander: Callable[[], float]) -> None:
    """V-57, limit 59: ever new rooms with ever longer words, and the client never looks."""
    many = scale(2_000, 50_000)
    status = "x" * 2_000
    with target.login("romeo", resource="sleeper") as sleeper, target.login("mallory") as mallory:
        sleeper.available()
        sleeper.send(INACTIVE)
        before = target.process.rss
        for number in range(many):
            # An event of a node of its own cannot be told from others: each takes a place.
            mallory.send(
                f"<message type='headline' to='{sleeper.jid}'><event xmlns='http://jabber.org/protocol/pubsub#event'>"
                f"<items node='{number}'><item id='{number}'>{status}</item></items></event></message>".encode()
            )
            if number % 100 == 0:
                mallory.restart()
                mallory.barrier()
        mallory.barrier("end")
        assert bystander() < 1
        assert target.process.rss - before < 32 * MIB
        received = sleeper.send(ACTIVE).barrier()
        assert received.count(b"<event ") == many
