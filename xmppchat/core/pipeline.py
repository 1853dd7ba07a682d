"""Pipeline: the named stages a stanza goes through (docs/adr/0003-named-stages.md).

outbound, by the sender's rules: screen, sanitise, archive, copy; then the router; then inbound, by the recipient's:
screen, sanitise, archive, stamp, copy, deliver (core), fallback, observe; and shape for each session that gets it.
A stage without hooks costs nothing. screen, sanitise and archive fail closed; copy and observe fail open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from xmppchat.core.account import Account
from xmppchat.core.component import INBOUND, OUTBOUND, Direction, Stage
from xmppchat.core.turn import Turn
from xmppchat.protocol.errors import InternalServerError, StanzaError
from xmppchat.protocol.stanza import Stanza

if TYPE_CHECKING:
    from xmppchat.core.router import Router
    from xmppchat.core.session import Session

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


@dataclass(frozen=True, slots=True)
class Drop:
    """shape: this session does not get the stanza, or not now. `reason` is for the log."""

    reason: str


#: screen: nothing against it. shape: send it now.
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


Hooks = tuple[Callable[..., Any], ...]


class Pipeline:
    """The hooks of all stages, in their order."""

    def __init__(self, stages: Mapping[tuple[Stage, Direction], Hooks]) -> None:
        self._stages = stages
        self._fallback = stages.get((Stage.FALLBACK, INBOUND), ())
        self._observe = stages.get((Stage.OBSERVE, INBOUND), ())
        self._shape: tuple[Callable[[Passage, Session], Drop | None], ...] = stages.get((Stage.SHAPE, INBOUND), ())
        self.has_shape = bool(self._shape)
        admitting = (Stage.SCREEN, Stage.SANITISE, Stage.ARCHIVE, Stage.STAMP, Stage.COPY)
        self.has_outbound = any(stages.get((stage, OUTBOUND)) for stage in admitting)
        self.has_inbound = any(stages.get((stage, INBOUND)) for stage in admitting)

    def admit(self, passage: Passage, router: Router) -> bool:
        """Run screen to copy; False where the stanza ends here (its sender was told what there is to tell)."""
        try:
            verdict = self._screen(passage)
            if verdict is None:
                self._sanitise(passage)
                self._archive(passage)
        except StanzaError as error:
            verdict = Refuse(error, "a stage raised it")
        except Exception:
            log.exception("stage failed", direction=passage.direction.value, stanza=repr(passage.stanza))
            verdict = Refuse(InternalServerError(""), "a stage failed")
        if verdict is not None:
            log.debug("stanza stopped", reason=verdict.reason, stanza=repr(passage.stanza))
            if isinstance(verdict, Refuse):
                router.bounce(passage.stanza, verdict.error, passage.turn)
            return False
        self._run_open(Stage.COPY, passage)
        return True

    def _screen(self, passage: Passage) -> Refuse | Discard | None:
        for hook in self._stages.get((Stage.SCREEN, passage.direction), ()):
            verdict: Refuse | Discard | None = hook(passage)
            if verdict is not None:
                return verdict
        return None

    def _sanitise(self, passage: Passage) -> None:
        for hook in self._stages.get((Stage.SANITISE, passage.direction), ()):
            passage.stanza = hook(passage)

    def _archive(self, passage: Passage) -> None:
        for hook in self._stages.get((Stage.ARCHIVE, passage.direction), ()):
            passage.archived = hook(passage)
        if isinstance(passage.archived, Archived):
            for hook in self._stages.get((Stage.STAMP, passage.direction), ()):
                passage.stanza = hook(passage)

    def _run_open(self, stage: Stage, passage: Passage) -> None:
        for hook in self._stages.get((stage, passage.direction), ()):
            try:
                hook(passage)
            except Exception:
                log.exception("stage failed", stage=stage.value, stanza=repr(passage.stanza))

    def fall_back(self, account: Account, stanza: Stanza, turn: Turn) -> bool:
        """Nobody took the message: whether a fallback did. A :class:`StanzaError` of a hook refuses it."""
        passage = Passage(stanza, INBOUND, account, turn)
        return any(hook(passage) for hook in self._fallback)

    def shape(self, session: Session, stanza: Stanza, turn: Turn) -> bool:
        """Whether `session` gets the stanza now. A hook that wants to send it later keeps it, and says Drop."""
        passage = Passage(stanza, INBOUND, session.account, turn)
        for hook in self._shape:
            verdict = hook(passage, session)
            if verdict is not None:
                log.debug("stanza not sent", reason=verdict.reason, session=session.jid.full)
                return False
        return True

    def observe(self, account: Account, stanza: Stanza, turn: Turn, deliveries: int) -> None:
        """Tell the observers how it went."""
        if self._observe:
            self._run_open(Stage.OBSERVE, Passage(stanza, INBOUND, account, turn))
