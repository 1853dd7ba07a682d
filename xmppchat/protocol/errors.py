"""Errors as the RFCs name them: one class a condition, raised anywhere, turned into XML in one place.

``raise ItemNotFound("no such room; create it first")`` in a handler becomes the stanza error of RFC 6120 §8.3; a
:class:`StreamError` becomes the stream error of §4.9 and ends the stream. Texts are for people: what is wrong and
what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS


class StanzaError(Exception):
    """A stanza-level error (RFC 6120 §8.3): `condition`, `type` and a text; `details` are application elements."""

    condition: ClassVar[str] = "undefined-condition"
    type: ClassVar[str] = "cancel"

    def __init__(self, text: str = "", *, details: Sequence[Element] = (), type: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.details = tuple(details)
        self.error_type = type or self.type
        #: What the answer repeats of the request, where a client needs it to know what was asked (RFC 6120 §8.3.1).
        self.repeated: Element | None = None

    def to_element(self) -> Element:
        """``<error type='…'>`` for a stanza in the stream's content namespace."""
        children: list[Element] = [Element(self.condition, NS.STANZA_ERROR)]
        if self.text:
            children.append(text_element("text", NS.STANZA_ERROR, self.text, {"xml:lang": "en"}))
        return Element("error", NS.CLIENT, {"type": self.error_type}, [*children, *self.details])


class StreamError(Exception):
    """A stream-level error (RFC 6120 §4.9): the stream is closed after it."""

    condition: ClassVar[str] = "undefined-condition"

    def __init__(self, text: str = "", *, details: Sequence[Element] = ()) -> None:
        super().__init__(text or self.condition)
        self.text = text
        self.details = tuple(details)

    def to_element(self) -> Element:
        """``<stream:error>`` with condition and text."""
        children: list[Element] = [Element(self.condition, NS.STREAM_ERROR)]
        if self.text:
            children.append(text_element("text", NS.STREAM_ERROR, self.text, {"xml:lang": "en"}))
        return Element("error", NS.STREAM, None, [*children, *self.details])


# --- RFC 6120 §8.3.3, with the type §8.3.3 recommends -----------------------------------------------------------

class BadRequest(StanzaError):
    condition, type = "bad-request", "modify"


class Conflict(StanzaError):
    condition, type = "conflict", "cancel"


class FeatureNotImplemented(StanzaError):
    condition, type = "feature-not-implemented", "cancel"


class Forbidden(StanzaError):
    condition, type = "forbidden", "auth"


class Gone(StanzaError):
    condition, type = "gone", "cancel"


class InternalServerError(StanzaError):
    condition, type = "internal-server-error", "cancel"


class ItemNotFound(StanzaError):
    condition, type = "item-not-found", "cancel"


class JidMalformed(StanzaError):
    condition, type = "jid-malformed", "modify"


class NotAcceptable(StanzaError):
    condition, type = "not-acceptable", "modify"


class NotAllowed(StanzaError):
    condition, type = "not-allowed", "cancel"


class NotAuthorized(StanzaError):
    condition, type = "not-authorized", "auth"


class PolicyViolation(StanzaError):
    condition, type = "policy-violation", "modify"


class RecipientUnavailable(StanzaError):
    condition, type = "recipient-unavailable", "wait"


class Redirect(StanzaError):
    condition, type = "redirect", "modify"


class RegistrationRequired(StanzaError):
    condition, type = "registration-required", "auth"


class RemoteServerNotFound(StanzaError):
    condition, type = "remote-server-not-found", "cancel"


class RemoteServerTimeout(StanzaError):
    condition, type = "remote-server-timeout", "wait"


class ResourceConstraint(StanzaError):
    condition, type = "resource-constraint", "wait"


class ServiceUnavailable(StanzaError):
    condition, type = "service-unavailable", "cancel"


class SubscriptionRequired(StanzaError):
    condition, type = "subscription-required", "auth"


class UndefinedCondition(StanzaError):
    condition, type = "undefined-condition", "cancel"


class UnexpectedRequest(StanzaError):
    condition, type = "unexpected-request", "wait"


# --- RFC 6120 §4.9.3 --------------------------------------------------------------------------------------------

class BadFormat(StreamError):
    condition = "bad-format"


class BadNamespacePrefix(StreamError):
    condition = "bad-namespace-prefix"


class StreamConflict(StreamError):
    condition = "conflict"


class ConnectionTimeout(StreamError):
    condition = "connection-timeout"


class HostGone(StreamError):
    condition = "host-gone"


class HostUnknown(StreamError):
    condition = "host-unknown"


class ImproperAddressing(StreamError):
    condition = "improper-addressing"


class StreamInternalServerError(StreamError):
    condition = "internal-server-error"


class InvalidFrom(StreamError):
    condition = "invalid-from"


class InvalidNamespace(StreamError):
    condition = "invalid-namespace"


class InvalidXml(StreamError):
    condition = "invalid-xml"


class StreamNotAuthorized(StreamError):
    condition = "not-authorized"


class NotWellFormed(StreamError):
    condition = "not-well-formed"


class StreamPolicyViolation(StreamError):
    """`limit`: which bound was exceeded, as :class:`ReaderLimits` and the stream call it; "" for other rules."""

    condition = "policy-violation"

    def __init__(self, text: str = "", *, limit: str = "", details: Sequence[Element] = ()) -> None:
        super().__init__(text, details=details)
        self.limit = limit


class RemoteConnectionFailed(StreamError):
    condition = "remote-connection-failed"


class StreamReset(StreamError):
    condition = "reset"


class StreamResourceConstraint(StreamError):
    condition = "resource-constraint"


class RestrictedXml(StreamError):
    condition = "restricted-xml"


class SeeOtherHost(StreamError):
    condition = "see-other-host"


class SystemShutdown(StreamError):
    condition = "system-shutdown"


class UndefinedStreamCondition(StreamError):
    condition = "undefined-condition"


class UnsupportedEncoding(StreamError):
    condition = "unsupported-encoding"


class UnsupportedFeature(StreamError):
    condition = "unsupported-feature"


class UnsupportedStanzaType(StreamError):
    condition = "unsupported-stanza-type"


class UnsupportedVersion(StreamError):
    condition = "unsupported-version"
