"""Crash points: named places where a test lets the process die, to prove what survives (reliability.md F-01).

``XC_CRASHPOINT=before-commit`` in the environment ends the process the first time that point is passed, as
``kill -9`` would: no handler, no flush, exit status 137. ``XC_CRASHPOINT=before-commit:3`` lets it pass twice
before. Without the variable a crash point is one comparison.

The points: ``during-migration`` (a step is done but not committed), ``before-commit`` (a batch is executed but not
committed), ``after-commit-before-release`` (it is on disk and nobody has been told), ``mid-fan-out`` (some effects of a
stanza are done, others not), ``before-archive`` (a row is about to be handed in; every second time the other archive's
row is handed in already), ``after-acknowledgement`` (XEP-0198), ``mid-hand-out`` (some of the stored messages are
handed out), ``after-sessions-saved`` (all but the end of a planned stop), ``during-backup`` (all is written, nothing
has its name yet), ``before-replacing`` (a restored database is whole, the old one still in its place).
"""

from __future__ import annotations

import os

_name, _, _count = os.environ.get("XC_CRASHPOINT", "").partition(":")
_passes_left = int(_count or 1)


def crash_point(name: str) -> None:
    """End the process here and now if the environment says so."""
    if name == _name:
        _pass()


def _pass() -> None:
    global _passes_left
    _passes_left -= 1
    if _passes_left <= 0:
        os._exit(137)
