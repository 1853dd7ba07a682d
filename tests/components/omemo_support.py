"""Devices that publish as OMEMO clients do, in both versions (XEP-0384 §5.3), and what is found at their account."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from pubsub_support import Client, condition

from xmppchat.components.omemo import Omemo
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryDriver

OLD, NEW = NS.OMEMO_AXOLOTL, NS.OMEMO
OLD_LIST, NEW_LIST, NEW_BUNDLES = f"{OLD}.devicelist", f"{NEW}:devices", f"{NEW}:bundles"
OPEN = {"access_model": "open", "persist_items": "true"}
DAY = 86_400.0

Row = dict[str, Any]


def old_node(device: object) -> str:
    """The node of a bundle in version 0.3."""
    return f"{OLD}.bundles:{device}"


def base64_of(size: int) -> str:
    """Something of the size of a key or signature."""
    return base64.b64encode(bytes(range(size))).decode()


KEY, SIGNATURE = base64_of(32), base64_of(64)


def old_bundle(prekeys: int = 100) -> str:
    """A bundle of version 0.3."""
    key = base64_of(33)
    keys = "".join(f"<preKeyPublic preKeyId='{number}'>{key}</preKeyPublic>" for number in range(1, prekeys + 1))
    return (
        f"<bundle xmlns='{OLD}'><signedPreKeyPublic signedPreKeyId='1'>{key}</signedPreKeyPublic>"
        f"<signedPreKeySignature>{SIGNATURE}</signedPreKeySignature><identityKey>{key}</identityKey>"
        f"<prekeys>{keys}</prekeys></bundle>"
    )


def new_bundle(prekeys: int = 100) -> str:
    """A bundle of today's version."""
    keys = "".join(f"<pk id='{number}'>{KEY}</pk>" for number in range(1, prekeys + 1))
    return (
        f"<bundle xmlns='{NEW}'><spk id='1'>{KEY}</spk><spks>{SIGNATURE}</spks><ik>{KEY}</ik>"
        f"<prekeys>{keys}</prekeys></bundle>"
    )


def devices(*ids: object, element: str = "list", namespace: str = OLD) -> str:
    """A device list."""
    inner = "".join(f"<device id='{id}'/>" for id in ids)
    return f"<{element} xmlns='{namespace}'>{inner}</{element}>"


def options(values: dict[str, str]) -> str:
    """Publish-options, as conditions and as the configuration of a new node."""
    fields = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in values.items())
    return (
        f"<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{NS.PUBSUB_OPTIONS}</value></field>{fields}</x></publish-options>"
    )


async def publish(client: Client, node: str, payload: str, item: str = "current", **wanted: str) -> None:
    """Publish as a client does, which has to work; without `wanted` with the options of XEP-0384."""
    inner = f"<publish node='{node}'><item id='{item}'>{payload}</item></publish>{options(wanted or OPEN)}"
    assert condition(await client.ask("set", inner)) == ""


async def publish_old_list(client: Client, *ids: object, **wanted: str) -> None:
    """The device list of version 0.3."""
    await publish(client, OLD_LIST, devices(*ids), **wanted)


async def publish_new_list(client: Client, *ids: object, **wanted: str) -> None:
    """Today's device list."""
    await publish(client, NEW_LIST, devices(*ids, element="devices", namespace=NEW), **wanted)


async def publish_old_bundle(client: Client, device: object, prekeys: int = 100, **wanted: str) -> None:
    """A bundle in the node of its device."""
    await publish(client, old_node(device), old_bundle(prekeys), **wanted)


async def publish_new_bundle(client: Client, device: object, prekeys: int = 100, **wanted: str) -> None:
    """A bundle as one of many items."""
    await publish(client, NEW_BUNDLES, new_bundle(prekeys), str(device), **(wanted or {**OPEN, "max_items": "max"}))


async def set_up(client: Client, *ids: int, versions: Sequence[str] = (OLD, NEW)) -> None:
    """Sound devices: bundles, then the lists."""
    for id in ids:
        if OLD in versions:
            await publish_old_bundle(client, id)
        if NEW in versions:
            await publish_new_bundle(client, id)
    if OLD in versions:
        await publish_old_list(client, *ids)
    if NEW in versions:
        await publish_new_list(client, *ids)


def component(driver: MemoryDriver) -> Omemo:
    """The component."""
    return next(one for one in driver.server.kernel.components if isinstance(one, Omemo))


async def check(driver: MemoryDriver, client: Client) -> list[Row]:
    """What the admin is told of the account."""
    rows: list[Row] = await component(driver).check(JID.parse(client.bare))  # type: ignore[assignment]
    return rows


async def found(driver: MemoryDriver, client: Client) -> list[tuple[str, str, str, str]]:
    """(severity, finding, version, device) of all that is found."""
    rows = await check(driver, client)
    return [(row["severity"], row["finding"], row["for"], row["device"]) for row in rows]


async def run(client: Client, node: str, **values: str) -> Element:
    """An ad-hoc command, executed and, where it asks, completed with `values`; the last answer."""
    node = f"xmppchat#{node}"
    domain = client.bare.partition("@")[2]
    answer = await client.request("set", f"<command xmlns='{NS.COMMANDS}' node='{node}'/>", domain)
    command = answer.find("command", NS.COMMANDS)
    if command is None or command.get("status") != "executing":
        return answer
    fields = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in values.items())
    form = f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
    session = command.get("sessionid")
    element = f"<command xmlns='{NS.COMMANDS}' node='{node}' sessionid='{session}'>{form}</command>"
    return await client.request("set", element, domain)


def table(answer: Element) -> list[dict[str, str]]:
    """The rows of a table in the answer to a command."""
    command = answer.find("command", NS.COMMANDS)
    assert command is not None, answer.to_xml()
    form = command.find("x", NS.FORM)
    assert form is not None, answer.to_xml()
    return [
        {field.get("var"): field.child_text("value") or "" for field in item.find_all("field")}
        for item in form.find_all("item")
    ]
