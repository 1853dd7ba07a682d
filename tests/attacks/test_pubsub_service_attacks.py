"""V-28, V-30, V-42, V-44, V-52, V-57: a pubsub service for everybody is nobody's to fill, to forge or to aim."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from attack_client import Attacker
from attack_target import A, B, Target, scale
from observation import MIB
from test_pubsub_attacks import NASTY, OWNER, PUBSUB, answer, escaped, form

SERVICE = f"pubsub.{A}"


def request(kind: str, inner: str, namespace: str = PUBSUB, to: str = SERVICE) -> str:
    return f"<iq type='{kind}' id='q' to='{to}'><pubsub xmlns='{namespace}'>{inner}</pubsub></iq>"


def create(node: str) -> str:
    return request("set", f"<create node='{node}'/>")


def publish(node: str, item: str = "1", payload: str = "<a xmlns='urn:a'/>") -> str:
    return request("set", f"<publish node='{node}'><item id='{item}'>{payload}</item></publish>")


def delete(node: str) -> str:
    return request("set", f"<delete node='{node}'/>", OWNER)


@pytest.fixture
def mallory(target: Target) -> Iterator[Attacker]:
    with target.login("mallory", resource="service") as client:
        yield client


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_text_is_more_than_a_text(mallory: Attacker, text: str) -> None:
    """V-52: whatever stands in a request, it is answered, and never by an internal error."""
    shown = escaped(text)
    rsm = "<set xmlns='http://jabber.org/protocol/rsm'>{}</set>"
    page = f"<query xmlns='http://jabber.org/protocol/disco#items'{{}}>{rsm}</query>"
    tries = [
        create(shown), publish(shown, shown), delete(shown),
        request("set", f"<create/><configure>{form(f'{PUBSUB}#node_config', access_model=shown)}</configure>"),
        request("set", f"<subscribe node='{shown}' jid='{shown}'/>"),
        request("get", f"<items node='{shown}' max_items='{shown}'/>"),
        request("get", f"<affiliations node='{shown}'/>"), request("get", f"<affiliations node='{shown}'/>", OWNER),
    ]  # fmt: skip
    for inside in (f"<after>{shown}</after>", f"<before>{shown}</before>", f"<max>{shown}</max>"):
        tries.append(f"<iq type='get' id='q' to='{SERVICE}'>{page.format('', inside)}</iq>")
    tries.append(f"<iq type='get' id='q' to='{SERVICE}'>" + page.format(f" node='{shown}'", "") + "</iq>")
    for stanza in tries:
        received = answer(mallory, stanza)
        assert "internal-server-error" not in received, stanza
    remaining = answer(mallory, request("get", "<affiliations/>"))
    for node in re.findall(r"node='([^']*)'", remaining):
        assert "type='result'" in answer(mallory, delete(node))


def test_nobody_acts_for_another(target: Target) -> None:
    """V-28, V-30: not with a node, not with a subscription, and not as the service itself."""
    with target.login("romeo", resource="service") as romeo, target.login("mallory", resource="service") as mallory:
        assert "type='result'" in answer(romeo, create("urn:x:romeos"))
        change = f"<affiliation jid='mallory@{A}' affiliation='owner'/>"
        affiliations = f"<affiliations node='urn:x:romeos'>{change}</affiliations>"
        for stanza, refusal in (
            (request("set", affiliations, OWNER), "<forbidden"), (delete("urn:x:romeos"), "<forbidden"),
            (publish("urn:x:romeos"), "<forbidden"), (create("urn:x:romeos"), "<conflict"),
            (request("get", "<configure node='urn:x:romeos'/>", OWNER), "<forbidden"),
            (request("set", f"<subscribe node='urn:x:romeos' jid='romeo@{A}'/>"), "<invalid-jid"),
            (request("set", f"<unsubscribe node='urn:x:romeos' jid='romeo@{A}'/>"), "<forbidden"),
        ):  # fmt: skip
            assert refusal in answer(mallory, stanza), stanza
        forged = f"<publish node='urn:x:romeos'><item id='1' publisher='romeo@{A}'><a xmlns='urn:a'/></item></publish>"
        assert "<forbidden" in answer(mallory, request("set", forged))
        for sender in (SERVICE, f"romeo@{A}/service"):
            with target.login("mallory", resource="forger") as forger:
                forger.send(f"<message from='{sender}' to='romeo@{A}'><body>x</body></message>".encode())
                assert b"<invalid-from" in forger.until_closed()
        assert "type='result'" in answer(romeo, delete("urn:x:romeos"))


def test_the_other_host_makes_no_nodes_here(target: Target) -> None:
    with target.login("benvolio", domain=B, resource="service") as stranger:
        assert "<forbidden" in answer(stranger, create("urn:x:foreign"))
        assert "<item-not-found" in answer(stranger, publish("urn:x:foreign"))


def test_a_flood_of_nodes_and_subscriptions_is_bounded(target: Target, bystander: Callable[[], float]) -> None:
    """V-42, V-57: as many as one address may have, with names as long as they may be, and then no more."""
    with target.login("mallory", resource="flood") as client:
        before = target.process.rss
        nodes, items = 55, scale(20, 1_000)
        client.restart()
        client.send("".join(create(f"{number}{'x' * 1_000}") for number in range(nodes)).encode())
        assert client.barrier().count(b"<resource-constraint") == nodes - 50
        for number in range(50):
            client.restart()
            node = f"{number}{'x' * 1_000}"
            client.send("".join(publish(node, f"{item}{'y' * 1_000}") for item in range(items)).encode())
            client.send("".join(
                request("set", f"<subscribe node='{node}' jid='mallory@{A}/{resource}'/>") for resource in range(11)
            ).encode())
            client.barrier()
        shown = answer(client, request("get", "<subscriptions/>"))
        assert shown.count("<subscription ") == 200
        assert bystander() < 1
        assert target.process.rss - before < 64 * MIB
        for number in range(50):
            assert "type='result'" in answer(client, delete(f"{number}{'x' * 1_000}"))


def test_errors_are_not_answered(mallory: Attacker) -> None:
    """V-44: a loop of errors ends where it begins."""
    mallory.restart()
    mallory.send((
        f"<message type='error' to='{SERVICE}'><error type='cancel'><gone "
        f"xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        f"<iq type='error' id='x' to='{SERVICE}'/><iq type='result' id='y' to='{SERVICE}'/>"
        f"<presence type='error' to='{SERVICE}'/><message type='error' to='nobody@{SERVICE}'/>"
    ).encode())
    received = mallory.barrier()
    assert b"id='x'" not in received
    assert b"id='y'" not in received
    assert SERVICE.encode() not in received
