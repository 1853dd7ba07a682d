"""V-17, V-42, V-44, V-52, V-53, V-57: nodes that are no way in, no way out, and no way to fill the memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from attack_client import Attacker
from attack_target import A, Target, scale
from observation import MIB

PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER, OPTIONS = f"{PUBSUB}#owner", f"{PUBSUB}#publish-options"
#: What breaks queries, patterns and serialisers.
NASTY = (
    "'", '"', "\\", "%", "_", ";--", "' OR '1'='1", "') UNION SELECT 1--", "$1", ":account", "\u2028", "\ufffd",
    "😀" * 50,
    "&", "<", "]]>", "0", "-1", "9" * 400, "x" * 1_024, "../..", "\t\n",
)  # fmt: skip


def escaped(text: str) -> str:
    references = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", "\t": "&#9;", "\n": "&#10;"}
    return "".join(references.get(character, character) for character in text)


def request(kind: str, inner: str, to: str = "", namespace: str = PUBSUB) -> str:
    address = f" to='{to}@{A}'" if to else ""
    return f"<iq type='{kind}' id='q'{address}><pubsub xmlns='{namespace}'>{inner}</pubsub></iq>"


def publish(node: str, item: str = "1", payload: str = "<a xmlns='urn:a'/>", form: str = "") -> str:
    options = f"<publish-options>{form}</publish-options>" if form else ""
    return request("set", f"<publish node='{node}'><item id='{item}'>{payload}</item></publish>{options}")


def form(kind: str = OPTIONS, **fields: str) -> str:
    inner = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in fields.items())
    head = f"<field var='FORM_TYPE' type='hidden'><value>{kind}</value></field>"
    return f"<x xmlns='jabber:x:data' type='submit'>{head}{inner}</x>"


def answer(client: Attacker, stanza: str) -> str:
    client.restart()
    client.send(stanza.encode())
    return client.until(lambda received: re.search(rb"<iq [^>]*id='q'[^>]*(/>|>.*</iq>)", received, re.DOTALL)).decode()


@pytest.fixture
def mallory(target: Target) -> Iterator[Attacker]:
    with target.login("mallory", resource="nodes") as client:
        yield client


def everything_with(text: str) -> Iterator[str]:
    page = "<set xmlns='http://jabber.org/protocol/rsm'>{}</set>"
    yield publish(text, text)
    yield publish("fuzz", text, f"<a xmlns='urn:a' b='{text}'>{text}</a>")
    yield request("get", f"<items node='{text}'/>")
    yield request("get", f"<items node='fuzz'><item id='{text}'/></items>")
    yield request("get", f"<items node='fuzz' max_items='{text}'/>")
    for name in ("after", "before", "index", "max"):
        yield request("get", f"<items node='fuzz'/>{page.format(f'<{name}>{text}</{name}>')}")
    yield request("set", f"<retract node='fuzz'><item id='{text}'/></retract>")
    yield request("set", f"<subscribe node='fuzz' jid='{text}'/>")
    for name in ("access_model", "max_items", "title", "type", "roster_groups_allowed", "persist_items", "itemreply"):
        configure = f"<configure node='fuzz'>{form(f'{PUBSUB}#node_config', **{name: text})}</configure>"
        yield request("set", configure, namespace=OWNER)
        yield publish("fuzz", form=form(**{name: text}))
    for name, state in (("affiliation", "member"), ("subscription", "subscribed")):
        inner = f"<{name}s node='fuzz'><{name} jid='{text}' {name}='{state}'/></{name}s>"
        yield request("set", inner, namespace=OWNER)
    yield request("set", f"<delete node='{text}'/>", namespace=OWNER)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_text_is_more_than_a_text(mallory: Attacker, text: str) -> None:
    """V-52: whatever stands in a request, it is answered, and never by an internal error."""
    shown = escaped(text)
    assert "type='result'" in answer(mallory, publish("fuzz"))
    for stanza in everything_with(shown):
        received = answer(mallory, stanza)
        assert "internal-server-error" not in received, stanza
    if 0 < len(text.encode()) <= 1_023:
        assert "type='result'" in answer(mallory, publish(shown, shown))
        assert f"id='{shown}'" in answer(mallory, request("get", f"<items node='{shown}'/>")).replace("&quot;", '"')
        assert "type='result'" in answer(mallory, request("set", f"<delete node='{shown}'/>", namespace=OWNER))
    assert "type='result'" in answer(mallory, request("set", "<delete node='fuzz'/>", namespace=OWNER))


def test_private_data_do_not_land_in_a_public_node(target: Target) -> None:
    """V-53: what shall be private is not published where everybody reads; options that are not understood stop it."""
    with target.login("romeo", resource="nodes") as romeo, target.login("mallory", resource="nodes") as mallory:
        assert "type='result'" in answer(romeo, publish("urn:x:open", form=form(access_model="open")))
        secret = "<a xmlns='urn:a'>secret</a>"
        private = form(access_model="whitelist", persist_items="true")
        refused = answer(romeo, publish("urn:x:open", "1", secret, private))
        assert "<precondition-not-met" in refused
        for options in (form(access_model="whitelist", privacy="high"), "<x xmlns='jabber:x:data' type='form'/>", "x"):
            assert "type='error'" in answer(romeo, publish("urn:x:private", "1", secret, options))
        assert "secret" not in answer(mallory, request("get", "<items node='urn:x:open'/>", "romeo"))
        assert "type='result'" in answer(romeo, publish("urn:x:private", "1", secret, form(access_model="whitelist")))
        for stanza in (
            request("get", "<items node='urn:x:private'/>", "romeo"),
            request("get", "<items node='urn:x:private'><item id='1'/></items>", "romeo"),
            request("set", f"<subscribe node='urn:x:private' jid='mallory@{A}'/>", "romeo"),
        ):
            assert "<closed-node" in answer(mallory, stanza)
        for node in ("urn:x:open", "urn:x:private"):
            assert "type='result'" in answer(romeo, request("set", f"<delete node='{node}'/>", namespace=OWNER))


def test_who_is_not_the_owner_changes_nothing_and_learns_nothing(target: Target) -> None:
    """V-17, V-30: the same answer for nodes that are there and for others."""
    with target.login("romeo", resource="nodes") as romeo, target.login("mallory", resource="nodes") as mallory:
        assert "type='result'" in answer(romeo, publish("urn:x:mine", form=form(access_model="open")))
        configure = f"<configure node='{{}}'>{form(f'{PUBSUB}#node_config', access_model='open')}</configure>"
        affiliations = f"<affiliations node='{{}}'><affiliation jid='mallory@{A}' affiliation='owner'/></affiliations>"
        tries = [
            ("get", "<configure node='{}'/>", OWNER), ("set", configure, OWNER), ("set", "<delete node='{}'/>", OWNER),
            ("set", "<purge node='{}'/>", OWNER), ("get", "<affiliations node='{}'/>", OWNER),
            ("set", affiliations, OWNER), ("get", "<subscriptions node='{}'/>", OWNER),
            ("set", "<publish node='{}'><item id='1'><b xmlns='urn:b'/></item></publish>", PUBSUB),
        ]
        for kind, inner, namespace in tries:
            found = {
                re.sub("<text.*?</text>", "", answer(mallory, request(kind, inner.format(node), "romeo", namespace)))
                for node in ("urn:x:mine", "urn:x:none")
            }
            assert len(found) == 1, (inner, found)
            assert "<forbidden" in found.pop()
        assert "<a xmlns='urn:a'/>" in answer(romeo, request("get", "<items node='urn:x:mine'/>"))
        assert "type='result'" in answer(romeo, request("set", "<delete node='urn:x:mine'/>", namespace=OWNER))


def test_nobody_publishes_in_the_name_of_another(mallory: Attacker) -> None:
    """XEP-0060 §7.1.2.3: the publisher is told by the service, not by who publishes."""
    node = form(f"{PUBSUB}#node_config", itemreply="publisher", access_model="open")
    assert "type='result'" in answer(mallory, request("set", f"<create node='urn:x:by'/><configure>{node}</configure>"))
    forged = f"<publish node='urn:x:by'><item id='1' publisher='romeo@{A}'><a xmlns='urn:a'/></item></publish>"
    assert "type='result'" in answer(mallory, request("set", forged))
    shown = answer(mallory, request("get", "<items node='urn:x:by'/>"))
    assert f"publisher='mallory@{A}'" in shown
    assert "romeo" not in shown
    assert "type='result'" in answer(mallory, request("set", "<delete node='urn:x:by'/>", namespace=OWNER))


def test_a_flood_of_nodes_and_items_is_bounded(target: Target, bystander: Callable[[], float]) -> None:
    """V-57: as many nodes and items as the limits allow, with ids as long as they may be, and then no more."""
    with target.login("mallory", resource="flood") as client:
        before = target.process.rss
        items = scale(20, 1_000)
        for number in range(220):
            client.restart()
            client.send("".join(
                publish(f"urn:flood:{number}", f"{item}{'x' * 1_000}", form=form(max_items="max"))
                for item in range(items)
            ).encode())
            received = client.barrier()
            if number >= 200:
                assert received.count(b"<resource-constraint") == items
        assert bystander() < 1
        assert target.process.rss - before < 64 * MIB
        for number in range(200):
            client.send(request("set", f"<delete node='urn:flood:{number}'/>", namespace=OWNER).encode())
        client.restart()
        assert b"item-not-found" in client.send(request("get", "<items node='urn:flood:7'/>").encode()).until(b"</iq>")


def test_a_stranger_does_not_fill_the_list_of_subscribers(target: Target) -> None:
    """V-42: one address subscribes with a bounded number of its clients, real ones or not."""
    with target.login("romeo", resource="nodes") as romeo, target.login("mallory", resource="nodes") as mallory:
        assert "type='result'" in answer(romeo, publish("urn:x:fan", form=form(access_model="open")))
        for number in range(30):
            jid = f"mallory@{A}/{number}"
            received = answer(mallory, request("set", f"<subscribe node='urn:x:fan' jid='{jid}'/>", "romeo"))
            assert ("<too-many-subscriptions" in received) is (number >= 10)
        shown = answer(romeo, request("get", "<subscriptions node='urn:x:fan'/>", namespace=OWNER))
        assert shown.count("<subscription ") == 10
        assert "type='result'" in answer(romeo, request("set", "<delete node='urn:x:fan'/>", namespace=OWNER))
