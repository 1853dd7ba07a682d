"""Sessions over a planned restart: what is written down of them, and how they come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from xmppchat.components.stream_management import store
from xmppchat.components.stream_management.managed import Managed, Manager, Sent
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.kernel import Hibernation, Kernel
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID

log = structlog.get_logger(__name__)

#: Sessions that are saved, or restored, at once.
CHUNK = 100
#: Of what is written down; another version is not read.
_VERSION = 2


async def save_all(kernel: Kernel, streams: Sequence[Managed]) -> None:
    """Write down the sessions of `streams`, a few a ticket. Raises :class:`StanzaError` if they cannot be stored."""
    for first in range(0, len(streams), CHUNK):
        turn = kernel.new_turn()
        for managed in streams[first:first + CHUNK]:
            save(kernel, managed, turn)
        await kernel.settled(turn)


async def restore_all(kernel: Kernel, manager: Manager, restored: Callable[[Managed], object]) -> None:
    """Give `restored` the sessions that were saved, and forget what was written down."""
    last = 0
    while saved := await store.saved_sessions(kernel.reader, last, CHUNK):
        last = saved[-1].number
        accounts = await asyncio.gather(*[kernel.directory.get(one.account) for one in saved])
        for one, account in zip(saved, accounts, strict=True):
            try:
                restored(restore(kernel, manager, account, one.number, one.handled, json.loads(one.state)))
            except (KeyError, TypeError, ValueError):
                log.exception("a saved session cannot be read; its client logs in anew", account=account.jid.bare)
    if last:
        turn = kernel.new_turn()
        turn.write(None, *store.states_taken())
        await kernel.settled(turn)


def save(kernel: Kernel, managed: Managed, turn: Turn) -> None:
    """Write down the session of `managed`, which has no connection, with `turn`."""
    session = managed.session
    session.release()
    components: dict[str, Any] = {}
    kernel.emit(events.SessionSaved(session, components))
    state = {
        "version": _VERSION, "token": managed.id.partition(".")[2], "seconds": managed.seconds,
        "session": store.session_to_json(session), "components": components,
        "acknowledged": managed.unacknowledged.acknowledged,
        "unacknowledged": [_sent_to_json(sent) for sent in managed.unacknowledged],
        "waiting": [_sent_to_json(sent) for sent in managed.waiting or () if sent is not None],
    }  # fmt: skip
    for write in managed.writes():  # its row, where it has none
        turn.write(None, *write)
    turn.write(None, *store.saved(managed.number, managed.handled, state))


def restore(kernel: Kernel, manager: Manager, account: Account, number: int, handled: int, state: Any) -> Managed:
    """The session that was saved, without a connection. Raises KeyError, TypeError, ValueError where `state` is bad."""
    if state["version"] != _VERSION:
        raise ValueError("saved by another version of xmppchat")
    of_session = state["session"]
    nowhere = Hibernation(kernel)
    session = Session(
        account.jid.with_resource(of_session["resource"]), account, nowhere, peer=of_session["peer"],
        connected_at=of_session["connected_at"], lang=of_session["lang"],
    )
    nowhere.session = session
    store.fill_session(session, of_session)
    managed = Managed(manager, session, number, state["token"], state["seconds"], received=handled,
                      acknowledged=state["acknowledged"])
    managed.was_stored()
    for sent in state["unacknowledged"]:
        managed.sent_before(_sent_from_json(sent))
    managed.hibernate()
    for sent in state["waiting"]:
        managed.keep(_sent_from_json(sent))
    session.management = managed
    kernel.directory.attach(session)
    kernel.emit(events.SessionRestored(session, state["components"]))
    return managed


def _sent_to_json(sent: Sent) -> list[Any]:
    return [store.stanza_to_json(sent.stanza), sent.to.full if sent.to is not None else None, sent.at]


def _sent_from_json(saved: list[Any]) -> Sent:
    xml, to, at = saved
    return Sent(store.stanza_from_json(xml), JID.parse(to) if to is not None else None, at)
