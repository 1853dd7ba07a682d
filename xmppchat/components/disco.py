"""Service discovery (XEP-0030): what the server, its accounts and services can do, from what components declare.

Example::

    [Client] romeo

    romeo sends:
        <iq type="get" id="d1" to="{romeo.bare}"><query xmlns="http://jabber.org/protocol/disco#items"/></iq>
    romeo receives:
        <iq type="result" id="d1" from="{romeo.bare}" to="{romeo.full}"><query xmlns="http://jabber.org/protocol/disco#items"/></iq>
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator

from xmppchat.core.component import (
    ACCOUNT,
    DOMAIN,
    SERVER,
    At,
    Component,
    ComponentConfig,
    Feature,
    Identity,
    IqRequest,
    Who,
    Xep,
    iq_get,
)
from xmppchat.core.services import DiscoService
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ItemNotFound
from xmppchat.protocol.namespaces import NS


class DiscoConfig(ComponentConfig):
    """Options of service discovery."""

    items: dict[str, str] = Field(
        default_factory=dict, max_length=100,
        description='services elsewhere that clients find here, by address: {"rooms.example.org"="Rooms"}',
    )

    @field_validator("items")
    @classmethod
    def _prepare(cls, value: Mapping[str, str]) -> dict[str, str]:
        try:
            prepared = {JID.parse(jid).full: name.strip() for jid, name in value.items()}
        except InvalidJID as error:
            raise ValueError(f"{error}; a service looks like \"rooms.example.org\"") from None
        if len(prepared) != len(value):
            raise ValueError("the same address stands there twice, spelt differently")
        return prepared


class Disco(Component[DiscoConfig]):
    """Answers disco#info and disco#items (XEP-0030 §3, §4)."""

    name = "disco"
    implements = (Xep(30, "2.5.0"), Xep(128, "1.0.1"))
    Config = DiscoConfig
    provides = (DiscoService,)
    features = (
        Feature(NS.DISCO_INFO, at=SERVER | ACCOUNT | DOMAIN), Feature(NS.DISCO_ITEMS, at=SERVER | ACCOUNT | DOMAIN),
    )  # fmt: skip
    identities = (
        Identity("server", "im", "xmppchat"),
        Identity("account", "registered", at=ACCOUNT),
    )

    def setup(self) -> None:
        """Gather what the components declared; it does not change while the server runs."""
        kernel = self.kernel
        self._info = {at: _gather(at, kernel.components) for at in (SERVER, ACCOUNT)}
        shared = [component for component in kernel.components if not component.has_domains()]
        self._of_domains = {domain: _gather(DOMAIN, [owner, *shared]) for domain, owner in kernel.domains.items()}

    @iq_get(NS.DISCO_INFO, "query", at=SERVER | ACCOUNT | DOMAIN, who=Who.SUBSCRIBER)
    def info(self, request: IqRequest) -> Element:
        """Identities and features. To a stranger an account looks as one that is not there (XEP-0030 §8)."""
        node = request.payload.get("node")
        if node:
            return self._node(request, node)
        if request.domain in self._of_domains:
            return Element("query", NS.DISCO_INFO, None, self._of_domains[request.domain])
        description = self.description(_at(request), request.domain)
        if request.account is None:
            return description
        own = [child for component in self.kernel.components for child in component.disco_account(request)]
        return description.replace(children=[*own, *description.children]) if own else description

    def description(self, at: At, domain: str) -> Element:
        """See :class:`DiscoService`."""
        forms = [form for component in self.kernel.components for form in component.disco_forms(at, domain)]
        return Element("query", NS.DISCO_INFO, None, [*self._info[at], *forms])

    @iq_get(NS.DISCO_ITEMS, "query", at=SERVER | ACCOUNT | DOMAIN, who=Who.SUBSCRIBER)
    def items(self, request: IqRequest) -> Element:
        """Addresses and nodes that belong to it."""
        node = request.payload.get("node")
        if node:
            return self._node(request, node)
        owner = self.kernel.domains.get(request.domain)
        if owner is not None:
            return Element("query", NS.DISCO_ITEMS, None, owner.disco_nodes(request))
        at, components = _at(request), self.kernel.components
        found: list[Sequence[Element]] = [component.disco_items(at, request.domain) for component in components]
        if at is ACCOUNT:
            found += [component.disco_nodes(request) for component in components]
        return Element("query", NS.DISCO_ITEMS, None, [item for items in found for item in items])

    def disco_items(self, at: At, domain: str) -> Sequence[Element]:
        """Services that the admin names (XEP-0030 §4.1)."""
        if at is not SERVER:
            return ()
        items = self.config.items.items()
        return [Element("item", NS.DISCO_ITEMS, {"jid": jid, "name": name or None}) for jid, name in items]

    def _node(self, request: IqRequest, node: str) -> Element:
        owner = self.kernel.domains.get(request.domain)
        for component in self.kernel.components if owner is None else (owner,):
            answer = component.disco_node(request, node)
            if answer is not None:
                return answer
        raise ItemNotFound("there is no such node here")


def _gather(at: At, components: Sequence[Component[Any]]) -> list[Element]:
    """Identities and features as `components` declared them."""
    identities = [identity for c in components for identity in c.identities if at in identity.at]
    features = sorted({feature.namespace for c in components for feature in c.features if at in feature.at})
    return [
        Element("identity", NS.DISCO_INFO, {"category": i.category, "type": i.type, "name": i.name or None})
        for i in identities
    ] + [Element("feature", NS.DISCO_INFO, {"var": namespace}) for namespace in features]


def _at(request: IqRequest) -> At:
    return SERVER if request.account is None else ACCOUNT
