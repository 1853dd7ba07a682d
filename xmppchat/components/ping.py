"""Ping (XEP-0199): answers "are you there?" for the server and for accounts.

Example::

    [Client] romeo

    romeo sends:
        <iq type="get" id="p1" to="{domain}"><ping xmlns="urn:xmpp:ping"/></iq>
    romeo receives:
        <iq type="result" id="p1" from="{domain}" to="{romeo.full}"/>
"""

from __future__ import annotations

from xmppchat.core.component import (
    ACCOUNT,
    DOMAIN,
    SERVER,
    Component,
    ComponentConfig,
    Feature,
    IqRequest,
    Xep,
    iq_get,
)
from xmppchat.protocol.namespaces import NS


class Ping(Component[ComponentConfig]):
    """Answers pings (XEP-0199 §4.2)."""

    name = "ping"
    implements = (Xep(199, "2.0.1"),)
    features = (Feature(NS.PING, at=SERVER | ACCOUNT | DOMAIN),)

    @iq_get(NS.PING, "ping", at=SERVER | ACCOUNT | DOMAIN)
    def answer(self, request: IqRequest) -> None:
        """An empty result says yes."""
