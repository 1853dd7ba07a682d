"""Stream management (XEP-0198): the counters and queues of one session, without input and output.

Numbers of stanzas count from 1 and never wrap here; on the wire they are taken modulo 2^32 (§4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StanzaError, UndefinedStreamCondition
from xmppchat.protocol.namespaces import NS

MODULUS = 2**32
#: Half of the numbers lie behind any number, the other half ahead.
_HALF = MODULUS // 2

ItemT = TypeVar("ItemT")


class Prefix:
    """The longest run 1, 2, 3 … `value` of what was added; what comes early waits."""

    __slots__ = ("_early", "value")

    def __init__(self, value: int = 0) -> None:
        self.value = value
        self._early: set[int] | None = None

    def add(self, number: int) -> None:
        """`number` is there, too. Adding twice does nothing."""
        if number != self.value + 1:
            if number > self.value:
                if self._early is None:
                    self._early = set()
                self._early.add(number)
            return
        self.value = number
        early = self._early
        if early:
            while self.value + 1 in early:
                self.value += 1
                early.remove(self.value)


class HandledCountTooHigh(UndefinedStreamCondition):
    """More was acknowledged than was sent (§8)."""

    def __init__(self, h: int, sent: int) -> None:
        attributes = {"h": str(h), "send-count": str(sent % MODULUS)}
        detail = Element("handled-count-too-high", NS.STREAM_MANAGEMENT, attributes)
        super().__init__(f"you acknowledged {h} stanzas, and were sent {sent % MODULUS}", details=[detail])


class Unacknowledged(Generic[ItemT]):
    """What was sent and is not acknowledged: items, oldest first, with their sizes in bytes.

    `sent` are all that were ever added, `acknowledged` those the peer has handled.
    """

    __slots__ = ("_queue", "acknowledged", "bytes")

    def __init__(self, acknowledged: int = 0) -> None:
        self.acknowledged = acknowledged
        self.bytes = 0
        self._queue: deque[tuple[ItemT, int]] | None = None  # most sessions have none most of the time

    def __len__(self) -> int:
        return 0 if self._queue is None else len(self._queue)

    def __iter__(self) -> Iterator[ItemT]:
        return iter([item for item, _ in self._queue or ()])

    @property
    def sent(self) -> int:
        """How many were ever sent."""
        return self.acknowledged + len(self)

    def add(self, item: ItemT, size: int) -> None:
        """One more was sent, of `size` bytes."""
        if self._queue is None:
            self._queue = deque()
        self._queue.append((item, size))
        self.bytes += size

    def is_behind(self, h: int) -> bool:
        """Whether `h` is less than what was acknowledged before."""
        return (h - self.acknowledged) % MODULUS >= _HALF

    def check(self, h: int) -> int:
        """How many more are handled where `h` are in all, 0 where it is behind. Raises :class:`HandledCountTooHigh`."""
        number = 0 if self.is_behind(h) else (h - self.acknowledged) % MODULUS
        if number > len(self):
            raise HandledCountTooHigh(h, self.sent)
        return number

    def acknowledge(self, h: int) -> None:
        """The peer has handled `h` stanzas. Raises :class:`HandledCountTooHigh`; less than before says nothing new."""
        number = self.check(h)
        queue = self._queue
        if not number or queue is None:
            return
        self.acknowledged += number
        if number == len(queue):
            self._queue = None
            self.bytes = 0
            return
        for _ in range(number):
            self.bytes -= queue.popleft()[1]


# --- what is said (§3 to §6) ----------------------------------------------------------------------------------------

#: Asks for an acknowledgement.
REQUEST = Element("r", NS.STREAM_MANAGEMENT)


def answer(handled: int) -> Element:
    """``<a h='…'/>``."""
    return Element("a", NS.STREAM_MANAGEMENT, {"h": str(handled % MODULUS)})


def enabled(session_id: str, seconds: int) -> Element:
    """``<enabled/>``; with a `session_id` the stream can be resumed for `seconds`."""
    resume = {"id": session_id, "resume": "true", "max": str(seconds)} if session_id else None
    return Element("enabled", NS.STREAM_MANAGEMENT, resume)


def resumed(session_id: str, handled: int) -> Element:
    """``<resumed/>``."""
    return Element("resumed", NS.STREAM_MANAGEMENT, {"previd": session_id, "h": str(handled % MODULUS)})


def failed(error: StanzaError, handled: int | None = None) -> Element:
    """``<failed/>``; `handled` is how many stanzas of the former stream were handled, where that is known (§5)."""
    h = None if handled is None else str(handled % MODULUS)
    return Element("failed", NS.STREAM_MANAGEMENT, {"h": h}, [Element(error.condition, NS.STANZA_ERROR)])


def read_count(element: Element) -> int | None:
    """The ``h`` of an element, None where it is no unsigned 32-bit number."""
    text = element.get("h")
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        return None
    value = int(text)
    return value if value < MODULUS else None


def is_true(text: str) -> bool:
    """Whether an attribute says yes (XML Schema boolean)."""
    return text in ("true", "1")
