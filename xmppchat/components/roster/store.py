"""Storage of rosters: rows to :class:`RosterItem` and back. All SQL of the component is here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from xmppchat.core.account import Account, AccountPart
from xmppchat.core.services import RosterItem
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.storage import schema

#: Removed contacts that are remembered for versioning; older ones make a full roster necessary.
MAX_TOMBSTONES = 500


class RosterState:
    """The roster in memory: `items` by bare JID, the `version`, and what versioning needs (RFC 6121 §2.6).

    `changed` has the version at which an item or a removed contact last changed; a client that knows a version below
    `floor` needs the whole roster.
    """

    __slots__ = ("changed", "floor", "items", "removed", "version")

    def __init__(self, version: int, floor: int) -> None:
        self.version = version
        self.floor = floor
        self.items: dict[str, RosterItem] = {}
        self.changed: dict[str, int] = {}
        self.removed: dict[str, int] = {}

    def changes_since(self, version: int) -> list[tuple[int, str]] | None:
        """(version, contact) of what changed after `version`, in order; None where that is not known any more."""
        if not self.floor <= version <= self.version:
            return None
        changes = [(at, contact) for contact, at in self.changed.items() if at > version]
        changes += [(at, contact) for contact, at in self.removed.items() if at > version]
        return sorted(changes)


_items = schema.roster_items.c
_accounts = schema.accounts.c


def _build(account: Account, rows: Sequence[Any]) -> RosterState:
    state = RosterState(rows[0].roster_version, rows[0].roster_floor) if rows else RosterState(0, 0)
    for row in rows:
        if row.contact is None:  # an empty roster: the outer join's one row
            continue
        if row.subscription == "remove":
            state.removed[row.contact] = row.version
        else:
            state.items[row.contact] = RosterItem(
                JID.parse(row.contact), row.subscription, bool(row.ask), row.request, row.name,
                tuple(json.loads(row.groups)), bool(row.is_listed), bool(row.approved),
            )
            state.changed[row.contact] = row.version
    return state


ROSTER: AccountPart[RosterState] = AccountPart(
    "roster",
    select(
        _accounts.id.label("account_id"), _accounts.roster_version, _accounts.roster_floor, _items.contact, _items.name,
        _items.groups, _items.subscription, _items.ask, _items.approved, _items.request, _items.is_listed,
        _items.version,
    )
    .select_from(schema.accounts.outerjoin(schema.roster_items, _items.account_id == _accounts.id))
    .where(_accounts.id.in_(bindparam("accounts", expanding=True))),
    _build,
)

_DELETE = delete(schema.roster_items).where(
    _items.account_id == bindparam("account"), _items.contact == bindparam("of")
)
_INSERT = insert(schema.roster_items)
_VERSION = (
    update(schema.accounts)
    .where(_accounts.id == bindparam("account"))
    .values(roster_version=bindparam("new_version"), roster_floor=bindparam("new_floor"))
)
_DELETE_TOMBSTONES = delete(schema.roster_items).where(
    _items.account_id == bindparam("account"), _items.subscription == "remove", _items.version <= bindparam("floor")
)
_DELETE_ALL = delete(schema.roster_items).where(_items.account_id == bindparam("account"))


def write_item(account: Account, item: RosterItem, turn: Turn) -> None:
    """Store `item` as the newest change of the roster."""
    state = account[ROSTER]
    contact = item.contact.bare
    state.version += 1
    state.items[contact] = item
    state.changed[contact] = state.version
    state.removed.pop(contact, None)
    _write(account, state, {
        "contact": contact, "name": item.name, "groups": json.dumps(item.groups, ensure_ascii=False),
        "subscription": item.subscription, "ask": item.ask, "approved": item.is_approved, "request": item.request,
        "is_listed": item.is_listed,
    }, turn)


def write_first(account: Account, account_id: int, item: RosterItem, turn: Turn) -> None:
    """Store the first item of an account that is being made: its state is loaded only when it is there."""
    turn.write(account, _INSERT, {
        "account_id": account_id, "contact": item.contact.bare, "name": item.name, "groups": "[]",
        "subscription": item.subscription, "ask": item.ask, "approved": False, "request": "", "is_listed": True,
        "version": 0,
    })


def write_removal(account: Account, contact: str, turn: Turn) -> None:
    """Take `contact` out, and remember that it was there."""
    state = account[ROSTER]
    state.version += 1
    state.items.pop(contact, None)
    state.changed.pop(contact, None)
    state.removed[contact] = state.version
    if len(state.removed) > MAX_TOMBSTONES:
        oldest = sorted(state.removed.values())[len(state.removed) // 2]
        state.removed = {of: at for of, at in state.removed.items() if at > oldest}
        state.floor = oldest
        turn.write(account, _DELETE_TOMBSTONES, {"account": account.id, "floor": oldest})
    _write(account, state, {
        "contact": contact, "name": "", "groups": "[]", "subscription": "remove", "ask": False, "approved": False,
        "request": "", "is_listed": False,
    }, turn)


def write_deletion(account: Account, turn: Turn) -> None:
    """Delete the whole roster, with the account."""
    account[ROSTER].items.clear()
    turn.write(account, _DELETE_ALL, {"account": account.id})


def _write(account: Account, state: RosterState, row: dict[str, Any], turn: Turn) -> None:
    # Delete and insert: the one form of "upsert" that every database knows.
    turn.write(account, _DELETE, {"account": account.id, "of": row["contact"]})
    turn.write(account, _INSERT, {"account_id": account.id, "version": state.version, **row})
    turn.write(account, _VERSION, {"account": account.id, "new_version": state.version, "new_floor": state.floor})
