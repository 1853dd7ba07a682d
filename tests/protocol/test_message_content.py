"""What a message is worth: the weightiest payload decides, in whatever order they stand."""

from __future__ import annotations

import itertools

import pytest

from xmppchat.components.archive.policy import Preferences, judge
from xmppchat.components.offline import is_kept
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.message_content import NOTHING, RULES, content_of
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

BODY, STORE = Element("body", NS.CLIENT), Element("store", NS.HINTS)
NO_STORE, NOT_FOR_LONG = Element("no-store", NS.HINTS), Element("no-permanent-store", NS.HINTS)
STATE, RETRACT = Element("active", NS.CHAT_STATES), Element("retract", NS.RETRACT)
EVENT, MARKER = Element("event", NS.PUBSUB_EVENT), Element("displayed", NS.CHAT_MARKERS)


@pytest.mark.parametrize(("children", "kept", "readable", "offline"), [
    ((), False, False, False), ((STATE,), False, False, False), ((BODY,), True, True, True),
    ((BODY, NO_STORE, STORE), False, False, False), ((BODY, NOT_FOR_LONG), False, False, True),
    ((STATE, STORE), True, False, True), ((BODY, RETRACT), True, False, True), ((BODY, EVENT), False, False, True),
    ((MARKER, BODY), True, True, True), ((MARKER,), True, False, True),
])  # fmt: skip
def test_in_any_order(children: tuple[Element, ...], kept: bool, readable: bool, offline: bool) -> None:
    for order in itertools.permutations(children):
        stanza = Stanza("message", type="chat", children=order)
        found = content_of(stanza)
        assert (found.is_kept, found.is_kept and found.is_readable) == (kept, readable)
        assert is_kept(stanza) == offline
        assert found.reason


def test_what_is_kept_for_good_is_kept_until_somebody_is_there() -> None:
    for namespace, rules in RULES.items():
        for name, rule in rules.items():
            stanza = Stanza("message", type="chat", children=(Element(name or "any", namespace),))
            if rule.test is None:
                assert content_of(stanza) is rule
                assert is_kept(stanza) or not rule.is_kept


def test_types_that_are_not_kept() -> None:
    for kind in ("headline", "groupchat"):
        assert not judge(Stanza("message", type=kind, children=(BODY, STORE)), is_inbound=True).is_kept
    to = JID.parse("romeo@x.example/phone")
    assert judge(Stanza("message", type="error", to=to), is_inbound=True).is_kept
    assert not judge(Stanza("message", type="error", to=to.to_bare()), is_inbound=True).is_kept
    assert not judge(Stanza("message", type="error", to=to), is_inbound=False).is_kept
    assert judge(Stanza("message", type="strange", children=(BODY,)), is_inbound=True).is_kept
    assert content_of(Stanza("message")) is NOTHING


PEER = JID.parse("juliet@x.example/balcony")


@pytest.mark.parametrize(("preferences", "is_contact", "kept"), [
    (Preferences(), False, True), (Preferences("never"), True, False),
    (Preferences("roster"), True, True), (Preferences("roster"), False, False),
    (Preferences("never", always=frozenset({PEER.bare})), False, True),
    (Preferences("always", never=frozenset({PEER.bare})), True, False),
    (Preferences("always", never=frozenset({PEER.full})), True, False),
    (Preferences("always", never=frozenset({f"{PEER.bare}/garden"})), True, True),
    (Preferences("never", always=frozenset({PEER.full}), never=frozenset({PEER.bare})), True, True),
])  # fmt: skip
def test_preferences(preferences: Preferences, is_contact: bool, kept: bool) -> None:
    assert (preferences.refusal(PEER, lambda _: is_contact) == "") is kept
