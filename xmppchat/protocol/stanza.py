"""Stanza: header (kind, to, from, id, type, lang) and payload, with the payload's serialisation cached.

A fan-out (presence, carbons, a room) writes the payload once and only new start tags (:meth:`Stanza.to_bytes`).
Children in the stream's content namespace are kept as ``jabber:client`` on every kind of stream, so the same bytes
serve c2s and s2s (RFC 6120 §4.8.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, escape_attribute, write_children
from xmppchat.protocol.errors import StanzaError
from xmppchat.protocol.namespaces import NS

KINDS = frozenset({"message", "presence", "iq"})
#: Types of presence (RFC 6121 §4.7.1); "" is available presence.
PRESENCE_TYPES = frozenset(
    {"", "error", "probe", "subscribe", "subscribed", "unavailable", "unsubscribe", "unsubscribed"}
)

#: Default of :meth:`Stanza.replace`: leave the address as it is (None removes it).
KEEP: Final = JID("", "keep.invalid", "")


class MalformedAddress(ValueError):
    """``to`` or ``from`` of a stanza is not a JID; `attribute` says which."""

    def __init__(self, attribute: str, reason: str) -> None:
        super().__init__(f"the attribute '{attribute}' of the stanza: {reason}")
        self.attribute = attribute


class Stanza:
    """A ``<message/>``, ``<presence/>`` or ``<iq/>``. Immutable by convention: see :meth:`replace`.

    `memo` is what somebody found out about the payload and need not find out again (see
    :mod:`xmppchat.protocol.message_content`). ``type`` is "" where the attribute is absent; :attr:`message_type` knows
    the default of RFC 6121 §5.2.2.
    """

    __slots__ = ("_document", "_inner", "children", "from_", "id", "kind", "lang", "memo", "to", "type")

    def __init__(
        self,
        kind: str,
        *,
        to: JID | None = None,
        from_: JID | None = None,
        id: str = "",
        type: str = "",
        lang: str = "",
        children: Sequence[Element | str] = (),
    ) -> None:
        self.kind = kind
        self.to = to
        self.from_ = from_
        self.id = id
        self.type = type
        self.lang = lang
        self.children = children
        self.memo: object = None
        self._inner: str | None = None
        self._document: bytes | None = None

    @classmethod
    def from_element(cls, element: Element) -> Stanza:
        """The stanza `element` is. Raises :class:`MalformedAddress`; `element` must be one of :data:`KINDS`."""
        get = element.attributes.get
        stanza = cls.__new__(cls)
        stanza.kind = element.name
        stanza.to = _address(get("to"), "to")
        stanza.from_ = _address(get("from"), "from")
        stanza.id = get("id", "")
        stanza.type = get("type", "")
        stanza.lang = get("xml:lang", "")
        stanza.children = element.children
        stanza.memo = stanza._inner = stanza._document = None
        return stanza

    def to_element(self) -> Element:
        """The whole stanza as one element in ``jabber:client``."""
        attributes = {
            "to": self.to.full if self.to else None,
            "from": self.from_.full if self.from_ else None,
            "id": self.id or None,
            "type": self.type or None,
            "xml:lang": self.lang or None,
        }
        return Element(self.kind, NS.CLIENT, attributes, self.children)

    # --- reading -----------------------------------------------------------------------------------------------

    @property
    def message_type(self) -> str:
        """Type of a message; absent or unknown means "normal" (RFC 6121 §5.2.2)."""
        return self.type if self.type in _MESSAGE_TYPES else "normal"

    def elements(self) -> Iterator[Element]:
        """The payload elements in order."""
        for child in self.children:
            if isinstance(child, Element):
                yield child

    @property
    def payload(self) -> Element | None:
        """The first payload element: the one that matters in an IQ request."""
        return next(self.elements(), None)

    def find(self, name: str, namespace: str = NS.CLIENT) -> Element | None:
        """The first payload element ``{namespace}name``."""
        for child in self.children:
            if isinstance(child, Element) and child.name == name and child.namespace == namespace:
                return child
        return None

    @property
    def is_request(self) -> bool:
        """Whether this is an IQ that must be answered (RFC 6120 §8.2.3)."""
        return self.kind == "iq" and (self.type == "get" or self.type == "set")

    # --- deriving ----------------------------------------------------------------------------------------------

    def replace(
        self,
        *,
        to: JID | None = KEEP,
        from_: JID | None = KEEP,
        type: str | None = None,
        children: Sequence[Element | str] | None = None,
    ) -> Stanza:
        """A copy with other header fields or payload; the cached serialisation is shared while the payload is."""
        other = Stanza.__new__(Stanza)
        other.kind = self.kind
        other.to = self.to if to is KEEP else to
        other.from_ = self.from_ if from_ is KEEP else from_
        other.id = self.id
        other.type = self.type if type is None else type
        other.lang = self.lang
        other._document = None
        if children is None:
            other.children = self.children
            other._inner = self._inner
            other.memo = self.memo
        else:
            other.children = children
            other._inner = None
            other.memo = None
        return other

    def with_child(self, child: Element, xml: str = "") -> Stanza:
        """A copy with `child` at the end of the payload; what is serialised already is not written again.

        `xml` is `child` as the serialiser writes it, where the caller knows that.
        """
        other = self.replace(children=[*self.children, child])
        if self._inner is not None:
            other._inner = self._inner + (xml or child.to_xml(NS.CLIENT))
        return other

    def result(self, payload: Element | None = None) -> Stanza:
        """The ``type='result'`` answer to this IQ, with the addresses turned around."""
        children = () if payload is None else (payload,)
        return Stanza("iq", to=self.from_, from_=self.to, id=self.id, type="result", children=children)

    def error(self, error: StanzaError) -> Stanza | None:
        """The error answer to this stanza, or None where none may be sent.

        Errors and results are never answered with an error (RFC 6120 §8.3.1); the payload of the offending stanza is
        not sent back (a MAY in §8.3.1 that only amplifies), but for what `error.repeated` holds.
        """
        if self.type == "error" or (self.kind == "iq" and self.type == "result"):
            return None
        children = [error.to_element()] if error.repeated is None else [error.repeated, error.to_element()]
        return Stanza(self.kind, to=self.from_, from_=self.to, id=self.id, type="error", children=children)

    # --- writing -----------------------------------------------------------------------------------------------

    @property
    def inner_xml(self) -> str:
        """Serialised payload, written once."""
        inner = self._inner
        if inner is None:
            inner = self._inner = write_children(self.children, NS.CLIENT)
        return inner

    def to_xml(self, to: JID | None = None, *, namespace: str = "") -> str:
        """The stanza as XML text; `to` overrides the header's (one payload, many recipients).

        `namespace` adds an ``xmlns`` to the start tag, for framings in which each stanza is a document (RFC 7395).
        """
        out = f"<{self.kind} xmlns='{namespace}'" if namespace else f"<{self.kind}"
        if to is None:
            to = self.to
        if self.from_ is not None:
            out += f" from='{self.from_.xml}'"
        if to is not None:
            out += f" to='{to.xml}'"
        if self.id:
            out += f" id='{escape_attribute(self.id)}'"
        if self.type:
            out += f" type='{escape_attribute(self.type)}'"
        if self.lang:
            out += f" xml:lang='{escape_attribute(self.lang)}'"
        inner = self.inner_xml
        return f"{out}>{inner}</{self.kind}>" if inner else out + "/>"

    def to_bytes(self, to: JID | None = None, *, namespace: str = "") -> bytes:
        """:meth:`to_xml` in UTF-8."""
        return self.to_xml(to, namespace=namespace).encode()

    @property
    def document(self) -> bytes:
        """The stanza as a document of its own in UTF-8, as it is stored; written once."""
        document = self._document
        if document is None:
            document = self._document = self.to_bytes(namespace=NS.CLIENT)
        return document

    def __repr__(self) -> str:
        # Never the payload: bodies do not belong into logs or tracebacks.
        return f"<Stanza {self.kind} type={self.type!r} id={self.id!r} from={self.from_} to={self.to}>"


_MESSAGE_TYPES = frozenset({"chat", "error", "groupchat", "headline", "normal"})


def _address(text: str | None, attribute: str) -> JID | None:
    if text is None:
        return None
    try:
        return JID.parse(text)
    except InvalidJID as error:
        raise MalformedAddress(attribute, str(error)) from None
