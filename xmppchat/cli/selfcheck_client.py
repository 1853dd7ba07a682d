"""The self-check's client: a stock library (slixmpp), so that this server is not judged by its own reading."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import Any
from xml.etree import ElementTree

from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from xmppchat.cli.probe import Door
from xmppchat.cli.selfcheck_lines import REQUESTS, Info, Seen

#: How long a login and each answer may take, s.
SECONDS = 15.0
#: Items of the domain that are asked; nobody has more services.
MAX_ITEMS = 50

_STREAM = "http://etherx.jabber.org/streams"
_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
_INFO = "http://jabber.org/protocol/disco#info"
_DATA = "jabber:x:data"
_COMMANDS = "http://jabber.org/protocol/commands"
_PUBSUB = "http://jabber.org/protocol/pubsub"
_OMEMO = "eu.siacs.conversations.axolotl"

#: What OMEMO clients publish (XEP-0384 §5.3, in the version that most of them speak): a list of devices, keys of one.
DEVICES, BUNDLE = f"{_OMEMO}.devicelist", f"{_OMEMO}.bundles:1"
PUBLICATIONS = tuple(
    f"<pubsub xmlns='{_PUBSUB}'><publish node='{node}'><item id='current'>{payload}</item></publish><publish-options>"
    f"<x xmlns='{_DATA}' type='submit'><field var='FORM_TYPE' type='hidden'><value>{_PUBSUB}#publish-options</value>"
    "</field><field var='pubsub#access_model'><value>open</value></field></x></publish-options></pubsub>"
    for node, payload in (
        (DEVICES, f"<list xmlns='{_OMEMO}'><device id='1'/></list>"), (BUNDLE, f"<bundle xmlns='{_OMEMO}'/>"),
    )
)  # fmt: skip


class LoginFailed(Exception):
    """The client could not log in; the text says where it ended."""


async def log_in_and_look(door: Door, jid: str, password: str, context: ssl.SSLContext) -> Seen:
    """Log in at `door`, ask what clients ask, publish keys, log out. Raises :class:`LoginFailed`."""
    client = _client(door, jid, password, context)
    seen = Seen()
    client.register_handler(
        Callback("look at features", MatchXPath(f"{{{_STREAM}}}features"), lambda stanza: _features(seen, stanza.xml))
    )
    try:
        await _log_in(client, door)
        seen.mechanism = str(client.plugin["feature_mechanisms"].mech.name)
        await _look(client, seen)
        for xml in PUBLICATIONS:
            await _is_answered(client, xml, "", "set")  # whether that went well is seen by who reads them
    finally:
        await _log_out(client)
    return seen


async def can_read_keys(door: Door, jid: str, password: str, context: ssl.SSLContext, owner: str) -> bool:
    """Whether `jid`, which has nothing to do with `owner`, can read the keys that were published there."""
    client = _client(door, jid, password, context)
    try:
        await _log_in(client, door)
        return all([await _has_item(client, owner, node) for node in (DEVICES, BUNDLE)])
    except LoginFailed:
        return False
    finally:
        await _log_out(client)


def _client(door: Door, jid: str, password: str, context: ssl.SSLContext) -> Any:
    for name in ("slixmpp", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what went wrong is told in one sentence
    client = ClientXMPP(jid, password, ssl_context=context)
    client.enable_direct_tls, client.enable_starttls = door.is_direct, not door.is_direct
    client.enable_plaintext = False
    client.register_plugin("xep_0030")
    return client


async def _log_in(client: Any, door: Door) -> None:
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def settle(text: str) -> None:
        if not outcome.done():
            outcome.set_result(text)

    client.add_event_handler("session_start", lambda _: settle(""))
    client.add_event_handler("ssl_invalid_chain", lambda error: settle(f"the certificate was refused: {error}"))
    client.add_event_handler("connection_failed", lambda error: settle(f"{door} cannot be reached: {error}"))
    client.add_event_handler("failed_all_auth", lambda _: settle("no mechanism led to a login"))
    client.add_event_handler("disconnected", lambda reason: settle(f"the connection ended: {reason or 'no reason'}"))
    client.connect(door.address, door.port)
    try:
        failure = await asyncio.wait_for(outcome, SECONDS)
    except TimeoutError:
        failure = f"no login in {SECONDS:g} s"
    if failure:
        raise LoginFailed(failure)


async def _log_out(client: Any) -> None:
    client.cancel_connection_attempt()
    if client.transport is not None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.disconnect(wait=SECONDS), SECONDS)


def _features(seen: Seen, features: Any) -> None:
    """Features before login list mechanisms; those after it replace what was seen."""
    names = {child.tag for child in features}
    mechanisms = features.find(f"{{{_SASL}}}mechanisms")
    if mechanisms is not None:
        seen.before = names
        seen.mechanisms = [str(mechanism.text) for mechanism in mechanisms]
    else:
        seen.after = names


async def _look(client: Any, seen: Seen) -> None:
    domain = client.boundjid.domain
    seen.domain = await _info(client, domain)
    seen.account = await _info(client, client.boundjid.bare)
    addresses = {address for address, node in await _items(client, domain) if not node}
    for address in sorted(addresses - {domain})[:MAX_ITEMS]:
        seen.items[address] = await _info(client, address)
    seen.commands = {node for _, node in await _items(client, domain, _COMMANDS)}
    for name, (_, xml, is_of_domain) in REQUESTS.items():
        if await _is_answered(client, xml, domain if is_of_domain else ""):
            seen.answers.add(name)


async def _items(client: Any, address: str, node: str = "") -> list[tuple[str, str]]:
    """disco#items: addresses with nodes; none where it is refused."""
    try:
        answer = await client.plugin["xep_0030"].get_items(jid=address, node=node, timeout=SECONDS)
    except (IqError, IqTimeout):
        return []
    return [(str(item[0]), str(item[1] or "")) for item in answer["disco_items"]["items"]]


