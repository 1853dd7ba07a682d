"""Stream features (RFC 6120 §4.3.2): what may be negotiated next, and what each needs and forbids.

A feature is data: facts it `needs`, facts it `forbids`, and a function that builds its element. Negotiating it
establishes a fact. A component adds one with :attr:`Component.stream_features`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS

if TYPE_CHECKING:
    from xmppchat.protocol.stream import Stream


class Fact:
    """What is established on a stream: bits of an int. (An `enum.Flag` is asked a dozen times in each login.)"""

    NONE: Final = 0
    SECURE: Final = 1  # TLS, or a transport that has it underneath
    AUTHENTICATED: Final = 2
    BOUND: Final = 4
    MANAGED: Final = 8  # stream management was enabled together with the resource (XEP-0198 §9.1)


@dataclass(frozen=True, slots=True)
class StreamFeature:
    """One child of ``<stream:features/>``; `build` may return None where it has nothing to offer on this stream.

    What it builds may depend on the stream's domain and facts, on the names of its channel bindings and on the upgrades
    that are wanted, on nothing else: streams that agree in these share what was built.
    """

    name: str
    build: Callable[[Stream], Element | None]
    needs: int = Fact.NONE
    forbids: int = Fact.NONE

    def is_offered(self, facts: int) -> bool:
        """Whether it may be negotiated once `facts` are established."""
        return (facts & self.needs) == self.needs and not (facts & self.forbids)


def announcement(name: str, namespace: str, *children: Element) -> Callable[[Stream], Element]:
    """A builder for a feature that is always the same element."""
    element = Element(name, namespace, None, children)
    return lambda _: element


def _mechanisms(stream: Stream) -> Element | None:
    names = stream.mechanisms()
    return Element("mechanisms", NS.SASL, None, [text_element("mechanism", NS.SASL, name) for name in names])


def _authentication(stream: Stream) -> Element | None:
    # XEP-0388 §2.1. The mechanisms are the same for everybody: they tell nothing of an account.
    names = stream.mechanisms()
    if not names:
        return None
    children = [text_element("mechanism", NS.SASL_2, name) for name in names]
    inline = [element for element in (feature.build(stream) for feature in stream.inline) if element is not None]
    if inline:
        children.append(Element("inline", NS.SASL_2, None, inline))
    children += [text_element("upgrade", NS.SASL_UPGRADE, f"UPGR-{name}") for name in stream.upgrades()]
    return Element("authentication", NS.SASL_2, None, children)


def _channel_bindings(stream: Stream) -> Element | None:
    # XEP-0440 §2: lists only what really works on this connection.
    if not stream.channel_bindings:
        return None
    types = [Element("channel-binding", NS.CHANNEL_BINDING, {"type": name}) for name in stream.channel_bindings]
    return Element("sasl-channel-binding", NS.CHANNEL_BINDING, None, types)


def bind_2(features: Iterable[str]) -> StreamFeature:
    """Bind 2 as something to ask for with SASL2, with `features` that a session can have from the start (XEP-0386)."""
    names = [Element("feature", NS.BIND_2, {"var": name}) for name in features]
    return StreamFeature("bind", announcement("bind", NS.BIND_2, Element("inline", NS.BIND_2, None, names)))


#: What every c2s stream has. Order is the order of ``<stream:features/>``.
CORE_FEATURES: tuple[StreamFeature, ...] = (
    StreamFeature("starttls", announcement("starttls", NS.TLS, Element("required", NS.TLS)), forbids=Fact.SECURE),
    StreamFeature("mechanisms", _mechanisms, needs=Fact.SECURE, forbids=Fact.AUTHENTICATED),
    StreamFeature("authentication", _authentication, needs=Fact.SECURE, forbids=Fact.AUTHENTICATED),
    StreamFeature("sasl-channel-binding", _channel_bindings, needs=Fact.SECURE, forbids=Fact.AUTHENTICATED),
    StreamFeature("bind", announcement("bind", NS.BIND), needs=Fact.AUTHENTICATED, forbids=Fact.BOUND),
)


def build_features(stream: Stream, features: Iterable[StreamFeature], facts: int) -> Element:
    """``<stream:features/>`` for a stream on which `facts` hold."""
    built = (feature.build(stream) for feature in features if feature.is_offered(facts))
    return Element("features", NS.STREAM, None, [element for element in built if element is not None])


__all__ = ["CORE_FEATURES", "Fact", "StreamFeature", "announcement", "bind_2", "build_features"]
