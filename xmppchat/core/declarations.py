"""What the decorators of :mod:`xmppchat.core.component` write down of a method, for the tables to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmppchat.core.account import AccountPart
    from xmppchat.core.component import At, Direction, Role, Stage, Who


@dataclass(frozen=True, slots=True)
class IqDeclaration:
    """A method that answers an IQ request."""

    type: str  # "get" or "set"
    namespace: str
    name: str
    at: At
    who: Who


@dataclass(frozen=True, slots=True)
class PresenceDeclaration:
    """A method that handles presence of some types; there is one owner for each (direction, type)."""

    direction: Direction
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StageDeclaration:
    """A method that takes part in a stage."""

    stage: Stage
    direction: Direction
    after: tuple[str, ...]
    kinds: tuple[str, ...]
    only_with: AccountPart[Any] | None = None


@dataclass(frozen=True, slots=True)
class NonzaDeclaration:
    """A method that handles an element that is no stanza, from a client with a resource."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class InlineDeclaration:
    """A method that gives a session a feature as it is bound (XEP-0386)."""

    namespace: str
    name: str
    feature: str


@dataclass(frozen=True, slots=True)
class EventDeclaration:
    """A method that is told of an event."""

    event: type


@dataclass(frozen=True, slots=True)
class EveryDeclaration:
    """A coroutine method that runs at an interval, in seconds; one run at a time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CommandDeclaration:
    """A command: one declaration for the command line, for ad-hoc commands (XEP-0050), and later REST.

    Parameters, their types, defaults and help come from the method's signature (see :mod:`xmppchat.core.commands`).
    """

    name: str  # words with spaces: "user add"
    adhoc: str | None
    by: Role
    changes: bool
    form_type: str
    hidden: bool


Declaration = (
    IqDeclaration | PresenceDeclaration | NonzaDeclaration | InlineDeclaration | StageDeclaration | EventDeclaration
    | EveryDeclaration | CommandDeclaration
)
