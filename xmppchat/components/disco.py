"""Service discovery (XEP-0030): what the server and its accounts can do, from the declarations of all components.

Example::

    [Client] romeo

    romeo sends:
        <iq type="get" id="d1" to="{domain}"><query xmlns="http://jabber.org/protocol/disco#items"/></iq>
    romeo receives:
        <iq type="result" id="d1" from="{domain}" to="{romeo.full}"><query xmlns="http://jabber.org/protocol/disco#items"/></iq>
"""

from __future__ import annotations

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
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ItemNotFound
from xmppchat.protocol.namespaces import NS


class Disco(Component[ComponentConfig]):
    """Answers disco#info and disco#items (XEP-0030 §3, §4)."""

    name = "disco"
    implements = (Xep(30, "2.5.0"),)
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
        _refuse_node(request.payload)
        return Element("query", NS.DISCO_INFO, None, self._info[SERVER if request.account is None else ACCOUNT])

    @iq_get(NS.DISCO_ITEMS, "query", at=SERVER | ACCOUNT, who=Who.SUBSCRIBER)
    def items(self, request: IqRequest) -> Element:
        """Associated addresses: none yet."""
        _refuse_node(request.payload)
        return Element("query", NS.DISCO_ITEMS)


def _refuse_node(query: Element) -> None:
    if query.get("node"):
        raise ItemNotFound("there is no such node here")
