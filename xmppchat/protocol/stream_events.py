"""What a stream tells its owner: events of :meth:`xmppchat.protocol.stream.Stream.receive`."""

from __future__ import annotations

from dataclasses import dataclass

from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StreamError
from xmppchat.protocol.sasl2 import LoginRequest


@dataclass(frozen=True, slots=True)
class StartTlsRequested:
    """Send the output, start TLS as server, then call :meth:`Stream.tls_established`."""


@dataclass(frozen=True, slots=True)
class SaslStarted:
    """Begin an exchange; `initial` is None where the client sent no initial response (RFC 6120 §6.4.2).

    `request` is what the client wants besides, where it speaks SASL2 (XEP-0388), else None.
    """

    mechanism: str
    initial: bytes | None
    request: LoginRequest | None = None


@dataclass(frozen=True, slots=True)
class SaslResponded:
    """The client's answer to a challenge."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SaslAborted:
    """The client gave up the exchange; the failure is already sent."""


@dataclass(frozen=True, slots=True)
class TaskBegun:
    """The client begins a task of SASL2 (XEP-0388 §2.6.3); answer with `task_data`, or as an exchange is answered."""

    name: str


@dataclass(frozen=True, slots=True)
class TaskAnswered:
    """What the client says in its task: the children of ``<task-data/>``."""

    element: Element


@dataclass(frozen=True, slots=True)
class BindRequested:
    """A resource is asked for ("" leaves the choice to the server); answer with `bound` or `bind_failed`."""

    resource: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """The session `previd` is to go on on this stream (XEP-0198 §5); `handled` is what the client got of it, None where
    that is no number. Answer with `resumed` or `resume_failed`."""

    previd: str
    handled: int | None


@dataclass(frozen=True, slots=True)
class RegistrationRequested:
    """An IQ of XEP-0077 or XEP-0445 before authentication; answer with :meth:`Stream.answer_registration`."""

    element: Element


@dataclass(frozen=True, slots=True)
class SecretProved:
    """An external component is there (XEP-0114); answer with `accept`, or close with an error."""


@dataclass(frozen=True, slots=True)
class StanzaReceived:
    """A stanza on a bound stream, as an element in ``jabber:client``."""

    element: Element


@dataclass(frozen=True, slots=True)
class NonzaReceived:
    """An element that is no stanza, on a bound stream: one of :attr:`StreamSettings.nonzas`."""

    element: Element


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """Nothing more will come or go: send the output, close. `error` is None where the peer closed in order."""

    error: StreamError | None


Event = (
    StartTlsRequested | SaslStarted | SaslResponded | SaslAborted | TaskBegun | TaskAnswered | BindRequested
    | ResumeRequested | RegistrationRequested | SecretProved | StanzaReceived | NonzaReceived | StreamEnded
)

#: Events that are answered by a call.
ASKING = (
    SaslStarted, SaslResponded, TaskBegun, TaskAnswered, BindRequested, ResumeRequested, RegistrationRequested,
    SecretProved,
)
