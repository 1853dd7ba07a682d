"""Storage of bots: which accounts are bots, and the values of their devices. All SQL of the component."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select

from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.core.turn import Turn
from xmppchat.protocol.errors import ServiceUnavailable
from xmppchat.storage import schema

_accounts, _bots, _values = schema.accounts.c, schema.bots.c, schema.omemo_values.c

#: All bots: there are as many as an admin made.
ALL = select(_accounts.localpart, _accounts.domain, _bots.created_at).join_from(
    schema.bots, schema.accounts, _accounts.id == _bots.account_id
)
#: Whether there is anything that the key in the file has encrypted.
COUNT = select(func.count()).select_from(schema.omemo_values)

_INSERT = insert(schema.bots)
_DELETE = delete(schema.bots).where(_bots.account_id == bindparam("account"))
_VALUE = select(_values.value).where(_values.account_id == bindparam("account"), _values.name == bindparam("of_name"))
_NAMES = select(_values.name).where(
    _values.account_id == bindparam("account"), _values.name.like(bindparam("pattern"), escape="\\")
)
_INSERT_VALUE = insert(schema.omemo_values)
_DELETE_VALUE = delete(schema.omemo_values).where(
    _values.account_id == bindparam("account"), _values.name == bindparam("of_name")
)
_DELETE_VALUES = delete(schema.omemo_values).where(_values.account_id == bindparam("account"))


def mark(account_id: int, now: int, turn: Turn) -> None:
    """The account that is being made with this id is a bot; `now` in ms."""
    turn.write(None, _INSERT, {"account_id": account_id, "created_at": now})


def delete_all(account: Account, turn: Turn) -> None:
    """The account is deleted, and with it what its device knows."""
    turn.write(account, _DELETE, {"account": account.id})
    turn.write(account, _DELETE_VALUES, {"account": account.id})


class Values:
    """The values of one bot's device, as bytes that are encrypted already. `is_closed`: nothing is stored any more."""

    def __init__(self, kernel: Kernel, account_id: int) -> None:
        self._kernel = kernel
        self.account_id = account_id
        self.is_closed = False

    async def load(self, name: str) -> bytes | None:
        """The value, None where there is none. Raises :class:`StorageUnavailable`."""
        rows = await self._kernel.reader.fetch(_VALUE, {"account": self.account_id, "of_name": name})
        return rows[0].value if rows else None

    async def store(self, name: str, value: bytes | None) -> None:
        """Keep a value in place of what there is, or (None) nothing; it is on disk when this returns.

        Raises the stanza error that says why it is not.
        """
        if self.is_closed:
            raise ServiceUnavailable("the bot is gone")
        key: dict[str, Any] = {"account": self.account_id, "of_name": name}
        turn = self._kernel.new_turn()
        turn.write(None, _DELETE_VALUE, key)
        if value is not None:
            turn.write(None, _INSERT_VALUE, {"account_id": self.account_id, "name": name, "value": value})
        await self._kernel.settled(turn)

    async def names(self, pattern: str) -> list[str]:
        """Names that are LIKE `pattern`."""
        rows = await self._kernel.reader.fetch(_NAMES, {"account": self.account_id, "pattern": pattern})
        return [row.name for row in rows]
