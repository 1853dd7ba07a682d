"""Registrations: which devices of an account want to be woken, in memory and on disk."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select, update

from xmppchat.core.account import Account, AccountPart
from xmppchat.core.kernel import Hibernation
from xmppchat.core.rates import TokenBucket
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.storage import schema

#: A registration that too many errors ended is tried again after so long, ms (XEP-0357 §7.1).
RETRY_MS: Final = 86_400_000
#: One that ended is shown for so long, ms.
SHOWN_MS: Final = 90 * 86_400_000


class Ending(enum.StrEnum):
    """Why a registration is disabled."""

    NOT = ""
    REFUSED = "refused"  # an error that will not pass
    ERRORS = "errors"  # too many of any kind in a row
    SERVICE = "service"  # the push service wants no more (XEP-0357 §8)


@dataclass(slots=True)
class Registration:
    """A device that wants to be woken: node `node` of `app_server`, with `options` (XML, "" for none).

    `device_id` is the client's in the list of devices, 0 where it is known by its `resource` alone. Moments are ms
    since 1970, 0 for never; `errors` are those since the last success, `error` the condition of the last one.
    `budgets` are what may still be sent (for calls, for the rest), made when it is first used; `called_at` is when it
    was last woken for a call.
    """

    id: int
    app_server: JID
    node: str
    options: str = ""
    device_id: int = 0
    resource: str = ""
    enabled_at: int = 0
    published_at: int = 0
    succeeded_at: int = 0
    failed_at: int = 0
    error: str = ""
    errors: int = 0
    retry_at: int = 0
    disabled_at: int = 0
    ending: Ending = Ending.NOT
    called_at: int = 0
    budgets: tuple[TokenBucket, TokenBucket] | None = None

    def is_of(self, session: Session) -> bool:
        """Whether `session` is one of the device."""
        if self.device_id:
            return session.device_id == self.device_id
        return session.jid.resource == self.resource

    def may_be_tried(self, now: int) -> bool:
        """Whether there may be a notification: it is enabled, or so many errors in a row are long ago."""
        return not self.disabled_at or (self.ending is Ending.ERRORS and now - self.disabled_at >= RETRY_MS)

    def disable(self, ending: Ending, now: int) -> None:
        """No more notifications."""
        self.ending, self.disabled_at, self.retry_at = ending, now, 0

    def clear(self) -> None:
        """All is well again."""
        self.ending, self.disabled_at, self.retry_at, self.errors = Ending.NOT, 0, 0, 0

    def __repr__(self) -> str:
        return f"<Registration {self.id} at {self.app_server}>"  # never the node: it is a capability


#: By id, the one enabled longest ago first.
Registrations = dict[int, Registration]
_rows = schema.push_registrations.c


def _build(account: Account, rows: Sequence[Any]) -> Registrations:
    return {
        row.id: Registration(
            row.id, JID.parse(row.app_server), row.node, row.options, row.device_id, row.resource, row.enabled_at,
            row.published_at, row.succeeded_at, row.failed_at, row.error, row.errors, row.retry_at, row.disabled_at,
            Ending(row.ending),
        )
        for row in rows
    }


REGISTRATIONS: AccountPart[Registrations] = AccountPart(
    "push",
    select(
        _rows.account_id, _rows.id, _rows.app_server, _rows.node, _rows.options, _rows.device_id, _rows.resource,
        _rows.enabled_at, _rows.published_at, _rows.succeeded_at, _rows.failed_at, _rows.error, _rows.errors,
        _rows.retry_at, _rows.disabled_at, _rows.ending,
    )
    .where(_rows.account_id.in_(bindparam("accounts", expanding=True)))
    .order_by(_rows.enabled_at, _rows.id),
    _build,
)
_INSERT = insert(schema.push_registrations)
_MUTABLE = (
    "options", "device_id", "resource", "enabled_at", "published_at", "succeeded_at", "failed_at", "error", "errors",
    "retry_at", "disabled_at", "ending",
)  # fmt: skip
_ONE = _rows.id == bindparam("registration")
_UPDATE = (
    update(schema.push_registrations).where(_ONE)
    .values(is_owed=False, **{name: bindparam(f"new_{name}") for name in _MUTABLE})
)
_OWE = update(schema.push_registrations).where(_ONE).values(is_owed=True)
_DELETE = delete(schema.push_registrations).where(_ONE)
_DELETE_ALL = delete(schema.push_registrations).where(_rows.account_id == bindparam("account"))
_accounts = schema.accounts.c
OWED: Final = (
    select(_rows.id, _rows.retry_at, _accounts.localpart, _accounts.domain)
    .where(_rows.is_owed, _accounts.id == _rows.account_id)
    .limit(bindparam("most"))
)
_NONE_OWED = update(schema.push_registrations).where(_rows.is_owed).values(is_owed=False)
ENDED: Final = (
    select(_rows.id, _accounts.localpart, _accounts.domain)
    .where(_rows.disabled_at > 0, _rows.disabled_at < bindparam("before"), _accounts.id == _rows.account_id)
    .limit(1_000)
)


def _values(registration: Registration) -> dict[str, Any]:
    return {name: getattr(registration, name) for name in _MUTABLE} | {"ending": registration.ending.value}


def find(account: Account, app_server: JID, node: str | None) -> list[Registration]:
    """Those at `app_server`, with `node` or (None) with any."""
    return [
        one for one in account[REGISTRATIONS].values()
        if one.app_server == app_server and (node is None or one.node == node)
    ]


def add(account: Account, registration: Registration, turn: Turn) -> None:
    """A new one."""
    account[REGISTRATIONS][registration.id] = registration
    turn.write(account, _INSERT, {
        "id": registration.id, "account_id": account.id, "app_server": registration.app_server.full,
        "node": registration.node, "is_owed": False, **_values(registration),
    })


def save(account: Account, registration: Registration, turn: Turn) -> None:
    """It changed."""
    turn.write(account, _UPDATE, {
        "registration": registration.id, **{f"new_{name}": value for name, value in _values(registration).items()},
    })


def remove(account: Account, registration: Registration, turn: Turn) -> None:
    """Nothing is known of it any more."""
    account[REGISTRATIONS].pop(registration.id, None)
    turn.write(account, _DELETE, {"registration": registration.id})


def remove_all(account: Account, turn: Turn) -> None:
    """The account is deleted."""
    turn.write(account, _DELETE_ALL, {"account": account.id})


def owe(id: int, turn: Turn) -> None:
    """The server stops before it was notified."""
    turn.write(None, _OWE, {"registration": id})


def owe_nothing(turn: Turn) -> None:
    """What was owed is in memory again."""
    turn.write(None, _NONE_OWED, {})


def of_session(session: Session) -> Iterator[Registration]:
    """Those of the device of `session`."""
    registrations: Registrations = session.account.parts.get(REGISTRATIONS) or {}
    return (one for one in registrations.values() if one.is_of(session))


def is_live(account: Account, registration: Registration) -> bool:
    """Whether the device has a connection."""
    return any(
        registration.is_of(session) and not isinstance(session.output, Hibernation)
        for session in account.sessions.values()
    )
