"""The server itself, its database and its streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from xmppchat.core.session import Output
from xmppchat.jid import JID
from xmppchat.protocol.element import Element

if TYPE_CHECKING:
    from xmppchat.core.component import At
    from xmppchat.core.session import Session


class Reader(Protocol):
    """Read access to the database; never blocks the loop, sees committed data only."""

    async def fetch(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Rows of one query."""

    async def fetch_many(self, queries: Sequence[tuple[Any, Mapping[str, Any] | None]]) -> Sequence[Sequence[Any]]:
        """Rows of several queries, one after the other in one go."""


class DiscoService(Protocol):
    """What this server says of itself (XEP-0030)."""

    def description(self, at: At, domain: str) -> Element:
        """The disco#info ``<query/>`` of the host `domain`, or of any account there: without node, forms included."""


class ReloadService(Protocol):
    """Who reads the configuration again: the running server itself, no component."""

    async def reload(self) -> Mapping[str, object]:
        """Take the configuration file as it is now; returns what came of it, for the operator.

        Raises :class:`~xmppchat.core.commands.CommandError` with all faults; then nothing has changed.
        """


class ResumptionService(Protocol):
    """Sessions that outlive their connections (XEP-0198 §5)."""

    def resume(self, account: JID, previd: str, handled: int, successor: Successor) -> bool:
        """Give the session `previd` of `account` to `successor`, soon; False where there is no such session.

        The connection it had is ended. Raises :class:`StreamError` where `handled` is more than was sent.
        """

    async def last_handled(self, account: JID, previd: str) -> int | None:
        """How many stanzas were handled of a session that is no more, None where that is not known."""


class Successor(Output, Protocol):
    """The connection that a session moves to."""

    def take_over(self, session: Session, answer: Element) -> bool:
        """Send `answer` and hold `session` from now on; False where the connection is gone meanwhile."""

    def resume(self) -> None:
        """Go on with what the client sent behind its request."""


__all__ = [
    "DiscoService", "Reader", "ReloadService", "ResumptionService", "Successor",
]  # fmt: skip
