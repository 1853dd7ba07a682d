"""Entity time (XEP-0202): what time it is at the server. It lives in UTC, so it does not tell where it stands (§7).

Example::

    [Client] romeo

    romeo sends:
        <iq type="get" id="t1" to="{domain}"><time xmlns="urn:xmpp:time"/></iq>
    romeo receives:
        <iq type="result" id="t1" from="{domain}" to="{romeo.full}">
            <time xmlns="urn:xmpp:time"><tzo>+00:00</tzo>…</time>
        </iq>
"""

from __future__ import annotations

from xmppchat.core.component import SERVER, Component, ComponentConfig, Feature, IqRequest, Xep, iq_get
from xmppchat.core.runtime import timestamp
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS


class EntityTime(Component[ComponentConfig]):
    """Answers what time it is (XEP-0202 §2)."""

    name = "entity_time"
    implements = (Xep(202, "2.0"), Xep(82, "1.1.1"))
    features = (Feature(NS.TIME),)

    @iq_get(NS.TIME, "time", at=SERVER)
    def tell(self, request: IqRequest) -> Element:
        """The time in UTC (XEP-0082 §3.2), and that this is also local time."""
        return Element("time", NS.TIME, None, [
            text_element("tzo", NS.TIME, "+00:00"),
            text_element("utc", NS.TIME, timestamp(self.kernel.clock.now())),
        ])
