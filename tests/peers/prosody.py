"""A private Prosody: own address, own folder, gone at the end; and what it does differently everywhere."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.runner import ADMINS, Habit
from xmppchat.testing.tcp import TcpDriver, free_port

CONFIG = """
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
log = {{ debug = "{directory}/prosody.log" }}
run_as_root = true
interfaces = {{ "{address}" }}
c2s_ports = {{ {port} }}
s2s_ports = {{}}
c2s_direct_tls_ports = {{}}
authentication = "internal_hashed"
allow_registration = true
registration_throttle_max = false
network_settings = {{ nagle = false }}  -- its default costs 40 ms a connection
c2s_require_encryption = true
modules_enabled = {{ "roster", "saslauth", "carbons", "csi_simple", "smacks", "tls", "ping", "register_ibr",
  "user_account_management", "disco", "offline", "posix", "admin_adhoc", "announce", "blocklist", "lastactivity",
  "invites", "invites_adhoc", "invites_register", "mam", "pep", "private", "server_contact_info", "time",
  "bookmarks", "vcard_legacy", "vcard4", "version" }}
archive_expires_after = "never"
contact_info = {{ abuse = {{ "xmpp:abuse@{domain}" }},
  admin = {{ "xmpp:abuse@{domain}", "mailto:admin@example.org" }} }}
allow_user_invites = true
registration_invite_only = false
disco_items = {{ {{ "rooms.chat.example", "Rooms" }}, {{ "gateway.example.org" }} }}
modules_disabled = {{ "s2s", "limits" }}
ssl = {{ certificate = "{certificate}", key = "{key}" }}
admins = {{ {admins} }}
VirtualHost "{domain}"
Component "pubsub.{domain}" "pubsub"
  name = "Publish-Subscribe"
  autocreate_on_publish = true
