"""Tombstones (XEP-0424 §5): what its sender took back is replaced in the archive, under the same id, at its place.

It happens behind the retraction, which is stored itself: who looks between the two sees both. A crash between them
leaves the message, and the retraction that clients follow.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import structlog

from xmppchat.components.archive import store
from xmppchat.components.archive.results import tombstone
from xmppchat.core.kernel import Kernel
from xmppchat.protocol.errors import StanzaError, StreamError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import MalformedAddress, Stanza
from xmppchat.protocol.xmlreader import parse_stored

log = structlog.get_logger(__name__)

#: Retractions that wait for their turn; further ones are stored and followed by clients only.
MOST_WAITING: Final = 1_000

_DIRECTION: Final = store.SENT | store.RECEIVED


@dataclass(frozen=True, slots=True)
class _Retraction:
    account: int
    peer: str
    direction: int
    stanza: Stanza
    message: str
    at: int


class Retractions:
    """Makes tombstones, one after the other."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: deque[_Retraction] = deque()
        self._is_busy = False

    def note(self, account: int, peer: str, direction: int, stanza: Stanza, at: int) -> None:
        """`stanza`, a retraction, is in the archive of `account` (its id); `peer` is a bare JID, `at` in ms."""
        element = stanza.find("retract", NS.RETRACT)
        message = element.get("id") if element is not None else ""
        if not message or not stanza.id or len(self._waiting) >= MOST_WAITING:
            return
        self._waiting.append(_Retraction(account, peer, direction, stanza, message, at))
        if not self._is_busy:
            self._is_busy = True
            self._kernel.tasks.spawn(self._work(), name="retractions")

    async def _work(self) -> None:
        try:
            while self._waiting:
                try:
                    await self._replace(self._waiting.popleft())
                except StanzaError as error:
                    log.warning("a retracted message could not be replaced", reason=str(error))
        finally:
            self._is_busy = False

    async def _replace(self, retraction: _Retraction) -> None:
        reader = self._kernel.reader
        # The retracted message may have come a moment ago.
        await self._kernel.gate.committed(self._kernel.gate.last)
        found = await reader.fetch(store.BY_MESSAGE_ID, {
            "account": retraction.account, "peer": retraction.peer, "message": retraction.message,
        })  # fmt: skip
        # Only what came from whom the retraction comes from; the newest where an id was used twice.
        number = next((row.id for row in found if row.flags & _DIRECTION == retraction.direction), None)
        if number is None:
            return
        for row in await reader.fetch(store.STANZAS, {"ids": [number]}):
            replaced = _tombstone(row, retraction)
            if replaced is not None:
                turn = self._kernel.new_turn()
                turn.write(None, store.REPLACE, {
                    "row": row.id, "new_stanza": replaced.to_xml(namespace=NS.CLIENT).encode(),
                    "new_flags": retraction.direction | store.RETRACTED,
                })  # fmt: skip
                await self._kernel.settled(turn)


def _tombstone(row: Any, retraction: _Retraction) -> Stanza | None:
    """What stands in the place of a row, None where the retraction does not hold for it."""
    if row.flags & store.RETRACTED:
        return None
    try:
        original = Stanza.from_element(parse_stored(row.stanza))
    except (StreamError, MalformedAddress):
        return None  # damaged
    is_in_room = _is_private(original) or _is_private(retraction.stanza)
    # Behind the bare JID of a room are many people (XEP-0424 §6).
    if is_in_room and (original.from_, original.to) != (retraction.stanza.from_, retraction.stanza.to):
        return None
    return tombstone(original, retraction.stanza.id, retraction.at)


def _is_private(stanza: Stanza) -> bool:
    """Whether it is a private message in a room (XEP-0045 §7.5)."""
    return stanza.find("x", NS.MUC_USER) is not None
