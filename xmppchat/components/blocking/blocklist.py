"""Block lists: whom they match (XEP-0191 §5), and their storage. All SQL of the lists is here."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from xmppchat.core.account import Account, AccountPart
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.storage import schema


def _build(account: Account, rows: Sequence[Any]) -> set[str]:
    return {row.jid for row in rows}


_blocked = schema.blocked.c
#: The addresses on the list, as text: full, bare, a domain, or a domain with a resource.
BLOCKED: AccountPart[set[str]] = AccountPart(
    "blocked",
    select(_blocked.account_id, _blocked.jid).where(_blocked.account_id.in_(bindparam("accounts", expanding=True))),
    _build,
)

_INSERT = insert(schema.blocked)
_DELETE = delete(schema.blocked).where(_blocked.account_id == bindparam("account"), _blocked.jid == bindparam("of"))
_DELETE_ALL = delete(schema.blocked).where(_blocked.account_id == bindparam("account"))


def addresses_of(account: Account) -> set[str]:
    """What is on the list of `account`."""
    return account[BLOCKED]


def is_on(addresses: Collection[str], jid: JID) -> bool:
    """Whether a list with these `addresses` matches `jid` (XEP-0191 §5).

    "domain/resource" needs no look of its own: it matches that address only, which is a full one.
    """
    return jid.full in addresses or jid.bare in addresses or jid.domain in addresses


def add(account: Account, addresses: Collection[str], turn: Turn) -> None:
    """Put `addresses`, which are not on it, on the list."""
    account[BLOCKED].update(addresses)
    for address in addresses:
        turn.write(account, _INSERT, {"account_id": account.id, "jid": address})


def remove(account: Account, addresses: Collection[str], turn: Turn) -> None:
    """Take `addresses` off the list."""
    account[BLOCKED].difference_update(addresses)
    for address in addresses:
        turn.write(account, _DELETE, {"account": account.id, "of": address})


def clear(account: Account, turn: Turn) -> None:
    """Take everything off the list."""
    account[BLOCKED].clear()
    write_deletion(account, turn)


def write_deletion(account: Account, turn: Turn) -> None:
    """Delete the stored list. In memory it stays: until the account is gone nobody learns what it was against."""
    turn.write(account, _DELETE_ALL, {"account": account.id})
