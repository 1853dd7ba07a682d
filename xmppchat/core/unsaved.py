"""What is written down now and then, for many at once: nobody waits for it, and a crash may lose it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import structlog

from xmppchat.core.kernel import Kernel
from xmppchat.core.turn import Turn
from xmppchat.protocol.errors import StanzaError

log = structlog.get_logger(__name__)

#: As many are written down at once, however soon that is.
MAX_UNSAVED: Final = 5_000

T = TypeVar("T")


class Unsaved(Generic[T]):
    """The newest values by the ids of their rows; `parameters` makes those of `statement` out of both.

    `what` they are says the log, where they cannot be stored.
    """

    def __init__(
        self, kernel: Kernel, statement: Any, parameters: Callable[[int, T], Mapping[str, Any]], *, what: str
    ) -> None:
        self._kernel = kernel
        self._statement = statement
        self._parameters = parameters
        self._what = what
        self._values: dict[int, T] = {}

    def put(self, id: int, value: T) -> None:
        """The row `id` is to have another value."""
        self._values[id] = value
        if len(self._values) >= MAX_UNSAVED:
            self.save()

    def get(self, id: int) -> T | None:
        """What a reader of the database would not see yet, None for nothing."""
        return self._values.get(id)

    def save(self) -> None:
        """Write all of them, in one go."""
        if self._values:
            self._turn().commit()

    async def settle(self) -> None:
        """The same at the end: return once they are on disk."""
        try:
            await self._kernel.settled(self._turn())
        except StanzaError as error:
            log.warning(f"{self._what} could not be stored", reason=error.text)

    def _turn(self) -> Turn:
        values, self._values = self._values, {}
        turn = self._kernel.new_turn()
        for id, value in values.items():
            turn.write(None, self._statement, self._parameters(id, value))
        return turn
