"""Stream management (XEP-0198), the client's side: counters modulo 2^32 and what is not acknowledged yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_MODULUS = 1 << 32


@dataclass(frozen=True, slots=True)
class Sent:
    """A stanza that was sent; `body` only of messages that are judged."""

    text: str
    body: str | None = None


class AckError(Exception):
    """The server acknowledged what was never sent."""


class Counters:
    """One session's counters; `acked` is the last h the server told."""

    def __init__(self) -> None:
        self.received = 0
        self.acked = 0
        self.unacked: deque[Sent] = deque()

    def count_received(self) -> None:
        """A stanza came."""
        self.received = (self.received + 1) % _MODULUS

    def acknowledge(self, handled: int) -> list[Sent]:
        """The stanzas that `handled` newly covers; raises AckError."""
        number = (handled - self.acked) % _MODULUS
        if number > len(self.unacked):
            raise AckError(f"h={handled} after {self.acked} with {len(self.unacked)} stanzas open")
        self.acked = handled
        return [self.unacked.popleft() for _ in range(number)]
