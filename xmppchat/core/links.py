"""Links: connections on which the stanzas of a domain that is not served here come and go.

An external component's is one (XEP-0114); another server's will be. :class:`Links` knows which domains are reached so,
and whether they are at the moment; :mod:`xmppchat.core.arrivals` has what comes from them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Protocol

from xmppchat.core.session import MAX_HELD

if TYPE_CHECKING:
    from xmppchat.jid import JID
    from xmppchat.protocol.errors import StreamError
    from xmppchat.protocol.stanza import Stanza


class LinkOutput(Protocol):
    """The connection under a link."""

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """Write a stanza; `to` overrides its header's."""

    def pause_reading(self, reason: str) -> None:
        """Stop reading from the peer until :meth:`resume_reading` with the same reason."""

    def resume_reading(self, reason: str) -> None:
        """See :meth:`pause_reading`."""

    def close(self, error: StreamError | None) -> None:
        """End the stream, with `error` if it is one."""


class LinkCounts:
    """Stanzas `received` from and `sent` to a domain since the server started, whatever connections it had."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


class Link:
    """One connection of `domain`, which has proved to be it. `peer` is its IP address, `attached_at` ms since 1970.

    `lane` are stanzas from it that wait for an earlier one, whose recipient is being loaded: what comes on a link is
    handled in its order. `last_ticket` is the newest ticket that something from it waits for.
    """

    __slots__ = ("_held", "_output", "attached_at", "counts", "domain", "is_closed", "lane", "last_ticket", "peer")

    def __init__(self, domain: str, output: LinkOutput, *, peer: str, attached_at: int) -> None:
        self.domain = domain
        self.peer = peer
        self.attached_at = attached_at
        self.is_closed = False
        self.last_ticket = 0
        self.lane: deque[Any] = deque()
        self.counts = LinkCounts()
        self._output = output
        self._held = 0

    def deliver(self, stanza: Stanza, to: JID | None = None) -> None:
        """Send a stanza; dropped when the link is closed."""
        if not self.is_closed:
            self.counts.sent += 1
            self._output.send(stanza, to)

    def close(self, error: StreamError | None) -> None:
        """End its stream."""
        self._output.close(error)

    def hold(self) -> None:
        """One more stanza from here waits, for the disk or for its recipient; with many of them it is not read."""
        self._held += 1
        if self._held == MAX_HELD:
            self._output.pause_reading("uncommitted")

    def unhold(self) -> None:
        """One fewer waits."""
        self._held -= 1
        if self._held == MAX_HELD // 2:
            self._output.resume_reading("uncommitted")

    def __repr__(self) -> str:
        return f"<Link {self.domain}>"


class Links:
    """The domains that are reached over links; `domains` are those of the configuration, so there are a few."""

    def __init__(self, domains: Collection[str]) -> None:
        self._attached: dict[str, Link] = {}
        self._counts: dict[str, LinkCounts] = {}
        self.domains: frozenset[str] = frozenset()
        self.expect(domains)

    def expect(self, domains: Collection[str]) -> None:
        """`domains` are those reached over links from now on. Links of others are their connections' to end."""
        self.domains = frozenset(domains)
        for domain in self._counts.keys() - self.domains - self._attached.keys():
            del self._counts[domain]

    def attach(self, link: Link) -> bool:
        """`link` is how its domain is reached from now on; False where there is one already: nothing has changed."""
        if link.domain in self._attached:
            return False
        self._attached[link.domain] = link
        link.counts = self.counts(link.domain)
        return True

    def detach(self, link: Link) -> None:
        """`link` is closed; for :meth:`Kernel.detach`, which tells whom that concerns."""
        link.is_closed = True
        if self._attached.get(link.domain) is link:
            del self._attached[link.domain]

    def counts(self, domain: str) -> LinkCounts:
        """What came and went over all links of `domain`, which is one of `domains`."""
        return self._counts.setdefault(domain, LinkCounts())

    def get(self, domain: str) -> Link | None:
        """The link of `domain`, None where there is none at the moment."""
        return self._attached.get(domain)

    def attached(self) -> list[Link]:
        """All there are, by domain."""
        return [self._attached[domain] for domain in sorted(self._attached)]
