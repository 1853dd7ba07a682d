"""Payloads of items, out of the database or out of a bounded memory of those that are sent again and again.

What is stored is our own serialisation. It goes out as it is, once a parser has read over it: a row that somebody
damaged (reliability.md F-24) is left out, so nothing malformed gets into a stream. That also keeps ids of archives
inside a payload as the client wrote them: a read mark (XEP-0490) consists of one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final
from xml.parsers import expat

import structlog
from sqlalchemy import bindparam, select

from xmppchat.core.services import Reader
from xmppchat.protocol.element import Serialised
from xmppchat.storage import schema

log = structlog.get_logger(__name__)

_items = schema.pubsub_items.c
_FETCH = select(_items.id, _items.xml).where(_items.id.in_(bindparam("ids", expanding=True)))
#: Rows of one query.
_CHUNK: Final = 64
#: Characters of payloads that are remembered, in all and of one.
MEMORY, MEMORY_OF_ONE = 8_388_608, 16_384


class Payloads:
    """Reads payloads by the numbers of items. Nothing changes them: another publication has another number.

    What is removed stays in memory for a while: who asked for it before gets what there was then.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: OrderedDict[int, Serialised] = OrderedDict()
        self._size = 0

    def put(self, number: int, payload: Serialised) -> None:
        """Remember what is on disk now."""
        if len(payload) > MEMORY_OF_ONE or number in self._known:
            return
        self._known[number] = payload
        self._size += len(payload)
        while self._size > MEMORY:
            _, oldest = self._known.popitem(last=False)
            self._size -= len(oldest)

    async def read(self, numbers: Sequence[int]) -> Mapping[int, Serialised]:
        """The payloads, but for those that are gone or damaged. The caller has waited for what is to be seen."""
        found: dict[int, Serialised] = {}
        for number in numbers:
            known = self._known.get(number)
            if known is not None:
                self._known.move_to_end(number)
                found[number] = known
        missing = [number for number in numbers if number not in found]
        for start in range(0, len(missing), _CHUNK):
            for row in await self._reader.fetch(_FETCH, {"ids": missing[start : start + _CHUNK]}):
                payload = _sound(row.id, row.xml)
                if payload is not None:
                    found[row.id] = payload
                    self.put(row.id, payload)
        return found


def _sound(number: int, xml: str) -> Serialised | None:
    # Comments, processing instructions, document types and CDATA are nothing that we write.
    if "<!" not in xml and "<?" not in xml:
        try:
            expat.ParserCreate("UTF-8", " ").Parse(xml.encode(), True)
            return Serialised(xml)
        except (expat.ExpatError, UnicodeEncodeError):
            pass
    log.error("an item of a node is damaged, it is left out", id=number)
    return None
