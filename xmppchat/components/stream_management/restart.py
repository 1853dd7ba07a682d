"""Sessions over a planned restart: what is written down of them, and how they come back."""

from __future__ import annotations

from typing import Any

from xmppchat.components.stream_management import store
from xmppchat.components.stream_management.managed import Managed, Manager, Sent
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.kernel import Hibernation, Kernel
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID

#: Of what is written down; another version is not read.
_VERSION = 2


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
