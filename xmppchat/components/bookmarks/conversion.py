"""Bookmarks of XEP-0402 as XEP-0048 has them, and back. Pure.

The old form has name, autojoin, nick and password. What else a bookmark has (``<extensions/>``, and what nobody knows
yet) is kept when a list in the old form takes its place; what a list has beside rooms is kept beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import BadRequest
from xmppchat.protocol.namespaces import NS

_TRUE: Final = frozenset({"true", "1"})
#: Children that both forms have.
_TEXTS: Final = ("nick", "password")


@dataclass(frozen=True, slots=True)
class OldList:
    """``<storage/>`` taken apart: rooms by address, and what else there is."""

    rooms: Mapping[str, Element]
    rest: tuple[Element, ...]


def is_bookmark(payload: Element) -> bool:
    """Whether an item is one (XEP-0402 §2)."""
    return payload.is_named("conference", NS.BOOKMARKS)


def to_storage(bookmarks: Mapping[str, Element], rest: Iterable[Element]) -> Element:
    """``<storage/>`` with all of them (XEP-0402 §5.3.1)."""
    rooms = [_to_old(jid, bookmark) for jid, bookmark in bookmarks.items() if is_bookmark(bookmark)]
    return Element("storage", NS.BOOKMARKS_STORAGE, None, [*rooms, *rest])


def _to_old(jid: str, bookmark: Element) -> Element:
    attributes = {
        "jid": jid, "name": bookmark.attributes.get("name"), "autojoin": bookmark.attributes.get("autojoin"),
    }
    children = [
        text_element(name, NS.BOOKMARKS_STORAGE, text) for name in _TEXTS
        if (text := bookmark.child_text(name)) is not None
    ]
    return Element("conference", NS.BOOKMARKS_STORAGE, attributes, children)


def from_storage(storage: Element, known: Collection[str]) -> OldList:
    """The list in ``<storage/>``. Of two entries of a room the last counts. `known` are addresses that are bookmarked,
    whether they are any or not. Raises :class:`BadRequest`, which says which entry is none, so that nothing is lost."""
    if not storage.is_named("storage", NS.BOOKMARKS_STORAGE):
        raise BadRequest("bookmarks are a <storage xmlns='storage:bookmarks'/> (XEP-0048 §2)")
    rooms: dict[str, Element] = {}
    rest: list[Element] = []
    for number, child in enumerate(storage.elements(), 1):
        if child.is_named("conference", NS.BOOKMARKS_STORAGE):
            rooms[_address(child, number, known)] = child
        else:
            rest.append(child)
    return OldList(rooms, tuple(rest))


def _address(conference: Element, number: int, known: Collection[str]) -> str:
    text = conference.get("jid")
    if text in known:
        return text
    try:
        jid = JID.parse(text)
    except InvalidJID:
        raise BadRequest(f"bookmark {number} has no 'jid' of a room; nothing was stored") from None
    return jid.full


def updated(before: Element | None, old: Element) -> Element | None:
    """The bookmark that a list in the old form makes of `before`, None where that stays as it is."""
    if before is not None and _said(before) == _said(old):
        return None
    kept = [] if before is None else [
        child for child in before.elements() if child.namespace != NS.BOOKMARKS or child.name not in _TEXTS
    ]
    attributes: dict[str, str | None] = {} if before is None else dict(before.attributes)
    attributes["name"] = old.attributes.get("name")
    attributes["autojoin"] = "true" if old.get("autojoin") in _TRUE else None
    texts = [text_element(name, NS.BOOKMARKS, text) for name in _TEXTS if (text := old.child_text(name)) is not None]
    return Element("conference", NS.BOOKMARKS, attributes, [*texts, *_with_foreign(kept, old)])


def _said(bookmark: Element) -> tuple[object, ...]:
    """What both forms can say."""
    texts = [bookmark.child_text(name) for name in _TEXTS]
    return (bookmark.attributes.get("name"), bookmark.get("autojoin") in _TRUE, *texts)


def _with_foreign(kept: list[Element], old: Element) -> list[Element]:
    """`kept`, with what clients of old put into their entry for themselves: its place is in ``<extensions/>`` now."""
    foreign = {(child.namespace, child.name): child for child in old.elements()
               if child.namespace not in (NS.BOOKMARKS_STORAGE, NS.BOOKMARKS)}  # fmt: skip
    if not foreign:
        return kept
    before = next((child for child in kept if child.is_named("extensions", NS.BOOKMARKS)), None)
    others = [] if before is None else [
        child for child in before.elements() if (child.namespace, child.name) not in foreign
    ]
    extensions = Element("extensions", NS.BOOKMARKS, None, [*others, *foreign.values()])
    return [*(child for child in kept if child is not before), extensions]