"""


def is_installed() -> bool:
    """Whether there is a Prosody on this machine."""
    return shutil.which("prosody") is not None


def _push_without_addresses(pattern: Element) -> Element:
    is_push = pattern.name == "iq" and pattern.get("type") == "set" and pattern.find("query", NS.ROSTER)
    if not is_push:
        return pattern
    return pattern.replace(attributes={"from": pattern.get("from") + "|", "to": pattern.get("to") + "|"})


def _account_without_from(pattern: Element) -> Element:
    sender = pattern.get("from")
    is_answer = pattern.name == "iq" and pattern.get("type") in ("result", "error")
    if is_answer and sender and pattern.get("to").startswith(sender + "/"):
        return pattern.replace(attributes={"from": sender + "|"})
    return pattern


def _language(pattern: Element) -> Element:
    pattern = pattern.replace(children=[
        _language_inside(child) if isinstance(child, Element) and child.namespace == NS.CARBONS else child
        for child in pattern.children
    ])
    is_from_server = pattern.name == "iq" and "/" not in pattern.get("from")
    if is_from_server or "xml:lang" in pattern.attributes:
        return pattern
    return pattern.replace(attributes={"xml:lang": "en|"})


def _language_inside(carbon: Element) -> Element:
    return carbon.replace(children=[
        forwarded.replace(children=[_language(inner) if isinstance(inner, Element) else inner
                                    for inner in forwarded.children])
        if isinstance(forwarded, Element) else forwarded
        for forwarded in carbon.children
    ])


def _own_presence(pattern: Element) -> Element:
    own = pattern.get("to").partition("/")[0]
    if pattern.name != "presence" or not own or not pattern.get("from").startswith(own + "/"):
        return pattern
    return pattern.replace(attributes={"to": "…|"})


def _delayed_presence(pattern: Element) -> Element:
    if pattern.name != "presence" or pattern.get("type"):
        return pattern
    return pattern.append("…")


def _malformed_without_to(pattern: Element) -> Element:
    error = pattern.find("error")
    if pattern.name != "iq" or error is None or error.find("bad-request", NS.STANZA_ERROR) is None:
        return pattern
    return pattern.replace(attributes={"to": pattern.get("to") + "|"})


def _archive_result(pattern: Element) -> Element:
    result = pattern.find("result", NS.ARCHIVE)
    forwarded = result.find("forwarded", NS.FORWARD) if result is not None else None
    if pattern.name != "message" or result is None or forwarded is None:
        return pattern
    inside = [
        child.replace(attributes={"xml:lang": "en|"})
        if isinstance(child, Element) and child.name == "message" and "xml:lang" not in child.attributes else child
        for child in forwarded.children
    ]
    result = result.replace(children=[forwarded.replace(children=inside)])
    return pattern.replace(attributes={"from": pattern.get("from") + "|"}, children=[result])


def _archive_page(pattern: Element) -> Element:
    fin = pattern.find("fin", NS.ARCHIVE)
    page = fin.find("set", NS.RSM) if fin is not None else None
    if fin is None or page is None or not fin.get("complete"):
        return pattern if fin is None or page is None else _with_page(pattern, fin, page.append("⇅"))
    children = [
        child.replace(attributes={"index": "0|"})
        if isinstance(child, Element) and child.name == "first" and child.get("index") else child
        for child in page.children if isinstance(child, str) or child.name != "count"
    ]
    return _with_page(pattern, fin, page.replace(children=[*children, "⇅"]))


def _with_page(pattern: Element, fin: Element, page: Element) -> Element:
    return pattern.replace(children=[fin.replace(children=[page])])


def _item_publisher(pattern: Element) -> Element:
    event = pattern.find("event", NS.PUBSUB_EVENT) if pattern.name == "message" else None
    items = event.find("items") if event is not None else None
    if event is None or items is None or not items.find_all("item"):
        return pattern
    inside = [
        child.replace(attributes={"publisher": "…|"}) if isinstance(child, Element) and child.name == "item" else child
        for child in items.children
    ]
    event = event.replace(children=[items.replace(children=inside)])
    return pattern.replace(children=[
        event if isinstance(child, Element) and child.is_named("event", NS.PUBSUB_EVENT) else child
        for child in pattern.children
    ])


#: Differences that show in many transcripts, each settled here once.
HABITS = (
    (
        "both",
        "RFC 6121 §2.1.6: a client takes a roster push that has no 'from' attribute (i.e., implicitly from the bare "
        "JID of the user's account)",
        _push_without_addresses,
    ),
    (
        "both",
        "RFC 6120 §8.1.2.1: When a client receives a stanza that does not include a 'from' attribute, it MUST assume "
        "that the stanza is from the user's account on the server",
        _account_without_from,
    ),
    (
        "both",
        "RFC 6120 §8.1.5: a server SHOULD add the language of the client's stream; ours adds what the client said in "
        "its stream header, Prosody 'en' also when it said nothing",
        _language,
    ),
    (
        "both",
        "RFC 6121 §4.2.2: the user's server also broadcasts to the user's own resources; how 'to' reads there is not "
        "said, Prosody writes none or the full JID",
        _own_presence,
    ),
    (
        "both",
        "XEP-0203 §1: Prosody tells how old a presence is when it is sent to one who comes later; XEP-0153 §4.1: and "
        "it says with each that there is no avatar, where there is none; ours says nothing of what nobody has",
        _delayed_presence,
    ),
    (
        "ours",
        "RFC 6120 §8.3.2: <stanza-kind from='intended-recipient' to='sender' type='error'>; Prosody leaves 'to' out "
        "where an IQ is malformed as such",
        _malformed_without_to,
    ),
    (
        "both",
        "RFC 6120 §8.1.2.1, as for answers: Prosody sends results of an archive without 'from'; and it stores the "
        "language that it added",
        _archive_result,
    ),
    (
        "both",
        "XEP-0059 §2.2: <count/> and 'index' MAY be omitted; the order of <first/> and <last/> is not said",
        _archive_page,
    ),
    (
        "ours",
        "XEP-0060 §7.1.2.3: the service can include the publisher; if so, the service MUST also include the publisher "
        "with every other form of item retrieval; Prosody has it in notifications only",
        _item_publisher,
    ),
)


class Prosody(TcpDriver):
    """Runs transcripts against Prosody."""

    #: Messages of who is blocked may vanish there; a request is always delivered or refused (XEP-0191 §3.3).
    sentinel = ("iq", "get", "<sentinel xmlns='urn:example:sentinel'/>")

    def __init__(self, directory: Path, certificate: Path, key: Path, domain: str = "chat.example") -> None:
        self._directory = directory
        address = "127.0.6.20"
        port = free_port(address)
        super().__init__("prosody", address, port, domain)
        self.habits = tuple(Habit(*habit) for habit in HABITS)
        (directory / "data").mkdir(parents=True)
        self._config = directory / "prosody.cfg.lua"
        self._config.write_text(CONFIG.format(
            directory=directory, address=address, port=port, certificate=certificate, key=key, domain=domain,
            admins=", ".join(f'"{name}@{domain}"' for name in ADMINS),
        ))  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        # It ends with us, also when we are killed.
        self._process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "TERM", "prosody", "-F", "--config", str(self._config),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(20):
            while True:
                try:
                    client = await self._connect()
                except OSError:
                    if self._process.returncode is not None:
                        log = self._directory / "prosody.log"
                        raise RuntimeError(log.read_text() if log.exists() else "prosody ended") from None
                    await asyncio.sleep(0.05)  # a process that starts tells nobody when it listens
                else:
                    await client.close()
                    return

    async def stop(self) -> None:
        """Stop it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
