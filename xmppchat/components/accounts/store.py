"""Storage of accounts: all SQL of the two components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, and_, bindparam, case, delete, false, func, insert, or_, select, true, update

from xmppchat.core.account import Account, AccountPart
from xmppchat.core.lookalikes import skeleton
from xmppchat.core.turn import Turn
from xmppchat.protocol.sasl import SCRAM_HASHES, ScramKeys
from xmppchat.storage import schema

#: SCRAM keys by mechanism.
Credentials = dict[str, ScramKeys]

_accounts = schema.accounts.c
_credentials = schema.credentials.c
_imported = schema.imported_passwords.c
_tombstones = schema.tombstones.c

#: How the directory finds accounts (:class:`xmppchat.core.directory.Directory`).
ACCOUNT_QUERY = select(_accounts.id, _accounts.localpart, _accounts.disabled, _accounts.created_at).where(
    _accounts.domain == bindparam("domain"),
    _accounts.localpart.in_(bindparam("localparts", expanding=True)),
)

#: How many accounts each domain has, for metrics.
ACCOUNT_COUNTS = select(_accounts.domain, func.count()).group_by(_accounts.domain)


def _keys(account: Account, rows: Sequence[Any]) -> Credentials:
    return {row.mechanism: ScramKeys(row.salt, row.iterations, row.stored_key, row.server_key) for row in rows}


CREDENTIALS: AccountPart[Credentials] = AccountPart(
    "credentials",
    select(
        _credentials.account_id, _credentials.mechanism, _credentials.salt, _credentials.iterations,
        _credentials.stored_key, _credentials.server_key,
    ).where(_credentials.account_id.in_(bindparam("accounts", expanding=True))),
    _keys,
)

#: The password as another system hashed it, "" where there is none.
IMPORTED: AccountPart[str] = AccountPart(
    "imported password",
    select(_imported.account_id, _imported.hash).where(
        _imported.account_id.in_(bindparam("accounts", expanding=True))
    ),
    lambda account, rows: rows[0].hash if rows else "",
)

#: Tombstones of (domain, localparts).
TOMBSTONES = select(_tombstones.localpart, _tombstones.deleted_at).where(
    _tombstones.domain == bindparam("domain"), _tombstones.localpart.in_(bindparam("localparts", expanding=True))
)
#: The cost of each imported hash is its 5th and 6th character: ``$2b$12$``.
IMPORTED_COSTS = select(func.substr(_imported.hash, 5, 2).label("cost")).distinct()


def _iterations_of(mechanism: str) -> Any:
    return func.max(case((_credentials.mechanism == mechanism, _credentials.iterations), else_=0)).label(mechanism)


_of_account = (
    select(*[_iterations_of(name) for name in SCRAM_HASHES], func.max(func.length(_credentials.salt)).label("salt"))
    .group_by(_credentials.account_id)
    .subquery()
)
#: What kinds of keys accounts have: iterations by mechanism, 0 for none, bytes of salt, and how many have such.
SHAPES = select(*_of_account.c, func.count().label("accounts")).group_by(*_of_account.c)

_has_keys = select(_credentials.account_id).where(_credentials.account_id == _accounts.id).exists()
#: The owner has not logged in since the import.
_is_waiting = and_(_imported.account_id.is_not(None), ~_has_keys)

#: Accounts in the order of their addresses, a page of them behind (`after_domain`, `after_localpart`): `pattern` is of
#: LIKE, with backslashes, `domain` "" for all hosts; `only_imported` for those whose password is another system's.
LIST = (
    select(
        _accounts.localpart, _accounts.domain, _accounts.disabled, _accounts.created_at, _accounts.seen_at,
        _is_waiting.label("is_waiting"), _has_keys.label("has_keys"),
    )
    .select_from(schema.accounts.outerjoin(schema.imported_passwords, _imported.account_id == _accounts.id))
    .where(
        or_(bindparam("domain") == "", _accounts.domain == bindparam("domain")),
        or_(bindparam("only_imported", type_=Boolean) == false(), _is_waiting),
        or_(
            _accounts.domain > bindparam("after_domain"),
            and_(_accounts.domain == bindparam("after_domain"), _accounts.localpart > bindparam("after_localpart")),
        ),
        (_accounts.localpart + "@" + _accounts.domain).like(bindparam("pattern"), escape="\\"),
    )
    .order_by(_accounts.domain, _accounts.localpart)
    .limit(bindparam("limit"))
)
#: By host: accounts, those that are disabled, those whose password is still another system's.
COUNT = (
    select(
        _accounts.domain, func.count().label("accounts"),
        func.sum(case((_accounts.disabled == true(), 1), else_=0)).label("disabled"),
        func.sum(case((_is_waiting, 1), else_=0)).label("imported"),
    )
    .select_from(schema.accounts.outerjoin(schema.imported_passwords, _imported.account_id == _accounts.id))
    .group_by(_accounts.domain)
    .order_by(_accounts.domain)
)
SHOW = select(_accounts.created_at, _accounts.seen_at).where(_accounts.id == bindparam("account"))

SECRET = select(schema.secrets.c.value).where(schema.secrets.c.name == "unknown-accounts")
LAST = select(func.max(_accounts.id))
INSERT_SECRET = insert(schema.secrets)
DISABLE = update(schema.accounts).where(_accounts.id == bindparam("account")).values(disabled=bindparam("is_disabled"))

_INSERT_ACCOUNT = insert(schema.accounts)
_INSERT_CREDENTIALS = insert(schema.credentials)
_INSERT_IMPORTED = insert(schema.imported_passwords)
_DELETE_CREDENTIALS = delete(schema.credentials).where(_credentials.account_id == bindparam("account"))
_DELETE_IMPORTED = delete(schema.imported_passwords).where(_imported.account_id == bindparam("account"))
_DELETE_ACCOUNT = delete(schema.accounts).where(_accounts.id == bindparam("account"))
_INSERT_TOMBSTONE = insert(schema.tombstones)
_DELETE_TOMBSTONE = delete(schema.tombstones).where(
    _tombstones.domain == bindparam("of_domain"), _tombstones.localpart == bindparam("of_localpart")
)


#: Names that look like another, or are it.
ALIKE = select(_accounts.localpart).where(
    _accounts.domain == bindparam("domain"), _accounts.skeleton == bindparam("skeleton")
).limit(100)


def write_account(account: Account, account_id: int, now: int, turn: Turn) -> None:
    """Make the row of `account`, which does not exist yet; `now` in ms."""
    jid = account.jid
    turn.write(account, _INSERT_ACCOUNT, {
        "id": account_id, "localpart": jid.local, "domain": jid.domain, "created_at": now, "disabled": False,
        "roster_version": 0, "roster_floor": 0, "skeleton": skeleton(jid.local), "seen_at": 0, "seen_status": "",
    })


def write_keys(account: Account, account_id: int, credentials: Credentials, turn: Turn) -> None:
    """Store SCRAM keys beside those there are; see :func:`delete_passwords`."""
    for mechanism, keys in credentials.items():
        turn.write(account, _INSERT_CREDENTIALS, {
            "account_id": account_id, "mechanism": mechanism, "salt": keys.salt, "iterations": keys.iterations,
            "stored_key": keys.stored_key, "server_key": keys.server_key,
        })


def write_imported(account: Account, account_id: int, hashed: str, turn: Turn) -> None:
    """Store a hash of another system's."""
    turn.write(account, _INSERT_IMPORTED, {"account_id": account_id, "hash": hashed})


def delete_imported(account: Account, turn: Turn) -> None:
    """The hash of another system's has done its service."""
    turn.write(account, _DELETE_IMPORTED, {"account": account.id})


def delete_passwords(account: Account, turn: Turn) -> None:
    """Delete all that a password of `account` could be checked with."""
    turn.write(account, _DELETE_CREDENTIALS, {"account": account.id})
    delete_imported(account, turn)


def delete_account(account: Account, now: int, turn: Turn) -> None:
    """Delete `account`; its name stays reserved."""
    delete_passwords(account, turn)
    turn.write(account, _DELETE_ACCOUNT, {"account": account.id})
    delete_tombstone(account, turn)
    turn.write(account, _INSERT_TOMBSTONE, {
        "domain": account.jid.domain, "localpart": account.jid.local, "deleted_at": now,
    })


def delete_tombstone(account: Account, turn: Turn) -> None:
    """The name of `account` may be taken again."""
    turn.write(account, _DELETE_TOMBSTONE, {"of_domain": account.jid.domain, "of_localpart": account.jid.local})
