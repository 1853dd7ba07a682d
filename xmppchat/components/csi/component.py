"""The component: the stream feature, and the two elements that clients send."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xmppchat.components.csi.holding import Holding
from xmppchat.core import events
from xmppchat.core.component import Component, ComponentConfig, Xep, nonza, on, with_bind
from xmppchat.core.session import Session
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stream_features import Fact, StreamFeature, announcement


class CsiConfig(ComponentConfig):
    """Options of client state indication."""

    hold: tuple[Literal["presence", "chat_states", "events"], ...] = Field(
        ("presence", "chat_states", "events"), max_length=3,
        description="what waits while a client is inactive; events are those of personal eventing (avatars, moods)",
    )


class Csi(Component[CsiConfig]):
    """Takes down whether a client is active (XEP-0352 §4); nobody else is told (§6)."""

    name = "csi"
    implements = (Xep(352, "1.0.0"),)
    stream_features = (StreamFeature("csi", announcement("csi", NS.CSI), needs=Fact.AUTHENTICATED),)
    Config = CsiConfig

    @with_bind(NS.CSI, "inactive")
    @nonza(NS.CSI, "inactive")
    def inactive(self, session: Session, element: Element) -> None:
        """Hold back what can wait. Said twice, it changes nothing."""
        if session.shaper is None and self.config.hold:
            session.shaper = Holding(self.kernel.clock, frozenset(self.config.hold))

    @with_bind(NS.CSI, "active")
    @nonza(NS.CSI, "active")
    def active(self, session: Session, element: Element) -> None:
        """Send what waited, before anything else is done for this client (§5.1)."""
        _flush(session)

    @on(events.SessionHibernated)
    def hibernated(self, event: events.SessionHibernated) -> None:
        """What waited here waits with the rest that its client will be sent, also over a restart."""
        _flush(event.session)

    @on(events.SessionResumed)
    def resumed(self, event: events.SessionResumed) -> None:
        """§5.2: a resumed stream is active; here where its client came back before the loss was noticed."""
        _flush(event.session)


def _flush(session: Session) -> None:
    if session.shaper is not None:
        session.shaper.flush(session)
