"""The lines of the self-check: what compliance tests and clients look for, and how it is told from what was seen.

The list is that of the XMPP compliance tester (caas), and what Conversations and Monal show of a server. A line with
`since` is not expected before that step of docs/roadmap.md; all others have to pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

COMPLIANCE, INFORMATIONAL, CLIENTS = "compliance", "informational", "clients"
PASS, FAIL, NOTE, NOT_YET, NOT_CHECKED = "pass", "fail", "note", "not yet", "not checked"


@dataclass(slots=True)
class Info:
    """disco#info of one address; `forms` are values by form type and field."""

    features: set[str] = field(default_factory=set)
    identities: set[tuple[str, str]] = field(default_factory=set)
    forms: dict[tuple[str, str], list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Seen:
    """What a client saw that logged in: stream features as ``{namespace}name`` before and after login, disco, the nodes
    of commands, and the names of :data:`REQUESTS` that got an answer, with :data:`KEYS`."""

    before: set[str] = field(default_factory=set)
    after: set[str] = field(default_factory=set)
    mechanisms: list[str] = field(default_factory=list)
    mechanism: str = ""
    domain: Info = field(default_factory=Info)
    account: Info = field(default_factory=Info)
    items: dict[str, Info] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    answers: set[str] = field(default_factory=set)

    def somewhere(self, feature: str) -> bool:
        """Whether the domain or one of its items has a feature."""
        return any(feature in info.features for info in (self.domain, *self.items.values()))


@dataclass(frozen=True, slots=True)
class Item:
    """One line: `test` tells from what was seen; None where it is examined only from step `since` on."""

    key: str
    title: str
    kind: str
    test: Callable[[Seen], bool] | None
    fix: str = ""
    since: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a line; `text` is the fix, the reason or the step."""

    host: str
    key: str
    title: str
    status: str
    text: str = ""


def judge(host: str, seen: Seen) -> list[Result]:
    """The results of all lines."""
    return [_judge(host, item, seen) for item in ITEMS]


def not_checked(host: str, reason: str) -> list[Result]:
    """All lines, where nobody could log in."""
    return [Result(host, item.key, item.title, *(
        (NOT_YET, _step(item)) if item.since else (NOT_CHECKED, reason)
    )) for item in ITEMS]


def _judge(host: str, item: Item, seen: Seen) -> Result:
    if item.test is not None and item.test(seen):
        return Result(host, item.key, item.title, PASS)
    if item.since:
        return Result(host, item.key, item.title, NOT_YET, _step(item))
    return Result(host, item.key, item.title, NOTE if item.kind == INFORMATIONAL else FAIL, item.fix)


def _step(item: Item) -> str:
    return f"comes with step {item.since} of the roadmap"


# --- the table ----------------------------------------------------------------------------------------------------

_PEP = ("pubsub", "pep")
_SERVER_INFO = "http://jabber.org/network/serverinfo"
_LOADED = "a component that every server has does not tell it: look for its name in the server's log, and report it"


def _after(name: str) -> Callable[[Seen], bool]:
    return lambda seen: name in seen.after


def _domain(feature: str) -> Callable[[Seen], bool]:
    return lambda seen: feature in seen.domain.features


def _account(feature: str) -> Callable[[Seen], bool]:
    return lambda seen: feature in seen.account.features


def _command(node: str) -> Callable[[Seen], bool]:
    return lambda seen: node in seen.commands


def _answered(name: str) -> Callable[[Seen], bool]:
    return lambda seen: name in seen.answers


def _somewhere(feature: str) -> Callable[[Seen], bool]:
    return lambda seen: seen.somewhere(feature)


def _has_archive(seen: Seen) -> bool:
    return any(f"urn:xmpp:mam:{version}" in seen.account.features for version in (0, 1, 2))


def _login_is_strong(seen: Seen) -> bool:
    return seen.mechanism.startswith("SCRAM-") and any(name.endswith("-PLUS") for name in seen.mechanisms)


#: In `answers`: a stranger could read the keys that were published.
KEYS = "keys"
#: What is asked beside disco: (title, XML, whether the domain is asked, and not the own account).
REQUESTS: Mapping[str, tuple[str, str, bool]] = {
    "roster": ("The roster is answered", "<query xmlns='jabber:iq:roster'/>", False),
    "blocklist": ("The block list is answered", "<blocklist xmlns='urn:xmpp:blocking'/>", False),
    "preferences": ("Preferences of the archive are answered", "<prefs xmlns='urn:xmpp:mam:2'/>", False),
    "vcard": ("The own vCard is answered", "<vCard xmlns='vcard-temp'/>", False),
    "private": ("Private XML is answered",
                "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>", False),
    "version": ("The version is answered", "<query xmlns='jabber:iq:version'/>", True),
    "time": ("The time is answered", "<time xmlns='urn:xmpp:time'/>", True),
}  # fmt: skip
_FAILED = "the request is refused or gets no answer: look into the server's log, and report it"

#: Without all of these of PEP Monal uses none of it; the last two are for bookmarks and read state.
_MONAL_PEP = tuple(f"http://jabber.org/protocol/pubsub#{feature}" for feature in (
    "filtered-notifications", "publish-options", "publish", "subscribe", "create-nodes", "delete-items", "delete-nodes",
    "persistent-items", "retrieve-items", "auto-create",
))  # fmt: skip


def _has_all(features: Iterable[str]) -> Callable[[Seen], bool]:
    wanted = set(features)
    return lambda seen: wanted <= seen.account.features


ITEMS: tuple[Item, ...] = (
    Item("xep0045", "Group chat: a service for rooms", COMPLIANCE, _somewhere("http://jabber.org/protocol/muc"),
         since=6),
    Item("xep0065", "SOCKS5 proxy for files", COMPLIANCE, _somewhere("http://jabber.org/protocol/bytestreams"),
         since=6),
    Item("xep0115", "Entity capabilities in the stream features", COMPLIANCE,
         _after("{http://jabber.org/protocol/caps}c"), _LOADED),
    Item("xep0160", "Messages wait for whoever is away", COMPLIANCE, _domain("msgoffline"), _LOADED),
    Item("xep0163", "Personal eventing (PEP)", COMPLIANCE, lambda seen: _PEP in seen.account.identities,
         _LOADED),
    Item("xep0191", "Blocking", COMPLIANCE, _domain("urn:xmpp:blocking"), _LOADED),
    Item("xep0198", "Stream management", COMPLIANCE, _after("{urn:xmpp:sm:3}sm"), _LOADED),
    Item("roster_versioning", "Roster versioning", COMPLIANCE, _after("{urn:xmpp:features:rosterver}ver"), _LOADED),
    Item("xep0280", "Carbons: all devices see all messages", COMPLIANCE, _domain("urn:xmpp:carbons:2"),
         _LOADED),
    Item("xep0313", "Archive (MAM)", COMPLIANCE, _has_archive, _LOADED),
    Item("xep0313muc", "Archive of rooms", COMPLIANCE, None, since=6),
    Item("xep0352", "Client state indication", COMPLIANCE, _after("{urn:xmpp:csi:0}csi"), _LOADED),
    Item("xep0357", "Push", COMPLIANCE, _account("urn:xmpp:push:0"), _LOADED),
    Item("xep0363", "HTTP upload", COMPLIANCE, _somewhere("urn:xmpp:http:upload:0"), since=6),
    Item("xep0384", "OMEMO: keys that everybody can read", COMPLIANCE, _answered(KEYS), _FAILED),
    Item("xep0398", "Avatars for old clients", COMPLIANCE, _account("urn:xmpp:pep-vcard-conversion:0"), _LOADED),
    Item("xep0411", "Bookmarks for old clients", COMPLIANCE, _account("urn:xmpp:bookmarks-conversion:0"), _LOADED),
    Item("vcard_muc", "Avatars of rooms", COMPLIANCE, None, since=6),
    Item("stun", "Calls: STUN", COMPLIANCE, None, since=6),
    Item("turn", "Calls: TURN with credentials", COMPLIANCE, None, since=6),
    Item("abuse-contact", "Whom to tell of abuse (XEP-0157)", INFORMATIONAL,
         lambda seen: bool(seen.domain.forms.get((_SERVER_INFO, "abuse-addresses"))),
         "name an address for reports of abuse: `xmppchat config explain contact_addresses`"),
    Item("xep0077", "Registration by clients", INFORMATIONAL,
         lambda seen: "{http://jabber.org/features/iq-register}register" in seen.before,
         "off by choice: components.register.mode says who may make an account"),
    Item("xep0156", "Addresses for web clients", INFORMATIONAL, None, since=6),
    Item("xep0363_cors", "HTTP upload from web pages", INFORMATIONAL, None, since=6),
    Item("login", "Login by SCRAM, with channel binding", CLIENTS, _login_is_strong,
         "clients fall back to weaker logins: an Ed25519 certificate has no channel binding; get one with ECDSA P-256"),
    Item("xep0030", "Disco of the account", CLIENTS, lambda seen: ("account", "registered") in seen.account.identities,
         _LOADED),
    Item("xep0199", "Ping", CLIENTS, _domain("urn:xmpp:ping"), _LOADED),
    Item("xep0054", "vCards", CLIENTS, _domain("vcard-temp"), _LOADED),
    Item("xep0386", "Bind 2", CLIENTS, lambda seen: "{urn:xmpp:sasl:2}authentication" in seen.before, _LOADED),
    Item("xep0388", "Extensible SASL", CLIENTS, lambda seen: "{urn:xmpp:sasl:2}authentication" in seen.before, _LOADED),
    Item("xep0313extended", "Archive: searched by id, in pages both ways", CLIENTS, _account("urn:xmpp:mam:2#extended"),
         _LOADED),
    Item("xep0359", "Messages have ids of the server", CLIENTS, _account("urn:xmpp:sid:0"), _LOADED),
    Item("xep0280rules", "Carbons by the rules of 2021", CLIENTS, _domain("urn:xmpp:carbons:rules:0"), _LOADED),
    Item("xep0377", "Reports of spam and abuse", CLIENTS, _domain("urn:xmpp:reporting:1"), _LOADED),
    Item("xep0401", "Users can invite", INFORMATIONAL, _command("urn:xmpp:invite#invite"),
         "off by choice: components.invitations.users_may_invite"),
    Item("xep0445", "Registration with an invitation", INFORMATIONAL,
         lambda seen: "{urn:xmpp:ibr-token:0}register" in seen.before,
         "off by choice: components.register.mode says who may make an account"),
    Item("xep0455", "Where an outage is announced", INFORMATIONAL,
         lambda seen: bool(seen.domain.forms.get(("urn:xmpp:sos:0", "external-status-addresses"))),
         "name a file on another machine: `xmppchat config explain contact_addresses.external_status`"),
    *(Item(name, title, CLIENTS, _answered(name), _FAILED) for name, (title, _, _) in REQUESTS.items()),
    Item("monal_pep", "Personal eventing as Monal wants it", CLIENTS, _has_all(_MONAL_PEP), _LOADED),
    Item("xep0402", "Bookmarks that old clients see", CLIENTS,
         _has_all(("urn:xmpp:bookmarks:1#compat", "urn:xmpp:bookmarks:1#compat-pep")), _LOADED),
    Item("xep0490", "What was read, on all devices", CLIENTS,
         _has_all(("http://jabber.org/protocol/pubsub#config-node-max", "http://jabber.org/protocol/pubsub#item-ids")),
         _LOADED),
    Item("xep0215", "External services", CLIENTS, _domain("urn:xmpp:extdisco:2"), since=6),
    Item("xep0421", "Anonymous identifiers in rooms", CLIENTS, None, since=6),
    Item("xep0425", "Moderation of rooms", CLIENTS, None, since=6),
)

#: What is not expected yet: line -> step of the roadmap.
NOT_YET_SINCE: Mapping[str, int] = {item.key: item.since for item in ITEMS if item.since}
