"""Result set management (XEP-0059): which page of an ordered set is asked for, and what is said of the one sent.

A request is read with :meth:`PageRequest.find`; the answer's ``<set/>`` is made with :func:`page_element`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import BadRequest, FeatureNotImplemented
from xmppchat.protocol.namespaces import NS

_NUMBER: Final = re.compile("[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a ``<set/>`` asks for.

    `maximum` is the most items wanted, None where nothing was said; 0 asks for the count alone (§2.7). `after` and
    `before` are ids of items, None where they were not given. `before` "" asks for the last page (§2.5).
    """

    maximum: int | None = None
    after: str | None = None
    before: str | None = None

    @property
    def is_backwards(self) -> bool:
        """Whether the page is the last one before its end, not the first one after its beginning (§2.3)."""
        return self.before is not None

    def size(self, *, default: int, most: int) -> int:
        """How many items to send: what is wanted, but no more than `most` (§2.1: it MAY be fewer)."""
        return default if self.maximum is None else min(self.maximum, most)

    @classmethod
    def find(cls, parent: Element) -> PageRequest:
        """The request among the children of `parent`; that of everything where there is none.

        Raises :class:`BadRequest` for one that means nothing, :class:`FeatureNotImplemented` for a page by index
        (§2.6), as finding that would mean to count.
        """
        element = parent.find("set", NS.RSM)
        if element is None:
            return cls()
        for name in ("max", "after", "before", "index"):
            if len(element.find_all(name)) > 1:
                raise BadRequest(f"<{name}/> stands twice in the <set/>")
        if element.find("index") is not None:
            raise FeatureNotImplemented("pages are found by <after/> and <before/>, not by index")
        after, before = element.child_text("after"), element.child_text("before")
        if after is not None and before is not None:
            raise BadRequest("<after/> and <before/> together mean nothing; see XEP-0313 §4.3.2")
        return cls(_maximum(element.child_text("max")), after, before)


def _maximum(text: str | None) -> int | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text.strip(" \t\r\n")):
        raise BadRequest("<max/> is a number, 0 or more")
    return int(text)


def page_element(first: str = "", last: str = "", *, count: int | None = None, index: int | None = None) -> Element:
    """``<set/>`` of an answer (§2.2): ids of the first and the last item, "" where the page is empty.

    `count` is how many items there are in all, `index` the position of the first; None where that is not known.
    """
    children: list[Element] = []
    if first:
        attributes = {"index": None if index is None else str(index)}
        children = [text_element("first", NS.RSM, first, attributes), text_element("last", NS.RSM, last)]
    if count is not None:
        children.append(text_element("count", NS.RSM, str(count)))
    return Element("set", NS.RSM, None, children)


__all__ = ["PageRequest", "page_element"]
