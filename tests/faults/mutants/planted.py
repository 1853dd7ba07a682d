"""The defects. Each changes one module of the server: (its name, what to do with it once it is loaded)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

CARBONS = "urn:xmpp:carbons:2"


def early_acknowledgement(module: ModuleType) -> None:
    """Everything is told and shown before it is on disk."""
    gate = module.CommitGate
    submit = gate.submit

    class Nobody:
        def settle(self, error: BaseException | None) -> None:
            pass

    def submit_and_release(self: Any, writes: Any, owner: Any) -> int:
        submit(self, writes, Nobody())
        owner.settle(None)
        return 0  # what comes behind need not wait, either

    gate.submit = submit_and_release


def lost_carbon(module: ModuleType) -> None:
    """One carbon copy of 100 is not delivered."""
    session = module.Session
    deliver = session.deliver
    count = itertools.count(1)

    def deliver_most(self: Any, stanza: Any, to: Any = None) -> None:
        is_carbon = any(getattr(child, "namespace", "") == CARBONS for child in stanza.children)
        if not is_carbon or next(count) % 100:
            deliver(self, stanza, to)

    session.deliver = deliver_most


def swapped_rows(module: ModuleType) -> None:
    """One row of 100 stands before those that were stored just before it."""
    ids = module.Ids
    sortable = ids.sortable
    count = itertools.count(1)

    def sometimes_lower(self: Any) -> int:
        number = int(sortable(self))
        return number - (400 << 22) - 1 if next(count) % 100 == 0 else number  # as of 400 ms ago

    ids.sortable = sometimes_lower


def late_row(module: ModuleType) -> None:
    """One id of 50 is taken now and used 100 ms later: a row appears behind the back of who has read on."""
    ids = module.Ids
    sortable = ids.sortable
    count = itertools.count(1)
    kept: list[tuple[float, int]] = []

    def out_of_order(self: Any) -> int:
        if kept and time.monotonic() - kept[0][0] > 0.1:
            return kept.pop(0)[1]
        if next(count) % 50 == 0:
            kept.append((time.monotonic(), int(sortable(self))))
        return int(sortable(self))

    ids.sortable = out_of_order


def stored_again(module: ModuleType) -> None:
    """What a client sends again is not recognised."""
    module.Window.take = lambda *_: False


def unsynced(module: ModuleType) -> None:
    """A commit does not wait for the disk."""
    module._WRITER_PRAGMAS = tuple(pragma.replace("=FULL", "=OFF") for pragma in module._WRITER_PRAGMAS)


def dropped(module: ModuleType) -> None:
    """What a session that expires had not passed on is gone."""
    module.hand_back = lambda *_: None


def copies_without_ids(module: ModuleType) -> None:
    """A copy of what another device sent does not say where it is archived."""
    wrap = module.wrap

    def wrap_without(name: str, stanza: Any, account: Any) -> Any:
        if name == "sent":
            stanza = stanza.replace(children=module.stanza_ids.without(stanza.children, account))
        return wrap(name, stanza, account)

    module.wrap = wrap_without


def poisoned_handler(module: ModuleType) -> None:
    """Whoever looks whether a message with the word is to be kept fails: no defect to be found, but a fault (F-30)."""
    judge = module.judge

    def fail_on_poison(stanza: Any, **options: Any) -> Any:
        if "iocane" in stanza.to_xml():
            raise RecursionError("iocane powder")
        return judge(stanza, **options)

    module.judge = fail_on_poison


#: By the name that XC_MUTANT holds.
PATCHES: Mapping[str, tuple[str, Callable[[ModuleType], None]]] = {
    "ack-before-commit": ("xmppchat.core.commit_gate", early_acknowledgement),
    "lost-carbon": ("xmppchat.core.session", lost_carbon),
    "swapped-rows": ("xmppchat.core.runtime", swapped_rows),
    "id-outside-order": ("xmppchat.core.runtime", late_row),
    "dedupe-off": ("xmppchat.components.archive.resends", stored_again),
    "no-sync": ("xmppchat.storage.sqlite", unsynced),
    "not-handed-back": ("xmppchat.components.stream_management.unsent", dropped),
    "no-id-in-copies": ("xmppchat.components.carbons", copies_without_ids),
}
#: Faults that a server has to live with.
POISONS: Mapping[str, tuple[str, Callable[[ModuleType], None]]] = {
    "poison": ("xmppchat.components.archive.policy", poisoned_handler),
}
