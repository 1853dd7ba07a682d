"""Pipeline: the named stages a stanza goes through (docs/adr/0003-named-stages.md).

outbound, by the sender's rules: screen, sanitise, archive, copy; then the router; then inbound, by the recipient's:
screen, sanitise, archive, stamp, copy, deliver (core), fallback, observe. What a session holds back is its own affair
(:class:`~xmppchat.core.session.Shaper`). A stage without hooks costs nothing. screen, sanitise and archive fail closed;
copy and observe fail open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog

from xmppchat.core.account import Account, AccountPart
from xmppchat.core.component import (
    INBOUND,
    OUTBOUND,
    STANZA_KINDS,
    Direction,
    Stage,
)
from xmppchat.core.declarations import StageDeclaration
from xmppchat.core.turn import Turn
from xmppchat.protocol.errors import InternalServerError, StanzaError
from xmppchat.protocol.stanza import Stanza

if TYPE_CHECKING:
    from xmppchat.core.router import Router

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refuse:
    """screen: the sender gets `error`. `reason` is for the log."""

    error: StanzaError
    reason: str


@dataclass(frozen=True, slots=True)
class Discard:
    """screen: the stanza vanishes without a word. `reason` is for the log."""

    reason: str


@dataclass(frozen=True, slots=True)
class Archived:
    """archive: stored under `id`; the write is in the turn."""

    id: int


@dataclass(frozen=True, slots=True)
class NotArchived:
    """archive: not stored, for `reason`."""

    reason: str


#: screen: nothing against it.
PASS: None = None
#: fallback: it was taken care of.
HANDLED = True


class Passage:
    """A stanza on its way through the stages of one account. Hooks read it; the pipeline alone changes it."""

    __slots__ = ("account", "archived", "direction", "stanza", "turn")

    def __init__(self, stanza: Stanza, direction: Direction, account: Account, turn: Turn) -> None:
        self.stanza = stanza
        self.direction = direction
        self.account = account
        self.turn = turn
        self.archived: Archived | NotArchived | None = None


class Outcome(Passage):
    """A message as observers get it: `deliveries` is to how many sessions it went (one that hibernates counts),
    `is_stored` whether a fallback took it where there was none."""

    __slots__ = ("deliveries", "is_stored")

    def __init__(self, stanza: Stanza, account: Account, turn: Turn, deliveries: int, *, is_stored: bool) -> None:
        super().__init__(stanza, INBOUND, account, turn)
        self.deliveries = deliveries
        self.is_stored = is_stored


Hooks = tuple[Callable[..., Any], ...]
Screen = Callable[[Passage], Refuse | Discard | None]


class _Lane:
    """The hooks from screen to copy of one direction, and for whom there are any."""

    __slots__ = ("archive", "concerned", "copy", "sanitise", "screens", "stamp")

    def __init__(
        self, direction: Direction, stages: Mapping[tuple[Stage, Direction], Hooks],
        declared: Mapping[Callable[..., Any], StageDeclaration],
    ) -> None:
        def of_kinds(stage: Stage) -> dict[str, Hooks]:
            hooks = stages.get((stage, direction), ())
            return {kind: tuple(hook for hook in hooks if kind in declared[hook].kinds) for kind in STANZA_KINDS}

        self.sanitise, self.archive = of_kinds(Stage.SANITISE), of_kinds(Stage.ARCHIVE)
        self.stamp, self.copy = of_kinds(Stage.STAMP), of_kinds(Stage.COPY)
        screens = of_kinds(Stage.SCREEN)
        #: By kind of stanza: hooks, each with the part without which an account is none of its business.
        self.screens: dict[str, tuple[tuple[Screen, AccountPart[Any] | None], ...]] = {}
        #: By kind of stanza: all accounts (True), or those in which one of these parts is not empty.
        self.concerned: dict[str, Literal[True] | tuple[AccountPart[Any], ...]] = {}
        for kind in STANZA_KINDS:
            self.screens[kind] = tuple((hook, declared[hook].only_with) for hook in screens[kind])
            parts = tuple(dict.fromkeys(part for _, part in self.screens[kind] if part is not None))
            of_all = any((self.sanitise[kind], self.archive[kind], self.stamp[kind], self.copy[kind]))
            has_screen_of_all = any(part is None for _, part in self.screens[kind])
            self.concerned[kind] = True if of_all or has_screen_of_all else parts


class Pipeline:
    """The hooks of all stages, in their order. `declared` has what each is for."""

    def __init__(
        self, stages: Mapping[tuple[Stage, Direction], Hooks],
        declared: Mapping[Callable[..., Any], StageDeclaration],
    ) -> None:
        self._fallback = stages.get((Stage.FALLBACK, INBOUND), ())
        #: Hooks, each with the part without which an account is none of its business.
        self._observe = tuple(
            (hook, declared[hook].only_with) for hook in stages.get((Stage.OBSERVE, INBOUND), ())
        )
        self._outbound = _Lane(OUTBOUND, stages, declared)
        self._inbound = _Lane(INBOUND, stages, declared)
        self._concerned_by_outbound = self._outbound.concerned
        self._concerned_by_inbound = self._inbound.concerned

    def has_outbound(self, kind: str, account: Account) -> bool:
        """Whether a stanza of this kind that `account` sends has to pass :meth:`admit`."""
        concerned = self._concerned_by_outbound[kind]
        return concerned is True or _has_any(account, concerned)

    def has_inbound(self, kind: str, account: Account) -> bool:
        """Whether a stanza of this kind that comes to `account` has to pass :meth:`admit`."""
        concerned = self._concerned_by_inbound[kind]
        return concerned is True or _has_any(account, concerned)

    def admit(self, passage: Passage, router: Router) -> bool:
        """Run screen to copy; False where the stanza ends here (its sender was told what there is to tell)."""
        lane = self._inbound if passage.direction is INBOUND else self._outbound
        kind = passage.stanza.kind
        try:
            verdict = _screen(lane, passage)
            if verdict is None:
                for hook in lane.sanitise[kind]:
                    passage.stanza = hook(passage)
                if lane.archive[kind]:
                    _archive(lane, passage)
        except StanzaError as error:
            verdict = Refuse(error, "a stage raised it")
        except Exception:
            log.exception("stage failed", direction=passage.direction.value, stanza=repr(passage.stanza))
            verdict = Refuse(InternalServerError(""), "a stage failed")
        if verdict is not None:
            log.debug("stanza stopped", reason=verdict.reason, stanza=repr(passage.stanza))
            if isinstance(verdict, Refuse):
                router.bounce(passage.stanza, verdict.error, passage.turn, was_sent=lane is self._inbound)
            return False
        if lane.copy[kind]:
            _run_open(Stage.COPY, lane.copy[kind], passage)
        return True

    def tell(self, passage: Passage, *, is_kept: bool) -> None:
        """Run archive (where it `is_kept`) to copy: for what the server itself tells an account, whatever fails."""
        kind = passage.stanza.kind
        if is_kept and self._inbound.archive[kind]:
            try:
                _archive(self._inbound, passage)
            except Exception:
                log.exception("stage failed", stage=Stage.ARCHIVE.value, stanza=repr(passage.stanza))
        _run_open(Stage.COPY, self._inbound.copy[kind], passage)

    def fall_back(self, account: Account, stanza: Stanza, turn: Turn) -> bool:
        """Nobody took the message: whether a fallback did. A :class:`StanzaError` of a hook refuses it."""
        passage = Passage(stanza, INBOUND, account, turn)
        return any(hook(passage) for hook in self._fallback)

    def observe(
        self, account: Account, stanza: Stanza, turn: Turn, deliveries: int, *, is_stored: bool = False
    ) -> None:
        """Tell the observers how it went (see :class:`Outcome`)."""
        for hook, part in self._observe:
            if part is None or account.parts.get(part):
                _run_open(Stage.OBSERVE, (hook,), Outcome(stanza, account, turn, deliveries, is_stored=is_stored))


def _screen(lane: _Lane, passage: Passage) -> Refuse | Discard | None:
    parts = passage.account.parts
    for hook, part in lane.screens[passage.stanza.kind]:
        if part is None or parts.get(part):
            verdict = hook(passage)
            if verdict is not None:
                return verdict
    return None


def _archive(lane: _Lane, passage: Passage) -> None:
    kind = passage.stanza.kind
    for hook in lane.archive[kind]:
        passage.archived = hook(passage)
    if isinstance(passage.archived, Archived):
        for hook in lane.stamp[kind]:
            passage.stanza = hook(passage)


def _run_open(stage: Stage, hooks: Hooks, passage: Passage) -> None:
    for hook in hooks:
        try:
            hook(passage)
        except Exception:
            log.exception("stage failed", stage=stage.value, stanza=repr(passage.stanza))


def _has_any(account: Account, parts: tuple[AccountPart[Any], ...]) -> bool:
    values = account.parts
    for part in parts:  # noqa: SIM110  a generator costs more, and this is asked for every stanza
        if values.get(part):
            return True
    return False
