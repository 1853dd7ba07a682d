"""A stream of XML as a few plain nodes, on expat alone."""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

__all__ = ["Node", "StreamParser", "attribute", "escape"]

attribute = quoteattr


class Node:
    """An element: local name, namespace, attributes, children and the text before and between them."""

    __slots__ = ("attributes", "children", "name", "namespace", "text")

    def __init__(self, name: str, namespace: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.namespace = namespace
        self.attributes = attributes
        self.children: list[Node] = []
        self.text = ""

    def get(self, name: str) -> str:
        """An attribute, or the empty string."""
        return self.attributes.get(name, "")

    def find(self, name: str, namespace: str) -> Node | None:
        """The first child of that name."""
        return next(self.every(name, namespace), None)

    def every(self, name: str, namespace: str) -> Iterator[Node]:
        """All children of that name."""
        return (child for child in self.children if child.name == name and child.namespace == namespace)

    def __repr__(self) -> str:
        inner = "".join(map(repr, self.children))
        return f"<{self.name} {self.namespace} {self.attributes}>{self.text}{inner}</{self.name}>"


class StreamParser:
    """Bytes of one XML stream in, its top-level elements out; `header` is the attributes of the root, once seen."""

    def __init__(self) -> None:
        self.header: dict[str, str] | None = None
        self.has_ended = False
        self._stack: list[Node] = []
        self._ready: list[Node] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        if hasattr(self._parser, "SetReparseDeferralEnabled"):  # else expat holds elements back
            self._parser.SetReparseDeferralEnabled(False)
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def feed(self, data: bytes) -> list[Node]:
        """The elements that `data` completes; raises `expat.ExpatError` where it is no XML."""
        self._parser.Parse(data, False)
        ready, self._ready = self._ready, []
        return ready

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if self.header is None:
            self.header = attributes
            return
        namespace, _, name = tag.rpartition(" ")
        self._stack.append(Node(name, namespace, attributes))

    def _end(self, tag: str) -> None:
        if not self._stack:
            self.has_ended = True
            return
        node = self._stack.pop()
        if self._stack:
            self._stack[-1].children.append(node)
        else:
            self._ready.append(node)

    def _characters(self, text: str) -> None:
        if self._stack:
            self._stack[-1].text += text
