"""What somebody is woken for."""

from __future__ import annotations

import pytest

from xmppchat.jid import JID
from xmppchat.protocol.importance import Importance, importance_of
from xmppchat.protocol.stanza import Stanza
from xmppchat.testing.runner import read_stanzas

OWN = JID.parse("juliet@chat.example/phone")
BODY = "<body>Hi</body>"
NONE, IMPORTANT, URGENT = Importance.NONE, Importance.IMPORTANT, Importance.URGENT

#: (what it is, payload, type, what it is worth)
MESSAGES = (
    ("a body", BODY, "chat", IMPORTANT),
    ("a body without a type", BODY, "", IMPORTANT),
    ("an unknown type is normal", BODY, "odd", IMPORTANT),
    ("what is said in a room", BODY, "groupchat", IMPORTANT),
    ("an empty body", "<body/>", "chat", NONE),
    ("a body elsewhere", "<body xmlns='urn:x'>Hi</body>", "chat", NONE),
    ("a headline", BODY, "headline", NONE),
    ("an error", BODY, "error", NONE),
    ("nothing", "", "chat", NONE),
    ("a subject", "<subject>Verona</subject>", "groupchat", NONE),
    ("a chat state", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", "chat", NONE),
    ("a body with a chat state", BODY + "<active xmlns='http://jabber.org/protocol/chatstates'/>", "chat", IMPORTANT),
    ("a receipt", "<received xmlns='urn:xmpp:receipts' id='1'/>", "chat", NONE),
    ("a body with a receipt", BODY + "<received xmlns='urn:xmpp:receipts' id='1'/>", "chat", IMPORTANT),
    ("a marker", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", "chat", NONE),
    ("a body not to be kept", BODY + "<no-store xmlns='urn:xmpp:hints'/>", "chat", NONE),
    ("a body not to be kept for ever", BODY + "<no-permanent-store xmlns='urn:xmpp:hints'/>", "chat", IMPORTANT),
    ("a reaction with a fallback", BODY + "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>", "chat", NONE),
    ("a retraction with a fallback", BODY + "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>", "chat", NONE),
    ("a correction", BODY + "<replace xmlns='urn:xmpp:message-correct:0' id='1'/>", "chat", IMPORTANT),
    ("an event", "<event xmlns='http://jabber.org/protocol/pubsub#event'/>", "normal", NONE),
    ("OMEMO", "<encrypted xmlns='eu.siacs.conversations.axolotl'><header/><payload>x</payload></encrypted>"
              "<store xmlns='urn:xmpp:hints'/>", "chat", IMPORTANT),
    ("keys of OMEMO", "<encrypted xmlns='eu.siacs.conversations.axolotl'><header/></encrypted>"
                      "<encryption xmlns='urn:xmpp:eme:0' namespace='eu.siacs.conversations.axolotl'/>", "chat", NONE),
    ("OMEMO 2", "<encrypted xmlns='urn:xmpp:omemo:2'><header/><payload>x</payload></encrypted>", "chat", IMPORTANT),
    ("OpenPGP", "<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>", "chat", IMPORTANT),
    ("something encrypted", "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:other'/>", "chat", IMPORTANT),
    ("an invitation", "<x xmlns='jabber:x:conference' jid='room@rooms.example'/>", "normal", IMPORTANT),
    ("an invitation by the room", "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>", "normal",
     IMPORTANT),
    ("it is declined", "<x xmlns='http://jabber.org/protocol/muc#user'><decline from='a@b'/></x>", "normal", NONE),
    ("a call", "<propose xmlns='urn:xmpp:jingle-message:0' id='c'/><store xmlns='urn:xmpp:hints'/>", "chat", URGENT),
    ("a call not to be kept", "<propose xmlns='urn:xmpp:jingle-message:0' id='c'/><no-store xmlns='urn:xmpp:hints'/>",
     "chat", URGENT),
    ("a call of version 1", "<propose xmlns='urn:xmpp:jingle-message:1' id='c'/>", "chat", URGENT),
    ("a call by invitation", "<invite xmlns='urn:xmpp:call-invites:0'/>", "chat", URGENT),
    ("a call is over", "<retract xmlns='urn:xmpp:jingle-message:0' id='c'/>", "chat", NONE),
    ("a call was taken", "<accept xmlns='urn:xmpp:jingle-message:0' id='c'/>", "chat", NONE),
)  # fmt: skip


def message(payload: str, kind: str, sender: str = "romeo@chat.example/x") -> Stanza:
    type_ = f" type='{kind}'" if kind else ""
    [element] = read_stanzas(f"<message from='{sender}' to='{OWN}'{type_}>{payload}</message>")
    return Stanza.from_element(element)


@pytest.mark.parametrize(("payload", "kind", "wanted"), [case[1:] for case in MESSAGES], ids=[c[0] for c in MESSAGES])
def test_messages(payload: str, kind: str, wanted: Importance) -> None:
    assert importance_of(message(payload, kind), OWN) is wanted
    assert importance_of(message(payload, kind), OWN.to_bare()) is wanted
    own = message(payload, kind, "juliet@chat.example/laptop")
    assert importance_of(own, OWN) is NONE, "another device of the same account"


@pytest.mark.parametrize(("name", "wanted"), [("received", IMPORTANT), ("sent", NONE)])
def test_carbons_are_what_is_in_them(name: str, wanted: Importance) -> None:
    sender = "romeo@chat.example/x" if name == "received" else "juliet@chat.example/laptop"
    inner = f"<message xmlns='jabber:client' type='chat' from='{sender}'>{BODY}</message>"
    carbon = f"<{name} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></{name}>"
    assert importance_of(message(carbon, "chat", "juliet@chat.example"), OWN) is wanted
    assert importance_of(message(carbon, "chat", "mallory@chat.example/x"), OWN) is NONE, "who else says so lies"


@pytest.mark.parametrize(("xml", "wanted"), [
    ("<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate'><content>"
     "<description xmlns='urn:xmpp:jingle:apps:rtp:1'/></content></jingle>", URGENT),
    ("<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate'><content>"
     "<description xmlns='urn:xmpp:jingle:apps:file-transfer:5'/></content></jingle>", NONE),
    ("<jingle xmlns='urn:xmpp:jingle:1' action='session-terminate'/>", NONE),
    ("<ping xmlns='urn:xmpp:ping'/>", NONE),
])  # fmt: skip
def test_requests(xml: str, wanted: Importance) -> None:
    [element] = read_stanzas(f"<iq type='set' id='1' from='a@b/c' to='{OWN}'>{xml}</iq>")
    assert importance_of(Stanza.from_element(element), OWN) is wanted


def test_presence_wakes_nobody() -> None:
    [element] = read_stanzas(f"<presence from='a@b' to='{OWN}' type='subscribe'/>")
    assert importance_of(Stanza.from_element(element), OWN) is NONE
