"""Service discovery (XEP-0030): what the server and its accounts can do, from the declarations of all components.

Example::

    [Client] romeo

    romeo sends:
        <iq type="get" id="d1" to="{domain}"><query xmlns="http://jabber.org/protocol/disco#items"/></iq>
    romeo receives:
        <iq type="result" id="d1" from="{domain}" to="{romeo.full}"><query xmlns="http://jabber.org/protocol/disco#items"/></iq>
"""

from __future__ import annotations

from collections.abc import Sequence

from xmppchat.core.component import (
    ACCOUNT,
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
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ItemNotFound
from xmppchat.protocol.namespaces import NS


class Disco(Component[ComponentConfig]):
    """Answers disco#info and disco#items (XEP-0030 §3, §4)."""

    name = "disco"
    implements = (Xep(30, "2.5.0"), Xep(128, "1.0.1"))
    provides = (DiscoService,)
    features = (Feature(NS.DISCO_INFO, at=SERVER | ACCOUNT), Feature(NS.DISCO_ITEMS, at=SERVER | ACCOUNT))
    identities = (
        Identity("server", "im", "xmppchat"),
        Identity("account", "registered", at=ACCOUNT),
    )

    def setup(self) -> None:
        """Gather what the components declared; it does not change while the server runs."""
        self._info = {at: self._gather(at) for at in (SERVER, ACCOUNT)}

    def _gather(self, at: At) -> list[Element]:
        components = self.kernel.components
        identities = [identity for c in components for identity in c.identities if at in identity.at]
        features = sorted({feature.namespace for c in components for feature in c.features if at in feature.at})
        return [
            Element("identity", NS.DISCO_INFO, {"category": i.category, "type": i.type, "name": i.name or None})
            for i in identities
        ] + [Element("feature", NS.DISCO_INFO, {"var": namespace}) for namespace in features]

    @iq_get(NS.DISCO_INFO, "query", at=SERVER | ACCOUNT, who=Who.SUBSCRIBER)
    def info(self, request: IqRequest) -> Element:
        """Identities and features. To a stranger an account looks as one that is not there (XEP-0030 §8)."""
        node = request.payload.get("node")
        return self._node(request, node) if node else self.description(_at(request), request.domain)

    def description(self, at: At, domain: str) -> Element:
        """See :class:`DiscoService`."""
        forms = [form for component in self.kernel.components for form in component.disco_forms(at, domain)]
        return Element("query", NS.DISCO_INFO, None, [*self._info[at], *forms])

    @iq_get(NS.DISCO_ITEMS, "query", at=SERVER | ACCOUNT, who=Who.SUBSCRIBER)
    def items(self, request: IqRequest) -> Element:
        """Addresses and nodes that belong to it."""
        node = request.payload.get("node")
        if node:
            return self._node(request, node)
        at, components = _at(request), self.kernel.components
        found: list[Sequence[Element]] = [component.disco_items(at, request.domain) for component in components]
        return Element("query", NS.DISCO_ITEMS, None, [item for items in found for item in items])

    def _node(self, request: IqRequest, node: str) -> Element:
        for component in self.kernel.components:
            answer = component.disco_node(request, node)
            if answer is not None:
                return answer
        raise ItemNotFound("there is no such node here")


def _at(request: IqRequest) -> At:
    return SERVER if request.account is None else ACCOUNT
