"""Storage of devices and of what their tokens are made from: all SQL of the component."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, bindparam, delete, false, func, insert, select, update

from xmppchat.core.account import Account, AccountPart
from xmppchat.core.turn import Turn
from xmppchat.storage import schema
from xmppchat.storage.batches import last_wins

_devices = schema.devices.c
_tokens = schema.fast_tokens.c
_accounts = schema.accounts.c


class Token:
    """What a token is made from. `expires_at` is in ms; `counter` the greatest `count` that came with it."""

    __slots__ = ("counter", "expires_at", "mechanism", "nonce")

    def __init__(self, mechanism: str, nonce: bytes, expires_at: int, counter: int = 0) -> None:
        self.mechanism = mechanism
        self.nonce = nonce
        self.expires_at = expires_at
        self.counter = counter


class Device:
    """A client of an account; times are in ms. `new` is the token it has not used yet, `current` the one it has
    (XEP-0484 §6.1)."""

    __slots__ = ("client_hash", "current", "device", "first_seen", "has_password", "id", "last_seen", "new", "software")

    def __init__(
        self, device_id: int, client_hash: bytes, software: str, device: str, *, has_password: bool, first_seen: int,
        last_seen: int,
    ) -> None:
        self.id = device_id
        self.client_hash = client_hash
        self.software = software
        self.device = device
        self.has_password = has_password
        self.first_seen = first_seen
        self.last_seen = last_seen
        self.current: Token | None = None
        self.new: Token | None = None

    @property
    def tokens(self) -> list[Token]:
        """Those it has, the newest first."""
        return [token for token in (self.new, self.current) if token is not None]


#: Devices of an account by the hash of what they call themselves.
Known = dict[bytes, Device]


def _build(account: Account, rows: Sequence[Any]) -> Known:
    known: Known = {}
    for row in rows:
        device = known.get(row.client_hash)
        if device is None:
            device = known[row.client_hash] = Device(
                row.id, row.client_hash, row.software, row.device, has_password=bool(row.has_password),
                first_seen=row.first_seen, last_seen=row.last_seen,
            )
        if row.nonce is not None:
            token = Token(row.mechanism, row.nonce, row.expires_at, row.counter)
            if row.is_new:
                device.new = token
            else:
                device.current = token
    return known


KNOWN: AccountPart[Known] = AccountPart(
    "devices",
    select(
        _devices.account_id, _devices.id, _devices.client_hash, _devices.software, _devices.device,
        _devices.has_password, _devices.first_seen, _devices.last_seen, _tokens.is_new, _tokens.mechanism,
        _tokens.nonce, _tokens.expires_at, _tokens.counter,
    )
    .select_from(schema.devices.outerjoin(schema.fast_tokens, _tokens.device_id == _devices.id))
    .where(_devices.account_id.in_(bindparam("accounts", expanding=True)))
    .order_by(_devices.id),
    _build,
)

LAST = select(func.max(_devices.id))
#: Devices that were seen last before a moment, and whose they are.
UNUSED = (
    select(_devices.id, _devices.client_hash, _accounts.localpart, _accounts.domain)
    .where(_devices.last_seen < bindparam("before"), _accounts.id == _devices.account_id)
    .order_by(_devices.last_seen)
    .limit(bindparam("most"))
)
#: Writes down when devices were last seen.
SEEN = last_wins(
    update(schema.devices).where(_devices.id == bindparam("of_device")).values(last_seen=bindparam("at")), "of_device"
)

_INSERT = insert(schema.devices)
_UPDATE = (
    update(schema.devices)
    .where(_devices.id == bindparam("of_device"))
    .values(software=bindparam("new_software"), device=bindparam("new_name"), has_password=bindparam("knows_it"))
)
_DELETE = delete(schema.devices).where(_devices.id == bindparam("of_device"))
_DELETE_ALL = delete(schema.devices).where(_devices.account_id == bindparam("of_account"))
_FORGET_PASSWORD = (
    update(schema.devices)
    .where(_devices.account_id == bindparam("of_account"), _devices.id != bindparam("keeper"))
    .values(has_password=false())
)
_INSERT_TOKEN = insert(schema.fast_tokens)
_of_slot = (_tokens.device_id == bindparam("of_device"), _tokens.is_new == bindparam("slot", type_=Boolean))
_DELETE_TOKEN = delete(schema.fast_tokens).where(*_of_slot)
_USE_TOKEN = (
    update(schema.fast_tokens).where(*_of_slot).values(is_new=false(), counter=bindparam("count"))
)
_DELETE_TOKENS = delete(schema.fast_tokens).where(_tokens.device_id == bindparam("of_device"))
_DELETE_ALL_TOKENS = delete(schema.fast_tokens).where(_tokens.account_id == bindparam("of_account"))


def hash_of(client_id: str) -> bytes:
    """What a client is known by: the id it gives itself is as good as a name for what it does elsewhere."""
    return hashlib.sha256(client_id.encode()).digest()


# --- devices --------------------------------------------------------------------------------------------------------

def seen(device_id: int, at: int) -> dict[str, int]:
    """A row of :data:`SEEN`."""
    return {"of_device": device_id, "at": at}


def insert_device(account: Account, device: Device, turn: Turn) -> None:
    """A client that was not known."""
    account[KNOWN][device.client_hash] = device
    turn.write(account, _INSERT, {
        "id": device.id, "account_id": account.id, "client_hash": device.client_hash, "software": device.software,
        "device": device.device, "has_password": device.has_password, "first_seen": device.first_seen,
        "last_seen": device.last_seen,
    })  # fmt: skip


def update_device(account: Account, device: Device, turn: Turn) -> None:
    """Its names are others, or it has shown the password."""
    turn.write(account, _UPDATE, {
        "of_device": device.id, "new_software": device.software, "new_name": device.device,
        "knows_it": device.has_password,
    })  # fmt: skip


def delete_device(account: Account, device: Device, turn: Turn) -> None:
    """It is not known any more, and its tokens are void."""
    account[KNOWN].pop(device.client_hash, None)
    drop_tokens(account, device, turn)
    turn.write(account, _DELETE, {"of_device": device.id})


def forget_password(account: Account, keeper: int, turn: Turn) -> None:
    """The password is another, which no device has shown but that with the id `keeper`. All tokens are void."""
    for device in account[KNOWN].values():
        device.has_password = device.id == keeper
    turn.write(account, _FORGET_PASSWORD, {"of_account": account.id, "keeper": keeper})
    drop_all_tokens(account, turn)


def delete_all(account: Account, turn: Turn) -> None:
    """No client of `account` is known any more."""
    drop_all_tokens(account, turn)
    account[KNOWN].clear()
    turn.write(account, _DELETE_ALL, {"of_account": account.id})


# --- tokens ---------------------------------------------------------------------------------------------------------

def add_token(account: Account, device: Device, token: Token, turn: Turn) -> None:
    """Put `token` in the slot "new"; what is there was never used, and goes (XEP-0484 §3.4)."""
    if device.new is not None:
        turn.write(account, _DELETE_TOKEN, {"of_device": device.id, "slot": True})
    device.new = token
    turn.write(account, _INSERT_TOKEN, {
        "device_id": device.id, "is_new": True, "account_id": account.id, "mechanism": token.mechanism,
        "nonce": token.nonce, "expires_at": token.expires_at, "counter": token.counter,
    })  # fmt: skip


def promote(account: Account, device: Device, turn: Turn) -> None:
    """The token in the slot "new" was used: it is the current one, and the one before is void (XEP-0484 §6.1)."""
    token = device.new
    assert token is not None
    if device.current is not None:
        turn.write(account, _DELETE_TOKEN, {"of_device": device.id, "slot": False})
    device.current, device.new = token, None
    turn.write(account, _USE_TOKEN, {"of_device": device.id, "slot": True, "count": token.counter})


def write_counter(account: Account, device: Device, turn: Turn) -> None:
    """The current token was used with another count."""
    assert device.current is not None
    turn.write(account, _USE_TOKEN, {"of_device": device.id, "slot": False, "count": device.current.counter})


def drop_current(account: Account, device: Device, turn: Turn) -> None:
    """The current token is void."""
    device.current = None
    turn.write(account, _DELETE_TOKEN, {"of_device": device.id, "slot": False})


def drop_tokens(account: Account, device: Device, turn: Turn) -> None:
    """All tokens of a device are void."""
    device.new = device.current = None
    turn.write(account, _DELETE_TOKENS, {"of_device": device.id})


def drop_all_tokens(account: Account, turn: Turn) -> None:
    """All tokens of all devices of `account` are void."""
    for device in account[KNOWN].values():
        device.new = device.current = None
    turn.write(account, _DELETE_ALL_TOKENS, {"of_account": account.id})
