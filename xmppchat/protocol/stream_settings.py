"""What a stream has to know of the server it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from xmppchat.protocol.stream_features import CORE_FEATURES, StreamFeature
from xmppchat.protocol.xmlreader import TRUSTED, UNTRUSTED, ReaderLimits


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What a stream must know of the server it belongs to; shared by all streams of a listener."""

    is_served: Callable[[str], bool]
    new_id: Callable[[], str]
    mechanisms: Callable[[Collection[str]], Sequence[str]]  # channel bindings that work -> SASL mechanisms
    token_mechanisms: Callable[[Collection[str]], Sequence[str]] = lambda _: ()  # the same for tokens (XEP-0484)
    upgrades: Callable[[], tuple[str, ...]] = tuple  # mechanisms that keys are wanted for (XEP-0480)
    features: tuple[StreamFeature, ...] = CORE_FEATURES
    inline: tuple[StreamFeature, ...] = ()  # what can be asked for with SASL2 (XEP-0388 §2.1)
    trusted_limits: ReaderLimits = TRUSTED
    untrusted_limits: ReaderLimits = UNTRUSTED
    nonzas: Collection[tuple[str, str]] = ()  # (namespace, name) of what may come between stanzas
    untrusted_total: int = 65_536  # bytes before authentication (reliability.md, limit 3)
    #: ``<stream:features/>`` as text, by what it depends on (see :class:`StreamFeature`): a few entries.
    built_features: dict[tuple[str, int, tuple[str, ...], tuple[str, ...]], str] = field(default_factory=dict)
