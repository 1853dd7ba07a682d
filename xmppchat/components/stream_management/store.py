"""What is on disk of managed streams: how far each was, and at a planned stop whole sessions."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Integer, bindparam, delete, func, insert, select, update

from xmppchat.core.commit_gate import Write
from xmppchat.core.services import Reader
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.storage import schema
from xmppchat.storage.batches import last_wins

_streams = schema.managed_streams.c
_accounts = schema.accounts.c
_INSERT = insert(schema.managed_streams)
_UPDATE = update(schema.managed_streams).where(_streams.id == bindparam("stream")).values(handled=bindparam("count"))
_HANDLED = last_wins(_UPDATE, "stream")
_STATE = _UPDATE.values(state=bindparam("saved"))
_DELETE = delete(schema.managed_streams).where(_streams.id == bindparam("stream"))
_DELETE_OF = delete(schema.managed_streams).where(_streams.account_id == bindparam("account"))
_FORGET_STATES = update(schema.managed_streams).where(_streams.state != "").values(state="")
_ONE = (
    select(_streams.token_hash, _streams.handled, _accounts.localpart, _accounts.domain)
    .where(_streams.id == bindparam("stream"), _accounts.id == _streams.account_id)
)
_SAVED = (
    select(_streams.id, _streams.handled, _streams.state, _accounts.localpart, _accounts.domain)
    .where(_streams.state != "", _streams.id > bindparam("after"), _accounts.id == _streams.account_id)
    .order_by(_streams.id)
    .limit(bindparam("most", type_=Integer))
)
_NEWEST = select(func.max(_streams.id))
_OLDER = select(_streams.id).where(_streams.id < bindparam("limit"))


def row(number: int, account_id: int, token_hash: bytes, handled: int) -> Write:
    """The first write of a stream."""
    return Write(_INSERT, {"id": number, "account_id": account_id, "token_hash": token_hash, "handled": handled})


def handled(number: int, count: int) -> Write:
    """Of stream `number`, `count` stanzas are in this or earlier tickets."""
    return Write(_HANDLED, {"stream": number, "count": count})


def saved(number: int, count: int, state: dict[str, Any]) -> Write:
    """Stream `number` goes on after a restart with `state`."""
    return Write(_STATE, {"stream": number, "count": count, "saved": json.dumps(state, ensure_ascii=False)})


def forgotten(number: int) -> Write:
    """Nothing is known of stream `number` any more."""
    return Write(_DELETE, {"stream": number})


def deleted(account_id: int) -> Write:
    """Nothing is known of the streams of an account any more."""
    return Write(_DELETE_OF, {"account": account_id})


def states_taken() -> Write:
    """Saved sessions run again: should the server die now, they are not what they were."""
    return Write(_FORGET_STATES, {})


async def newest(reader: Reader) -> int:
    """The greatest number of a stream, 0 where there is none."""
    rows = await reader.fetch(_NEWEST)
    return int(rows[0][0] or 0)


async def older(reader: Reader, than: int) -> list[int]:
    """Numbers of streams less than `than`."""
    return [row.id for row in await reader.fetch(_OLDER, {"limit": than})]


async def last_handled(reader: Reader, account: JID, previd: str) -> int | None:
    """How many stanzas of a stream of `account` are on disk; None where there is no such stream."""
    number, _, token = previd.partition(".")
    if not number.isascii() or not number.isdigit() or len(number) > 19 or int(number) >= 2**63:
        return None
    rows = await reader.fetch(_ONE, {"stream": int(number)})
    if not rows or f"{rows[0].localpart}@{rows[0].domain}" != account.bare:
        return None
    if not hmac.compare_digest(rows[0].token_hash, hashlib.sha256(token.encode()).digest()):
        return None
    return int(rows[0].handled)


class Saved(NamedTuple):
    """A session that was saved: the number of its stream, its bare JID, how much was handled, its state as JSON."""

    number: int
    account: JID
    handled: int
    state: str


async def saved_sessions(reader: Reader, after: int, most: int) -> Sequence[Saved]:
    """The first sessions that were saved, of streams with a greater number than `after`."""
    return [
        Saved(row.id, JID.parse(f"{row.localpart}@{row.domain}"), row.handled, row.state)
        for row in await reader.fetch(_SAVED, {"after": after, "most": most})
    ]


# --- sessions as JSON -----------------------------------------------------------------------------------------------

def stanza_to_json(stanza: Stanza) -> str:
    """A stanza as text."""
    return stanza.to_xml(namespace=NS.CLIENT)


def stanza_from_json(text: str) -> Stanza:
    """See :func:`stanza_to_json`."""
    return Stanza.from_element(parse_stored(text))


def session_to_json(session: Session) -> dict[str, Any]:
    """What core knows of a session."""
    return {
        "resource": session.jid.resource, "peer": session.peer, "connected_at": session.connected_at,
        "lang": session.lang, "priority": session.priority, "takes_messages": session.takes_messages,
        "takes_since": session.takes_since, "copies_since": session.copies_since,
        "presence": stanza_to_json(session.presence) if session.presence is not None else None,
        "directed": [jid.full for jid in (session.directed or {}).values()] if session.directed is not None else None,
        "is_interested": session.is_interested, "wants_carbons": session.wants_carbons,
        "fetches_up_to": session.fetches_up_to, "device_id": session.device_id,
    }  # fmt: skip


def fill_session(session: Session, state: dict[str, Any]) -> None:
    """Make of `session` what was saved."""
    session.priority = state["priority"]
    session.takes_messages = state["takes_messages"]
    session.takes_since, session.copies_since = state["takes_since"], state["copies_since"]
    session.presence = stanza_from_json(state["presence"]) if state["presence"] is not None else None
    if state["directed"] is not None:
        session.directed = {jid: JID.parse(jid) for jid in state["directed"]}
    session.is_interested = state["is_interested"]
    session.wants_carbons = state["wants_carbons"]
    session.fetches_up_to = state["fetches_up_to"]
    session.device_id = state.get("device_id", 0)  # not there in what an older version wrote
