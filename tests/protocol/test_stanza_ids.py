"""Stanza ids (XEP-0359): written in one way, recognised however they are spelt."""

from __future__ import annotations

import pytest

from xmppchat.jid import JID
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS

BY = JID.parse("juliet@chat.example")


def test_an_id_is_decimal() -> None:
    assert stanza_ids.text_of(2**63 - 1) == "9223372036854775807"
    made = stanza_ids.element(7, BY.with_resource("phone"))
    assert made == Element("stanza-id", NS.STANZA_IDS, {"by": "juliet@chat.example", "id": "7"})


@pytest.mark.parametrize(("by", "is_ours"), [
    ("juliet@chat.example", True), ("JULIET@Chat.Example", True), ("juliet@chat.example/phone", True),
    ("romeo@chat.example", False), ("chat.example", False), ("", False), ("@", False),
])
def test_those_of_an_account_are_told_from_others(by: str, is_ours: bool) -> None:
    children = ["text", Element("body", NS.CLIENT), Element("stanza-id", NS.STANZA_IDS, {"by": by, "id": "1"})]
    assert stanza_ids.is_stamped(children, BY) is is_ours
    assert stanza_ids.without(children, BY) == (children[:2] if is_ours else children)


def test_other_elements_are_no_stanza_ids() -> None:
    children = [
        Element("origin-id", NS.STANZA_IDS, {"id": "1", "by": BY.bare}),
        Element("stanza-id", "urn:example:x", {"id": "1", "by": BY.bare}),
    ]
    assert not stanza_ids.is_stamped(children, BY)
    assert stanza_ids.without(children, BY) == children
