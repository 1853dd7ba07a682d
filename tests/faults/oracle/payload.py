"""Bodies that tell by themselves who sent them, in which order, and whether one is missing.

A body is ``run/conversation/sender/seq/sha256 of the previous body``; the conversation is ``sender's account>peer``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Payload:
    """A body, taken apart. `seq` counts the messages of one sender in one conversation from 1."""

    run: str
    conversation: str
    sender: str
    seq: int
    previous: str

    def text(self) -> str:
        """The body."""
        return f"{self.run}/{self.conversation}/{self.sender}/{self.seq}/{self.previous}"

    @staticmethod
    def parse(text: str) -> Payload | None:
        """The parts of a body; None where it is none of ours."""
        parts = text.split("/")
        if len(parts) != 5 or not parts[3].isdigit():
            return None
        return Payload(parts[0], parts[1], parts[2], int(parts[3]), parts[4])


def digest(body: str) -> str:
    """What the next body of the conversation says of this one."""
    return hashlib.sha256(body.encode()).hexdigest()


class Chains:
    """The bodies one sender writes: a chain for each conversation."""

    def __init__(self, run: str, sender: str) -> None:
        self._run = run
        self._sender = sender
        self._last: dict[str, tuple[int, str]] = {}

    def next(self, conversation: str) -> str:
        """The next body of a conversation."""
        seq, previous = self._last.get(conversation, (0, ""))
        body = Payload(self._run, conversation, self._sender, seq + 1, previous).text()
        self._last[conversation] = (seq + 1, digest(body))
        return body