async def _has_item(client: Any, owner: str, node: str) -> bool:
    """Whether there is an item at a node of `owner` (XEP-0060 §6.5)."""
    request = client.make_iq_get(ito=owner)
    request.append(ElementTree.fromstring(f"<pubsub xmlns='{_PUBSUB}'><items node='{node}'/></pubsub>"))  # noqa: S314
    try:
        answer = await request.send(timeout=SECONDS)
    except (IqError, IqTimeout):
        return False
    return answer.xml.find(f".//{{{_PUBSUB}}}item") is not None


async def _is_answered(client: Any, xml: str, address: str, kind: str = "get") -> bool:
    """Whether a request gets a result; that there is nothing yet is one, too (XEP-0054 §3.1)."""
    request = client.make_iq(itype=kind, ito=address or None)
    request.append(ElementTree.fromstring(xml))  # noqa: S314 - our own text
    try:
        await request.send(timeout=SECONDS)
    except IqError as error:
        return bool(error.condition == "item-not-found")
    except IqTimeout:
        return False
    return True


async def _info(client: Any, address: str) -> Info:
    """disco#info of an address; empty where it refuses or does not answer: then the lines that need it fail."""
    info = Info()
    try:
        answer = await client.plugin["xep_0030"].get_info(jid=address, timeout=SECONDS)
    except (IqError, IqTimeout):
        return info
    query = answer.xml.find(f"{{{_INFO}}}query")
    for child in query if query is not None else ():
        if child.tag == f"{{{_INFO}}}feature":
            info.features.add(child.get("var", ""))
        elif child.tag == f"{{{_INFO}}}identity":
            info.identities.add((child.get("category", ""), child.get("type", "")))
        elif child.tag == f"{{{_DATA}}}x":
            _form(info, child)
    return info


def _form(info: Info, form: Any) -> None:
    fields = {
        one.get("var", ""): [value.text or "" for value in one.iterfind(f"{{{_DATA}}}value")]
        for one in form.iterfind(f"{{{_DATA}}}field")
    }
    kind = "".join(fields.get("FORM_TYPE", ()))
    info.forms.update({(kind, name): [value for value in values if value] for name, values in fields.items()})
