"""Stream limits (XEP-0478): clients are told how large a stanza may be, so that they need not find out."""

from __future__ import annotations

from xmppchat.core.component import Component, ComponentConfig, Xep
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stream import Stream
from xmppchat.protocol.stream_features import Fact, StreamFeature


class StreamLimits(Component[ComponentConfig]):
    """Announces limits in the stream features: those before login, and then those after (XEP-0478 §3.1, §4)."""

    name = "stream_limits"
    implements = (Xep(478, "0.2.0"),)

    def setup(self) -> None:
        """The feature knows the limits of this server."""
        self.stream_features = (  # type: ignore[misc]
            StreamFeature("limits", self._announce, needs=Fact.SECURE),
        )

    def _announce(self, stream: Stream) -> Element:
        limits = self.kernel.limits
        # Between login and binding it is still the smaller one; the one request that fits there is small.
        is_trusted = bool(stream.facts & Fact.AUTHENTICATED)
        size = limits.stanza_bytes if is_trusted else limits.untrusted_stanza_bytes
        children = [text_element("max-bytes", NS.STREAM_LIMITS, str(size))]
        if is_trusted and limits.idle_seconds:
            children.append(text_element("idle-seconds", NS.STREAM_LIMITS, str(limits.idle_seconds)))
        return Element("limits", NS.STREAM_LIMITS, None, children)
