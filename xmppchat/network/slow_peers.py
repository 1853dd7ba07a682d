"""What all peers together have not taken yet (reliability.md, limit 19): many slow ones must not fill the memory."""

from __future__ import annotations

from typing import Protocol


class SlowPeer(Protocol):
    """A connection whose peer takes less than it is sent."""

    @property
    def buffered(self) -> int:
        """Bytes that wait for it."""

    def abort(self, reason: str = "") -> None:
        """Cut it."""


#: Why one of them is cut.
CROWDED = "too many bytes wait for all peers together, and most of them for this one"


class SlowPeers:
    """Bounds the sum: beyond `most` bytes those are cut for whom most is waiting, until there is room.

    Who takes all it is sent is never in here. What is noted of a peer may be more than it is by now: that is looked at
    only where it matters.
    """

    __slots__ = ("_sum", "_waiting", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._waiting: dict[SlowPeer, int] = {}
        self._sum = 0

    def note(self, peer: SlowPeer, waiting: int) -> None:
        """So many bytes wait for `peer`; it, or another, may be cut."""
        self._sum += waiting - self._waiting.get(peer, 0)
        self._waiting[peer] = waiting
        if self._sum > self.most:
            self._make_room()

    def forget(self, peer: SlowPeer) -> None:
        """It is gone."""
        self._sum -= self._waiting.pop(peer, 0)

    def _make_room(self) -> None:
        self._waiting = {peer: waiting for peer in self._waiting if (waiting := peer.buffered)}
        self._sum = sum(self._waiting.values())
        for peer in sorted(self._waiting, key=self._waiting.__getitem__, reverse=True):
            if self._sum <= self.most:
                return
            self.forget(peer)
            peer.abort(CROWDED)
