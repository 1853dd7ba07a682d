"""Element: a node of an XML tree, and the serialiser that writes every byte the server sends.

Immutable by convention: a change makes a new node that shares children. What leaves the server is always this
serialisation of a parsed tree, never received bytes (reliability.md V-03). Measurements behind the class and the
serialiser: docs/adr/0006-element-and-serialiser.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

_IN_TEXT = re.compile(r"[&<>\r]")
_IN_ATTRIBUTE = re.compile(r"[&<>'\"\t\n\r]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    # A tab or line end would be normalised away by the receiver's parser (XML 1.0 §2.11, §3.3.3).
    return _ESCAPES.get(character) or f"&#{ord(character)};"


def escape_text(text: str) -> str:
    """`text` as character data."""
    return _IN_TEXT.sub(_escape, text) if _IN_TEXT.search(text) else text


def escape_attribute(value: str) -> str:
    """`value` as the inside of a quoted attribute."""
    return _IN_ATTRIBUTE.sub(_escape, value) if _IN_ATTRIBUTE.search(value) else value


class Serialised(str):
    """XML that this serialiser wrote before, as a child that is written as it is: a message out of the archive.

    It must be well-formed by itself, for a place where the default namespace is any (it declares its own). What reads
    elements does not see into it; ADR 11 says why it exists, and what keeps received bytes out of it.
    """

    __slots__ = ()


class Element:
    """An XML element: local `name`, `namespace` ("" for none), `attributes`, `children` (elements and texts in order).

    An attribute in a namespace has the key ``"{namespace}name"``; the one exception is ``xml:lang`` (and the rest of
    the ``xml:`` prefix), which keeps that name.
    """

    __slots__ = ("attributes", "children", "name", "namespace")

    name: str
    namespace: str
    attributes: dict[str, str]
    children: list[Element | str]

    def __init__(
        self,
        name: str,
        namespace: str,
        attributes: Mapping[str, str | None] | None = None,
        children: Sequence[Element | str] = (),
    ) -> None:
        """Attributes whose value is None are left out; so are children that are empty texts."""
        self.name = name
        self.namespace = namespace
        self.attributes = {k: v for k, v in attributes.items() if v is not None} if attributes else {}
        self.children = [child for child in children if child != ""]

    # --- reading -----------------------------------------------------------------------------------------------

    def get(self, attribute: str, default: str = "") -> str:
        """The value of `attribute`, or `default`."""
        return self.attributes.get(attribute, default)

    @property
    def text(self) -> str:
        """The direct character data, joined."""
        return "".join([child for child in self.children if child.__class__ is str])

    def elements(self) -> Iterator[Element]:
        """The child elements in order."""
        for child in self.children:
            if isinstance(child, Element):
                yield child

    def find(self, name: str, namespace: str | None = None) -> Element | None:
        """The first child element of that name; `namespace` None means this element's own."""
        wanted = self.namespace if namespace is None else namespace
        for child in self.children:
            if isinstance(child, Element) and child.name == name and child.namespace == wanted:
                return child
        return None

    def find_all(self, name: str, namespace: str | None = None) -> list[Element]:
        """All child elements of that name; `namespace` None means this element's own."""
        wanted = self.namespace if namespace is None else namespace
        return [child for child in self.elements() if child.name == name and child.namespace == wanted]

    def child_text(self, name: str, namespace: str | None = None) -> str | None:
        """The text of the first child element of that name, None where there is none."""
        child = self.find(name, namespace)
        return None if child is None else child.text

    def is_named(self, name: str, namespace: str) -> bool:
        """Whether this is the element ``{namespace}name``."""
        return self.name == name and self.namespace == namespace

    # --- changing: always a new node ---------------------------------------------------------------------------

    def replace(
        self, *, attributes: Mapping[str, str | None] | None = None, children: Sequence[Element | str] | None = None
    ) -> Element:
        """A copy with `attributes` merged in (None removes one) and, where given, other `children`."""
        merged: dict[str, str | None] = dict(self.attributes)
        if attributes:
            merged.update(attributes)
        return Element(self.name, self.namespace, merged, self.children if children is None else children)

    def append(self, *children: Element | str) -> Element:
        """A copy with `children` at its end."""
        return self.replace(children=[*self.children, *children])

    # --- writing -----------------------------------------------------------------------------------------------

    def to_xml(self, parent_namespace: str = "") -> str:
        """This element as XML text, for a place where `parent_namespace` is the default namespace."""
        out: list[str] = []
        _write(self, parent_namespace, out.append)
        return "".join(out)

    def to_bytes(self, parent_namespace: str = "") -> bytes:
        """:meth:`to_xml` in UTF-8."""
        return self.to_xml(parent_namespace).encode()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Element):
            return NotImplemented
        return (
            self.name == other.name
            and self.namespace == other.namespace
            and self.attributes == other.attributes
            and self.children == other.children
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Element {{{self.namespace}}}{self.name} {self.attributes!r} with {len(self.children)} children>"


def write_children(children: Sequence[Element | str], namespace: str) -> str:
    """The XML of `children` inside an element whose default namespace is `namespace`."""
    out: list[str] = []
    put = out.append
    for child in children:
        if child.__class__ is str:
            put(escape_text(child))
        elif child.__class__ is Serialised:
            put(child)
        else:
            _write(child, namespace, put)  # type: ignore[arg-type]
    return "".join(out)


def _write(element: Element, parent_namespace: str, put: Callable[[str], object]) -> None:
    # Recursion is bounded by the reader's depth limit.
    namespace = element.namespace
    name = element.name
    head = f"<{name}" if namespace == parent_namespace else f"<{name} xmlns='{escape_attribute(namespace)}'"
    if element.attributes:
        head += _attributes(element.attributes)
    children = element.children
    if not children:
        put(head + "/>")
        return
    if len(children) == 1 and children[0].__class__ is str:  # the usual leaf: <body>text</body>
        put(f"{head}>{escape_text(children[0])}</{name}>")
        return
    put(head + ">")
    for child in children:
        if child.__class__ is str:
            put(escape_text(child))
        elif child.__class__ is Serialised:
            put(child)
        else:
            _write(child, namespace, put)  # type: ignore[arg-type]
    put(f"</{name}>")


def _attributes(attributes: Mapping[str, str]) -> str:
    out = ""
    number = 0
    for key, value in attributes.items():
        if key[0] == "{":
            uri, _, local = key[1:].rpartition("}")
            number += 1
            out += f" xmlns:ns{number}='{escape_attribute(uri)}' ns{number}:{local}='{escape_attribute(value)}'"
        else:
            out += f" {key}='{escape_attribute(value)}'"
    return out


def text_element(name: str, namespace: str, text: str, attributes: Mapping[str, str | None] | None = None) -> Element:
    """``<name xmlns='namespace'>text</name>``."""
    return Element(name, namespace, attributes, (text,))


__all__ = ["Element", "Serialised", "escape_attribute", "escape_text", "text_element", "write_children"]
