"""V-44, V-57: who fills the account with garbage in the place of keys makes looking at it cost no more than so much."""

from __future__ import annotations

import re
from collections.abc import Callable

from attack_client import Attacker
from attack_target import A, Target
from observation import MIB, stopwatch

PUBSUB, COMMANDS = "http://jabber.org/protocol/pubsub", "http://jabber.org/protocol/commands"
OLD, NEW = "eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2"


def publish(node: str, item: str, payload: str) -> str:
    """A publication that makes a node of the kind that OMEMO wants."""
    fields = "".join(
        f"<field var='pubsub#{name}'><value>{value}</value></field>"
        for name, value in (("access_model", "open"), ("max_items", "max"))
    )
    form = (
        f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{PUBSUB}#publish-options</value></field>"
        f"{fields}</x>"
    )
    return (
        f"<iq type='set' id='p'><pubsub xmlns='{PUBSUB}'><publish node='{node}'><item id='{item}'>{payload}</item>"
        f"</publish><publish-options>{form}</publish-options></pubsub></iq>"
    )


def command(node: str, to: str = A, form: str = "", session: str = "") -> str:
    """A step of an ad-hoc command."""
    inner = f"<x xmlns='jabber:x:data' type='submit'>{form}</x>" if form else ""
    attribute = f" sessionid='{session}'" if session else ""
    element = f"<command xmlns='{COMMANDS}' node='xmppchat#{node}'{attribute}>{inner}</command>"
    return f"<iq type='set' id='c' to='{to}'>{element}</iq>"


def answer(client: Attacker, stanza: str, id: str = "c") -> str:
    client.restart()
    client.send(stanza.encode())
    pattern = re.compile(rb"<iq [^>]*id='%b'[^>]*(/>|>.*</iq>)" % id.encode(), re.DOTALL)
    return client.until(lambda received: pattern.search(received)).decode()


def test_a_thousand_devices_of_garbage_cost_no_more_than_so_much(
    target: Target, bystander: Callable[[], float]
) -> None:
    """Lists of a thousand, bundles as large as the limits allow: nobody else waits, and the answer is bounded."""
    everybody = "".join(f"<device id='{number}'/>" for number in range(1, 1_001))
    elements = f"<bundle xmlns='{NEW}'><prekeys>{'<pk/>' * 9_000}</prekeys></bundle>"
    text = f"<bundle xmlns='{OLD}'>{'x' * 150_000}</bundle>"
    with target.login("mallory", resource="keys") as client:
        for node, payload in (
            (f"{OLD}.devicelist", f"<list xmlns='{OLD}'>{everybody}</list>"),
            (f"{NEW}:devices", f"<devices xmlns='{NEW}'>{everybody}</devices>"),
        ):
            assert "type='result'" in answer(client, publish(node, "current", payload), "p")
        for number in range(1, 61):
            assert "type='result'" in answer(client, publish(f"{NEW}:bundles", str(number), elements), "p")
            assert "type='result'" in answer(client, publish(f"{OLD}.bundles:{number}", "current", text), "p")
        before = target.process
        memory, cpu = before.rss, before.cpu
        with stopwatch() as seconds:
            received = answer(client, command("omemo-check-own"))
        assert "more devices or bundles are there, and were not looked at" in received
        assert "cannot be read" in received
        assert len(received) < MIB
        assert seconds() < 5
        assert target.process.cpu - cpu < 2
        assert target.process.rss - memory < 64 * MIB
        assert bystander() < 1
        # Whoever asks again and again waits for it, and nobody else does.
        client.restart()
        client.send(command("omemo-check-own").encode() * 20)
        assert bystander() < 1
    with target.login("mallory", resource="keys") as client:
        own = [f"{OLD}.bundles:{number}" for number in range(1, 61)]
        for node in (f"{OLD}.devicelist", f"{NEW}:devices", f"{NEW}:bundles", *own):
            delete = f"<pubsub xmlns='{PUBSUB}#owner'><delete node='{node}'/></pubsub>"
            assert "type='result'" in answer(client, f"<iq type='set' id='d'>{delete}</iq>", "d")


def test_nobody_sees_or_removes_the_keys_of_another_by_command(target: Target) -> None:
    """V-30: neither with the admin's commands, nor with the owner's."""
    with target.login("romeo", resource="keys") as romeo, target.login("mallory", resource="keys") as mallory:
        listed = publish(f"{NEW}:devices", "current", f"<devices xmlns='{NEW}'><device id='7'/></devices>")
        assert "type='result'" in answer(romeo, listed, "p")
        victim = f"<field var='accountjid'><value>romeo@{A}</value></field>"
        device = "<field var='device'><value>7</value></field>"
        for node in ("omemo-check", "omemo-check-all", "omemo-remove"):
            assert "<forbidden" in answer(mallory, command(node))
            assert "<forbidden" in answer(mallory, command(node, form=victim + device, session="guessed"))
        begun = answer(mallory, command("omemo-remove-own"))
        session = re.search(r"sessionid='([^']+)'", begun)
        assert session is not None
        removal = command("omemo-remove-own", form=victim + device, session=session[1])
        assert "has no device 7" in answer(mallory, removal)
        # Nor with the session of another's form.
        begun = answer(romeo, command("omemo-remove-own"))
        session = re.search(r"sessionid='([^']+)'", begun)
        assert session is not None
        refused = answer(mallory, command("omemo-remove-own", form=device, session=session[1]))
        assert "<bad-sessionid" in refused
        items = f"<pubsub xmlns='{PUBSUB}'><items node='{NEW}:devices'/></pubsub>"
        assert "<device id='7'/>" in answer(romeo, f"<iq type='get' id='g'>{items}</iq>", "g")
        delete = f"<pubsub xmlns='{PUBSUB}#owner'><delete node='{NEW}:devices'/></pubsub>"
        assert "type='result'" in answer(romeo, f"<iq type='set' id='d'>{delete}</iq>", "d")
