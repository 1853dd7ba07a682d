"""Results of a query (XEP-0313 §4.2): rows of the archive become stanzas without being parsed and written again.

A row is our own serialisation already. Before it is sent as it is, a parser without handlers reads over it: a row that
somebody damaged (reliability.md F-24) is left out, so nothing malformed ever gets into a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final
from xml.parsers import expat

import structlog

from xmppchat.components.archive import store
from xmppchat.core.runtime import time_of
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, Serialised
from xmppchat.protocol.moments import timestamp
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stanza_ids import text_of

log = structlog.get_logger(__name__)

_START: Final = f"<message xmlns='{NS.CLIENT}'".encode()


def message_text(row: Any) -> str | None:
    """The stored message of a row as XML, None (and a line in the log) where it is none."""
    stanza: bytes = row.stanza
    # Comments, processing instructions, document types and CDATA are nothing that we write.
    if stanza.startswith(_START) and b"<!" not in stanza and b"<?" not in stanza:
        try:
            expat.ParserCreate("UTF-8", " ").Parse(stanza, True)
            return stanza.decode()
        except (expat.ExpatError, UnicodeDecodeError):
            pass
    log.error("a row of the archive is damaged, it is left out", id=row.id)
    return None


def result(row: Any, query_id: str) -> Element | None:
    """``<result/>`` with the message of a row, None where the row is damaged."""
    text = message_text(row)
    if text is None:
        return None
    forwarded = Serialised(
        f"<forwarded xmlns='{NS.FORWARD}'><delay xmlns='{NS.DELAY}' stamp='{timestamp(time_of(row.id))}'/>"
        f"{text}</forwarded>"
    )
    return Element("result", NS.ARCHIVE, {"queryid": query_id or None, "id": text_of(row.id)}, (forwarded,))


def results(rows: Iterable[Any], query_id: str, owner: JID, to: JID) -> Iterator[Stanza]:
    """A message for each row, from the archive of `owner`; damaged rows are left out."""
    for row in rows:
        child = result(row, query_id)
        if child is not None:
            yield Stanza("message", from_=owner, to=to, children=(child,))


def fin(is_complete: bool, page: Element) -> Element:
    """``<fin/>``, which ends the results (§4.3.2). They are stable: nothing uncommitted is ever shown."""
    return Element("fin", NS.ARCHIVE, {"complete": "true" if is_complete else None}, (page,))


def metadata(ends: tuple[int, int] | None) -> Element:
    """``<metadata/>`` (§4.4): the first and the last message."""
    children = [] if ends is None else [
        Element(name, NS.ARCHIVE, {"id": text_of(number), "timestamp": timestamp(time_of(number))})
        for name, number in zip(("start", "end"), ends, strict=True)
    ]
    return Element("metadata", NS.ARCHIVE, None, children)


def tombstone(original: Stanza, retraction_id: str, at: int) -> Stanza:
    """What stands in the place of a retracted message (XEP-0424 §5): its header, and who took it back when."""
    attributes = {"id": retraction_id, "stamp": timestamp(at)}
    return original.replace(children=(Element("retracted", NS.RETRACT, attributes),))


async def everything(archives: store.Archives, account: int) -> list[Element | str]:
    """All results of the archive of an account (its id), the oldest first."""
    found: list[Element | str] = []
    after = 0
    while True:
        page = await archives.page(account, store.Selection(low=after), store.CHUNK)
        found += filter(None, (result(row, "") for row in page.rows))
        if page.is_complete:
            return found
        after = page.rows[-1].id
