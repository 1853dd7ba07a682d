"""What Conversations, Monal, Dino, Converse and profanity ask a server when they log in.

Read in their sources. A feature that is advertised must work; what is not advertised must be refused as the RFC says.
Nothing may stay without an answer: most of these clients wait for each before they go on.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Literal
from xml.etree import ElementTree as ET

UNSUPPORTED = frozenset({"service-unavailable"})
NOTHING_THERE = frozenset({"item-not-found"})
#: Stands for the identity that tells of personal eventing (XEP-0163 §6.1).
PEP = "identity:pubsub/pep"

_PUBSUB = "http://jabber.org/protocol/pubsub"
_DISCO = "http://jabber.org/protocol/disco"
_FORM = "jabber:x:data"


class At(Enum):
    """Whom a client asks, and who advertises it."""

    SERVER = "server"
    #: Without `to`, as most clients ask.
    ACCOUNT = "account"
    #: The own bare JID as `to`, which means the same (RFC 6120 §10.3.3).
    BARE = "bare"


@dataclass(frozen=True, slots=True)
class Question:
    """One request. It must be granted where `feature` is advertised at `by`, or always if there is no `feature`.

    `empty` are the errors that say "you have none"; `absent` those that say "we do not do this".
    """

    name: str
    type: Literal["get", "set"]
    at: At
    payload: str
    feature: str | None = None
    by: At = At.SERVER
    empty: frozenset[str] = frozenset()
    absent: frozenset[str] = UNSUPPORTED


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: condition "" for a result, "silence" for nothing."""

    condition: str
    type: str = ""
    sender: str = ""
    payload: ET.Element | None = None


def judge(question: Question, answer: Answer, offers: Collection[str]) -> str | None:
    """What is wrong with `answer`, or None."""
    granted = question.feature is None or question.feature in offers
    right = ({""} | question.empty) if granted else question.absent
    if answer.condition not in right:
        state = "granted" if granted else "not advertised"
        return f"{question.name} ({state}): {answer.condition or 'result'} instead of {sorted(right)}"
    if answer.condition and answer.type != "cancel":
        return f"{question.name}: {answer.condition} of type {answer.type} (RFC 6120 §8.3.3)"
    return None


def _items(node: str) -> Question:
    return Question(
        f"PEP items of {node}",
        "get",
        At.ACCOUNT,
        f'<pubsub xmlns="{_PUBSUB}"><items node="{node}"/></pubsub>',
        PEP,
        At.ACCOUNT,
        empty=NOTHING_THERE,
    )


def _publish(node: str, item: str, content: str) -> Question:
    option = '<field var="{}"{}><value>{}</value></field>'
    options = (
        option.format("FORM_TYPE", ' type="hidden"', f"{_PUBSUB}#publish-options")
        + option.format("pubsub#persist_items", "", "true")
        + option.format("pubsub#access_model", "", "open")
    )
    return Question(
        f"PEP publish to {node}",
        "set",
        At.ACCOUNT,
        f'<pubsub xmlns="{_PUBSUB}"><publish node="{node}"><item id="{item}">{content}</item></publish>'
        f'<publish-options><x xmlns="{_FORM}" type="submit">{options}</x></publish-options></pubsub>',
        PEP,
        At.ACCOUNT,
    )


_AXOLOTL = "eu.siacs.conversations.axolotl"
_MDS = "urn:xmpp:mds:displayed:0"

