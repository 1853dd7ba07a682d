"""The stream of a client (RFC 6120 §4 to §7, XEP-0388), without input and output.

:attr:`Stream.table` is its negotiation; :mod:`~xmppchat.protocol.stream_engine` says what that means. Every order of
negotiation, hostile ones included, is a plain unit test, and each transport shares one engine.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol import sasl2, stream_management
from xmppchat.protocol.element import Element, escape_attribute, text_element
from xmppchat.protocol.errors import (
    HostUnknown,
    ImproperAddressing,
    InvalidFrom,
    InvalidNamespace,
    StanzaError,
    StreamError,
    StreamNotAuthorized,
    StreamPolicyViolation,
    UnexpectedRequest,
    UnsupportedVersion,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream_engine import Action, StreamEngine, stream_prefixed
from xmppchat.protocol.stream_events import (
    BindRequested,
    Event,
    RegistrationRequested,
    ResumeRequested,
    SaslAborted,
    SaslResponded,
    SaslStarted,
    StartTlsRequested,
    TaskAnswered,
    TaskBegun,
)
from xmppchat.protocol.stream_features import Fact, StreamFeature, build_features
from xmppchat.protocol.stream_phases import Phase
from xmppchat.protocol.stream_settings import StreamSettings
from xmppchat.protocol.xmlreader import StreamHeader


class Stream(StreamEngine):
    """One c2s stream in the receiving role. `secure` says that TLS is in place from the first byte."""

    __slots__ = ("_bind_id", "_is_sasl2", "_results", "_success", "channel_bindings", "domain", "facts", "header_from",
                 "lang")  # fmt: skip

    _settings: StreamSettings

    def __init__(
        self, settings: StreamSettings, *, secure: bool, channel_bindings: Mapping[str, bytes] | None = None
    ) -> None:
        super().__init__(settings)
        self._bind_id = ""
        self._is_sasl2 = False  # the last exchange was begun by <authenticate/>
        self._success: tuple[JID, bytes | None] | None = None  # of SASL2: proved, and not yet told
        self._results: list[Element] = []  # of inline requests, for <success/>
        self.facts: int = Fact.SECURE if secure else Fact.NONE
        self.channel_bindings: Mapping[str, bytes] = channel_bindings or {}
        self.domain = ""  # bound by the first header, for good (reliability.md V-06)
        self.lang = ""  # of the client's header
        self.header_from = ""  # `from` of the client's header (RFC 6120 §4.7.1)

    # --- the stream header (RFC 6120 §4.7) -----------------------------------------------------------------------

    def _open(self, header: StreamHeader) -> None:
        attributes = header.attributes
        self.header_from = attributes.get("from", "")
        self.lang = attributes.get("xml:lang", "")
        domain = self.domain
        try:
            to = JID.parse(attributes["to"]) if "to" in attributes else None
        except InvalidJID as error:
            to = None
            problem: StreamError | None = ImproperAddressing(f"'to' of the stream header: {error}")
        else:
            problem = self._judge(header, to)
        if to is not None and not domain and self._settings.is_served(to.domain):
            self.domain = to.domain
        self._output.append(self._header(attributes.get("to", "")))
        if problem is not None:
            raise problem
        self._output.append(self._features())
        if self.facts & Fact.AUTHENTICATED:
            self.phase = Phase.AUTHENTICATED
        else:
            self.phase = Phase.SECURE if self.facts & Fact.SECURE else Phase.PLAIN

    def _features(self) -> str:
        key = (self.domain, self.facts, tuple(self.channel_bindings), self._settings.upgrades())
        cache = self._settings.built_features
        xml = cache.get(key)
        if xml is None:
            xml = cache[key] = stream_prefixed(build_features(self, self._settings.features, self.facts))
        return xml

    def _judge(self, header: StreamHeader, to: JID | None) -> StreamError | None:
        if header.name != "stream" or header.namespace != NS.STREAM:
            return InvalidNamespace("a stream header is <stream:stream/> in " + NS.STREAM)
        if header.content_namespace != NS.CLIENT:
            return InvalidNamespace(f"clients speak {NS.CLIENT} on this port")
        if to is None:
            return ImproperAddressing("the stream header must say in 'to' which domain is wanted")
        if self.domain and to.domain != self.domain:
            return StreamNotAuthorized("a stream keeps the domain it was opened for; open a new connection")
        if to.local or to.resource or not self._settings.is_served(to.domain):
            return HostUnknown(f"{to.domain} is not served here")
        if _domain_of(self.header_from) not in ("", to.domain):
            return InvalidFrom(f"the 'from' of a stream to {to.domain} is an address there (XEP-0388 §2.1)")
        major, _, _ = header.attributes.get("version", "").partition(".")
        if not major.isdigit() or int(major[:4]) < 1:
            return UnsupportedVersion("version='1.0' or higher is needed in the stream header (RFC 6120 §4.7.5)")
        return None

    def _header(self, wanted: str) -> str:
        sender = self.domain or wanted
        recipient = f" to='{escape_attribute(self.header_from)}'" if self.header_from else ""
        return (
            "<?xml version='1.0'?>"
            f"<stream:stream xmlns='{NS.CLIENT}' xmlns:stream='{NS.STREAM}' from='{escape_attribute(sender)}'"
            f"{recipient} id='{self._settings.new_id()}' version='1.0' xml:lang='en'>"
        )

    # --- table actions: StartTLS (RFC 6120 §5) ------------------------------------------------------------------

    def _starttls(self, element: Element) -> Event:
        if self.reader.pending:
            # Anything sent behind <starttls/> in plain text must not survive into the secure stream (V-10).
            raise StreamPolicyViolation("nothing may follow <starttls/> before the TLS handshake")
        self._output.append(Element("proceed", NS.TLS).to_xml(NS.CLIENT))
        self.phase = Phase.STARTTLS
        return StartTlsRequested()

    def tls_established(self, channel_bindings: Mapping[str, bytes]) -> None:
        """The transport is secure now; the peer opens a new stream (RFC 6120 §5.4.3.3)."""
        self.facts |= Fact.SECURE
        self.channel_bindings = channel_bindings
        self._restart()

    def _restart(self) -> None:
        self.reader.reset()
        self.phase = Phase.OPENING

    # --- table actions: SASL (RFC 6120 §6) -----------------------------------------------------------------------

    def mechanisms(self) -> Sequence[str]:
        """SASL mechanisms offered on this stream, in order of preference."""
        return self._settings.mechanisms(tuple(self.channel_bindings))

    @property
    def inline(self) -> Sequence[StreamFeature]:
        """What can be asked for with SASL2."""
        return self._settings.inline

    def upgrades(self) -> Sequence[str]:
        """Mechanisms that keys are wanted for (XEP-0480 §2.1)."""
        return self._settings.upgrades()

    def _auth(self, element: Element) -> Event | None:
        self._is_sasl2 = False
        mechanism = element.get("mechanism")
        if mechanism not in self.mechanisms():
            self.sasl_failed(*_UNKNOWN_MECHANISM)
            return None
        text = element.text.strip()
        try:
            initial = None if not text else b"" if text == "=" else base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self.sasl_failed("incorrect-encoding", "the initial response is not base64")
            return None
        self.phase = Phase.AUTHENTICATING
        return SaslStarted(mechanism, initial)

    def _response(self, element: Element) -> Event | None:
        text = element.text.strip()
        try:
            return SaslResponded(b"" if text == "=" else base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            self.sasl_failed("incorrect-encoding", "the response is not base64")
            return SaslAborted()

    def _abort(self, element: Element) -> Event:
        self.sasl_failed("aborted", "")
        return SaslAborted()

    def sasl_challenge(self, data: bytes) -> None:
        """Send a challenge of the open exchange."""
        self.is_waiting = False
        if self._is_sasl2:
            self.send_element(sasl2.data_element("challenge", data))
        else:
            self.send_element(text_element("challenge", NS.SASL, _base64(data)))

    def sasl_failed(self, condition: str, text: str) -> None:
        """The exchange failed (RFC 6120 §6.5, XEP-0388 §2.6.2); the peer may begin another."""
        self.is_waiting = False
        if self._is_sasl2:
            self.send_element(sasl2.failure(condition, text))
        else:
            children = [Element(condition, NS.SASL)]
            if text:
                children.append(text_element("text", NS.SASL, text, {"xml:lang": "en"}))
            self.send_element(Element("failure", NS.SASL, None, children))
        self.phase = Phase.SECURE

    def sasl_succeeded(self, data: bytes | None) -> None:
        """An exchange of RFC 6120 proved an identity; the peer opens a new stream (§6.4.6)."""
        self.is_waiting = False
        children = () if data is None else (_base64(data),)
        self.send_element(Element("success", NS.SASL, None, children))
        self.facts |= Fact.AUTHENTICATED
        self._restart()

    # --- table actions: SASL2 (XEP-0388) -------------------------------------------------------------------------

    def token_mechanisms(self) -> Sequence[str]:
        """Mechanisms that a token can be used with on this stream (XEP-0484 §3.1)."""
        return self._settings.token_mechanisms(tuple(self.channel_bindings))

    def _authenticate(self, element: Element) -> Event | None:
        self._is_sasl2 = True
        try:
            request = sasl2.read_request(element)
        except sasl2.InvalidRequest as fault:
            self.sasl_failed(fault.condition, fault.text)
            return None
        offered = self.mechanisms() if request.token is None else self.token_mechanisms()
        if request.mechanism not in offered:
            self.sasl_failed(*_UNKNOWN_MECHANISM)
            return None
        self.phase = Phase.AUTHENTICATING_2
        return SaslStarted(request.mechanism, request.initial, request)

    def _response_2(self, element: Element) -> Event | None:
        try:
            return SaslResponded(sasl2.read_data(element))
        except sasl2.InvalidRequest as fault:
            self.sasl_failed(fault.condition, fault.text)
            return SaslAborted()

    def ask_task(self, data: bytes | None, task: str) -> None:
        """The exchange succeeded, with `data`; the client has a task to do before it is let in (§2.6.3)."""
        self.is_waiting = False
        self.send_element(sasl2.continuation(data, task))
        self.phase = Phase.TASK

    def _next(self, element: Element) -> Event:
        return TaskBegun(element.get("task"))

    def _task_data(self, element: Element) -> Event:
        return TaskAnswered(element)

    def task_data(self, child: Element) -> None:
        """Send what the client needs for its task."""
        self.is_waiting = False
        self.send_element(Element("task-data", NS.SASL_2, None, (child,)))

    def login_succeeded(self, account: JID, data: bytes | None) -> None:
        """`account` is proved. Now what was asked for with it; end with `opened`, `bound` or `resumed`."""
        self.facts |= Fact.AUTHENTICATED
        self.phase = Phase.BINDING
        self.is_waiting = True
        self._success = (account, data)

    def include(self, result: Element) -> None:
        """``<success/>`` will tell `result` of an inline request."""
        self._results.append(result)

    def opened(self) -> None:
        """The client is let in, without a resource yet (§2.6.1)."""
        self.is_waiting = False
        self.phase = Phase.AUTHENTICATED
        self._say_success(None)
        self._output.append(self._features())  # since no stream restarts

    def _say_success(self, bound: JID | None) -> None:
        assert self._success is not None, "somebody has logged in"
        (account, data), self._success = self._success, None
        results, self._results = self._results, []
        self.send_element(sasl2.success((bound or account).full, data, results))

    # --- table actions: registration before authentication (XEP-0077 §3.1.1) ------------------------------------

    def _registration(self, element: Element) -> Event:
        payload = next(element.elements(), None)
        if element.get("type") not in ("get", "set") or payload is None or not (
            payload.is_named("query", NS.REGISTER) or payload.is_named("preauth", NS.PREAUTH)
        ):
            raise StreamNotAuthorized("log in before you send stanzas")
        return RegistrationRequested(element)

    def answer_registration(self, answer: Stanza) -> None:
        """Send the answer to :class:`RegistrationRequested`."""
        self.is_waiting = False
        self._output.append(answer.to_xml())

    # --- table actions: resource binding (RFC 6120 §7) ----------------------------------------------------------

    def _bind(self, element: Element) -> Event:
        payload = next(element.elements(), None)
        if element.get("type") != "set" or payload is None or not payload.is_named("bind", NS.BIND):
            raise StreamNotAuthorized("bind a resource before you send stanzas (RFC 6120 §7.1)")
        self._bind_id = element.get("id")
        self.phase = Phase.BINDING
        return BindRequested(payload.child_text("resource") or "")

    def bound(self, jid: JID, results: Iterable[Element] = ()) -> None:
        """The resource is bound; stanzas may flow. `results` are of features asked for with it (XEP-0386 §3.2)."""
        self._trust()
        self.facts |= Fact.BOUND
        if self._success is not None:
            told = tuple(results)
            if any(result.is_named("enabled", NS.STREAM_MANAGEMENT) for result in told):
                self.facts |= Fact.MANAGED
            self.include(Element("bound", NS.BIND_2, None, told))
            self._say_success(jid)
            self._output.append(self._features())  # since no stream restarts (XEP-0388 §2.6.1)
        else:
            bind = Element("bind", NS.BIND, None, [text_element("jid", NS.BIND, jid.full)])
            self._output.append(Stanza("iq", id=self._bind_id, type="result", children=(bind,)).to_xml())

    def bind_failed(self, error: StanzaError) -> None:
        """The resource cannot be had (RFC 6120 §7.7.2.1); the client may ask for another."""
        self.is_waiting = False
        answer = Stanza("iq", id=self._bind_id, type="error", children=(error.to_element(),))
        self._output.append(answer.to_xml())
        self.phase = Phase.AUTHENTICATED

    # --- table actions: resumption instead of binding (XEP-0198 §5) ----------------------------------------------

    def _resume(self, element: Element) -> Event:
        self.phase = Phase.BINDING
        return ResumeRequested(element.get("previd"), stream_management.read_count(element))

    def _enable_too_early(self, element: Element) -> None:
        # §3: only once a resource is bound.
        self.send_element(stream_management.failed(UnexpectedRequest()))

    def resumed(self, element: Element, jid: JID) -> None:
        """The former session, of `jid`, goes on here, as `element` says. It has its features already (§9.2)."""
        self._trust()
        self.facts |= Fact.BOUND
        if self._success is not None:
            self.include(element)
            self._say_success(jid)
        else:
            self.send_element(element)

    def resume_failed(self, element: Element) -> None:
        """It does not, as `element` says; the client may bind a resource, or has asked for one already (§9.2)."""
        if self._success is not None:
            self.include(element)
            return
        self.is_waiting = False
        self.send_element(element)
        self.phase = Phase.AUTHENTICATED

    table: ClassVar[Mapping[tuple[Phase, str, str], Action]] = {
        (Phase.PLAIN, NS.TLS, "starttls"): _starttls,
        (Phase.SECURE, NS.SASL, "auth"): _auth,
        (Phase.SECURE, NS.SASL_2, "authenticate"): _authenticate,
        (Phase.SECURE, NS.CLIENT, "iq"): _registration,
        (Phase.AUTHENTICATING, NS.SASL, "response"): _response,
        (Phase.AUTHENTICATING, NS.SASL, "abort"): _abort,
        (Phase.AUTHENTICATING_2, NS.SASL_2, "response"): _response_2,
        (Phase.AUTHENTICATING_2, NS.SASL_2, "abort"): _abort,
        (Phase.TASK, NS.SASL_2, "next"): _next,
        (Phase.TASK, NS.SASL_2, "task-data"): _task_data,
        (Phase.TASK, NS.SASL_2, "abort"): _abort,
        (Phase.AUTHENTICATED, NS.CLIENT, "iq"): _bind,
        (Phase.AUTHENTICATED, NS.STREAM_MANAGEMENT, "resume"): _resume,
        (Phase.AUTHENTICATED, NS.STREAM_MANAGEMENT, "enable"): _enable_too_early,
    }


_UNKNOWN_MECHANISM = ("invalid-mechanism", "choose one of the mechanisms that the stream features list")


def _domain_of(address: str) -> str:
    """The domain of a client's `from`, "" where it is no address: that says nothing, and does no harm."""
    try:
        return JID.parse(address).domain if address else ""
    except InvalidJID:
        return ""


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode() or "="
