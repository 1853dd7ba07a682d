"""What all sessions keep that wait for their clients: the sum is bounded, those that wait longest go first."""

from __future__ import annotations

from collections import OrderedDict

from xmppchat.components.stream_management.managed import Managed

#: What a session counts for besides the stanzas it keeps: it and its account in memory, bytes.
SESSION_BYTES = 4_096


class Waiting:
    """Sessions without a connection. `bytes`: what they keep in all."""

    __slots__ = ("_sizes", "bytes")

    def __init__(self) -> None:
        self._sizes: OrderedDict[Managed, int] = OrderedDict()
        self.bytes = 0

    def __contains__(self, managed: Managed) -> bool:
        return managed in self._sizes

    def count(self, managed: Managed) -> None:
        """It waits, or keeps more than before."""
        size = managed.size[1] + SESSION_BYTES
        self.bytes += size - self._sizes.get(managed, 0)
        self._sizes[managed] = size

    def remove(self, managed: Managed) -> None:
        """It does not wait any more."""
        self.bytes -= self._sizes.pop(managed, 0)

    def pop_oldest(self) -> Managed:
        """Remove the one that has waited longest. Raises KeyError where none waits."""
        managed, size = self._sizes.popitem(last=False)
        self.bytes -= size
        return managed
