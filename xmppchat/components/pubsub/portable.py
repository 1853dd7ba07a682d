"""Nodes as XML for others: the whole of an account's (XEP-0227), and the metadata of one (XEP-0060 §5.4)."""

from __future__ import annotations

from collections.abc import Sequence

from xmppchat.components.pubsub import config
from xmppchat.components.pubsub.kinds import is_service
from xmppchat.components.pubsub.nodes import NODES, Node
from xmppchat.components.pubsub.notices import item_element
from xmppchat.components.pubsub.payloads import Payloads
from xmppchat.core.account import Account
from xmppchat.protocol.element import Element
from xmppchat.protocol.forms import Field, Form, form_type
from xmppchat.protocol.moments import timestamp
from xmppchat.protocol.namespaces import NS


async def exported(account: Account, payloads: Payloads) -> Sequence[Element]:
    """The two ``<pubsub/>`` of an account: configurations with affiliations and subscriptions, and items."""
    about: list[Element] = []
    contents: list[Element] = []
    for node in list(account[NODES].values()):
        about += _about(node)
        found = list(node.items.items())
        read = await payloads.read([item.number for _, item in found])
        contents.append(Element("items", NS.PUBSUB, {"node": node.name}, [
            item_element(NS.PUBSUB, node.config, item_id, item, read[item.number])
            for item_id, item in found if item.number in read
        ]))
    return [Element("pubsub", NS.PUBSUB_OWNER, None, about), Element("pubsub", NS.PUBSUB, None, contents)]


def _about(node: Node) -> list[Element]:
    form = config.form(node.config, "result").replace(attributes={"type": "form"})  # as the example of §4.10.1 has it
    found = [Element("configure", NS.PUBSUB_OWNER, {"node": node.name}, (form,))]
    for name, states in (("affiliation", node.affiliations), ("subscription", node.subscriptions)):
        if states:
            entries = [Element(name, NS.PUBSUB_OWNER, {"jid": jid, name: state}) for jid, state in states.items()]
            found.append(Element(f"{name}s", NS.PUBSUB_OWNER, {"node": node.name}, entries))
    return found


def metadata(account: Account, node: Node) -> Element:
    """The form in disco#info of a node."""
    owners = node.owners if is_service(account) else [account.jid.bare]
    publishers = [*owners, *(jid for jid, rank in node.affiliations.items() if rank in ("publisher", "publish-only"))]
    values = {
        "type": node.config.type, "creator": node.creator if is_service(account) else account.jid.bare,
        "creation_date": timestamp(node.created_at),
        "title": node.config.title, "description": node.config.description,
        "access_model": node.config.access_model, "publish_model": node.config.publish_model,
        "max_items": str(node.config.max_items or config.MAX),
    }
    if is_service(account):
        values["num_subscribers"] = str(sum(state == "subscribed" for state in node.subscriptions.values()))
    fields = [form_type(NS.PUBSUB_META_DATA)]
    fields += [Field(f"pubsub#{name}", "", (value,)) for name, value in values.items() if value]
    fields += [Field("pubsub#owner", "", tuple(owners)), Field("pubsub#publisher", "", tuple(publishers))]
    return Form("result", tuple(fields)).to_element()


__all__ = ["exported", "metadata"]
