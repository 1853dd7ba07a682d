"""The phases of a stream (RFC 6120 §4 to §7), and what is wrong with an element that is not lawful in one."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from xmppchat.protocol.errors import (
    StreamError,
    StreamNotAuthorized,
    StreamPolicyViolation,
    UnsupportedStanzaType,
)


class Phase(enum.Enum):
    """Where a stream stands. OPENING is any moment at which only a stream header may come."""

    OPENING = "opening"
    PLAIN = "plain"  # header exchanged, no TLS yet
    STARTTLS = "starttls"  # <proceed/> sent, the transport does the handshake
    SECURE = "secure"  # TLS, not authenticated
    AUTHENTICATING = "authenticating"  # a SASL exchange is open
    AUTHENTICATING_2 = "authenticating by SASL2"  # an exchange of XEP-0388 is open
    TASK = "task"  # it succeeded, and the client has more to do (XEP-0388 §2.6.3)
    AUTHENTICATED = "authenticated"  # no resource yet
    BINDING = "binding"  # a resource, or a former session, was asked for
    BOUND = "bound"  # stanzas flow
    CLOSED = "closed"


#: What anything else is in each phase.
UNEXPECTED: Mapping[Phase, type[StreamError]] = {
    Phase.PLAIN: StreamPolicyViolation,  # no feature before TLS (V-11)
    Phase.STARTTLS: StreamPolicyViolation,
    Phase.SECURE: StreamNotAuthorized,
    Phase.AUTHENTICATING: StreamNotAuthorized,
    Phase.AUTHENTICATING_2: StreamNotAuthorized,
    Phase.TASK: StreamNotAuthorized,
    Phase.AUTHENTICATED: StreamNotAuthorized,
    Phase.BINDING: StreamNotAuthorized,
    Phase.BOUND: UnsupportedStanzaType,
}