QUESTIONS = (
    # The core, which any server must grant.
    Question("disco of the server", "get", At.SERVER, f'<query xmlns="{_DISCO}#info"/>'),
    Question("items of the server", "get", At.SERVER, f'<query xmlns="{_DISCO}#items"/>'),
    Question("disco of the account", "get", At.BARE, f'<query xmlns="{_DISCO}#info"/>'),
    Question("roster", "get", At.ACCOUNT, '<query xmlns="jabber:iq:roster"/>'),
    Question("roster with versioning", "get", At.ACCOUNT, '<query xmlns="jabber:iq:roster" ver=""/>'),
    Question("ping of the server", "get", At.SERVER, '<ping xmlns="urn:xmpp:ping"/>'),
    Question("ping of the account", "get", At.ACCOUNT, '<ping xmlns="urn:xmpp:ping"/>'),
    # What is there or not.
    Question("version", "get", At.SERVER, '<query xmlns="jabber:iq:version"/>', "jabber:iq:version"),
    Question("time", "get", At.SERVER, '<time xmlns="urn:xmpp:time"/>', "urn:xmpp:time"),
    Question("last activity", "get", At.SERVER, '<query xmlns="jabber:iq:last"/>', "jabber:iq:last"),
    Question("registration", "get", At.ACCOUNT, '<query xmlns="jabber:iq:register"/>', "jabber:iq:register"),
    Question("blocklist", "get", At.ACCOUNT, '<blocklist xmlns="urn:xmpp:blocking"/>', "urn:xmpp:blocking"),
    Question("carbons", "set", At.ACCOUNT, '<enable xmlns="urn:xmpp:carbons:2"/>', "urn:xmpp:carbons:2"),
    Question(
        "offline purge",
        "set",
        At.ACCOUNT,
        '<offline xmlns="http://jabber.org/protocol/offline"><purge/></offline>',
        "http://jabber.org/protocol/offline",
    ),
    Question(
        "archive preferences",
        "get",
        At.ACCOUNT,
        '<prefs xmlns="urn:xmpp:mam:2"/>',
        "urn:xmpp:mam:2",
        At.ACCOUNT,
    ),
    Question(
        "archive catch-up",
        "set",
        At.ACCOUNT,
        '<query xmlns="urn:xmpp:mam:2" queryid="q"><set xmlns="http://jabber.org/protocol/rsm"><max>1</max>'
        "<before/></set></query>",
        "urn:xmpp:mam:2",
        At.ACCOUNT,
    ),
    Question(
        "bookmarks in private XML",
        "get",
        At.ACCOUNT,
        '<query xmlns="jabber:iq:private"><storage xmlns="storage:bookmarks"/></query>',
        "jabber:iq:private",
    ),
    Question("vCard", "get", At.ACCOUNT, '<vCard xmlns="vcard-temp"/>', "vcard-temp", empty=NOTHING_THERE),
    Question(
        "commands",
        "get",
        At.SERVER,
        f'<query xmlns="{_DISCO}#items" node="http://jabber.org/protocol/commands"/>',
        "http://jabber.org/protocol/commands",
        absent=UNSUPPORTED | NOTHING_THERE,  # disco is there, the node is not (XEP-0030 §7)
    ),
    Question("TURN", "get", At.SERVER, '<services xmlns="urn:xmpp:extdisco:2" type="turn"/>', "urn:xmpp:extdisco:2"),
    Question(
        "push",
        "set",
        At.ACCOUNT,
        '<enable xmlns="urn:xmpp:push:0" jid="push.example" node="n"/>',
        "urn:xmpp:push:0",
        At.ACCOUNT,
    ),
    Question(
        "upload slot",
        "get",
        At.SERVER,
        '<request xmlns="urn:xmpp:http:upload:0" filename="a.png" size="99" content-type="image/png"/>',
        "urn:xmpp:http:upload:0",
    ),
    Question("something unheard of", "get", At.SERVER, '<what xmlns="urn:example:unheard-of"/>', "urn:example:none"),
    Question("unheard of, account", "set", At.BARE, '<what xmlns="urn:example:unheard-of"/>', "urn:example:none"),
    # Personal eventing.
    *(_items(node) for node in ("storage:bookmarks", "urn:xmpp:bookmarks:1", _MDS, f"{_AXOLOTL}.devicelist")),
    _items("urn:xmpp:avatar:metadata"),
    _publish(f"{_AXOLOTL}.devicelist", "current", f'<list xmlns="{_AXOLOTL}"><device id="1"/></list>'),
    _publish(f"{_AXOLOTL}.bundles:1", "current", f'<bundle xmlns="{_AXOLOTL}"><prekeys/></bundle>'),
    _publish("urn:xmpp:avatar:metadata", "current", '<metadata xmlns="urn:xmpp:avatar:metadata"/>'),
    _publish("http://jabber.org/protocol/nick", "current", '<nick xmlns="http://jabber.org/protocol/nick">Jule</nick>'),
    _publish("urn:xmpp:bookmarks:1", "room@rooms.example", '<conference xmlns="urn:xmpp:bookmarks:1" name="Room"/>'),
)
