"""Storage of invitations. A token is never stored, only its hash: a stolen database invites nobody (V-24)."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select

from xmppchat.storage import schema

_invitations = schema.invitations.c
_uses = schema.invitation_uses.c

#: How often each invitation was used.
_used = (
    select(func.count())
    .where(_uses.token_hash == _invitations.token_hash)
    .scalar_subquery()
    .label("used")
)
_COLUMNS = (
    _invitations.token_hash, _invitations.domain, _invitations.creator, _invitations.localpart,
    _invitations.is_account, _invitations.uses, _invitations.created_at, _invitations.expires_at, _used,
)

FIND = select(*_COLUMNS).where(_invitations.token_hash == bindparam("hash"))
LIST = select(*_COLUMNS).order_by(_invitations.created_at, _invitations.token_hash).limit(bindparam("limit"))
#: Invitations of one creator that were made since a moment, or can still be used.
OF_CREATOR = select(*_COLUMNS).where(
    _invitations.domain == bindparam("domain"), _invitations.creator == bindparam("creator"),
    (_invitations.created_at >= bindparam("since")) | (_invitations.expires_at > bindparam("now")),
)
#: Names that are kept for somebody (XEP-0445 §3).
RESERVATIONS = select(*_COLUMNS).where(
    _invitations.domain == bindparam("domain"), _invitations.localpart == bindparam("localpart"),
    _invitations.expires_at > bindparam("now"),
)

INSERT = insert(schema.invitations)
INSERT_USE = insert(schema.invitation_uses)
DELETE = delete(schema.invitations).where(_invitations.token_hash == bindparam("hash"))
DELETE_USES = delete(schema.invitation_uses).where(_uses.token_hash == bindparam("hash"))
DELETE_OF_CREATOR = delete(schema.invitations).where(
    _invitations.domain == bindparam("domain"), _invitations.creator == bindparam("creator")
)
EXPIRED = select(_invitations.token_hash).where(_invitations.expires_at < bindparam("before")).limit(1_000)


def hash_of(token: str) -> bytes:
    """What a token is known by."""
    return hashlib.sha256(token.encode()).digest()


def short_name(row: Any) -> str:
    """What an admin calls an invitation: enough of its hash to be unique, and of no use as a token."""
    return str(row.token_hash[:6].hex())
