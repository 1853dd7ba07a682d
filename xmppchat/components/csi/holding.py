"""What a session holds back while its client is inactive (docs/adr/0012-sessions-hold-back.md)."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from xmppchat.components.csi.urgency import EVENTS, Key, key_of, outdated_by
from xmppchat.core.runtime import Clock, timestamp
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.delay import delayed
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

#: Stanzas, and characters of XML, that a session holds at most; then all are sent (reliability.md, limit 59).
MAX_STANZAS = 256
MAX_SIZE = 256 * 1024
#: What waited longer says when it was sent (XEP-0203), s.
STAMP_SECONDS = 5.0
#: What the start tag of a stanza counts, characters.
_HEADER = 200


class _Held(NamedTuple):
    stanza: Stanza
    to: JID | None
    since: float  # on the clock that never jumps, s
    at: int  # wall time, ms
    size: int


class Holding:
    """The :class:`~xmppchat.core.session.Shaper` of an inactive client: holds the kinds of stanzas that are in `kinds`.

    Whatever is urgent takes along, in order, what was held before it: one wake-up for all.
    """

    __slots__ = ("_clock", "_held", "_kinds", "_number", "size")

    def __init__(self, clock: Clock, kinds: Collection[str]) -> None:
        self._clock = clock
        self._kinds = kinds
        self._held: dict[Key, _Held] = {}
        self._number = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._held)

    def deliver(self, session: Session, stanza: Stanza, to: JID | None) -> None:
        """See :class:`~xmppchat.core.session.Shaper`."""
        key = key_of(stanza, session.jid)
        if key is None or key.kind not in self._kinds:
            outdated = outdated_by(stanza, session.jid)
            if outdated is not None:
                self._drop(outdated)
            self._send(session)
            session.send(stanza, to)
            return
        if key.kind == EVENTS and not key.item:
            self._number += 1  # it cannot be told what it replaces
            key = key._replace(item=f"\0{self._number}")  # no XML has such an id
        self._drop(key)  # the later one has its place at the end, too
        size = len(stanza.inner_xml) + _HEADER
        self._held[key] = _Held(stanza, to, self._clock.monotonic(), self._clock.now(), size)
        self.size += size
        if len(self._held) >= MAX_STANZAS or self.size >= MAX_SIZE:
            self._send(session)

    def flush(self, session: Session) -> None:
        """See :class:`~xmppchat.core.session.Shaper`."""
        session.shaper = None
        self._send(session)

    def _drop(self, key: Key) -> None:
        held = self._held.pop(key, None)
        if held is not None:
            self.size -= held.size

    def _send(self, session: Session) -> None:
        if not self._held:
            return
        held, self._held, self.size = self._held, {}, 0
        now = self._clock.monotonic()
        for one in held.values():
            stanza = one.stanza
            # XEP-0203 §2: one delay and only one; that of the first who delayed it.
            if now - one.since > STAMP_SECONDS and stanza.find("delay", NS.DELAY) is None:
                stanza = delayed(stanza, session.jid.domain, timestamp(one.at))
            session.send(stanza, one.to)


__all__ = ["MAX_SIZE", "MAX_STANZAS", "STAMP_SECONDS", "Holding"]
