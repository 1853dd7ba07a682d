"""Importing accounts: one part of a file at a time, all of it in one ticket or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xmppchat.components.accounts import store
from xmppchat.components.accounts.component import Accounts
from xmppchat.components.accounts.records import Record
from xmppchat.components.accounts.store import Credentials
from xmppchat.core.account import Account
from xmppchat.core.commands import CommandError
from xmppchat.core.turn import Turn
from xmppchat.protocol.errors import StanzaError


@dataclass(frozen=True, slots=True)
class Policy:
    """What becomes of accounts that exist: refused, or left alone, or given the imported passwords."""

    skip_existing: bool = False
    replace_passwords: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Report:
    """Addresses by what became of them. `exist` and `reserved` (of deleted accounts) were refused."""

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    exist: list[str] = field(default_factory=list)
    reserved: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, object]:
        """Numbers, and the names that were refused."""
        lists = {name: getattr(self, name) for name in ("added", "replaced", "skipped", "exist", "reserved")}
        counts: dict[str, object] = {name: len(names) for name, names in lists.items()}
        return counts | {"names": [*self.exist, *self.reserved]}


async def import_part(accounts: Accounts, records: Sequence[Record], policy: Policy, turn: Turn) -> Report:
    """Put the writes for `records` into `turn`; each names another account. Raises :class:`CommandError`.

    Everything slow comes first, and the decisions without a pause behind it: they are made on what then is true.
    """
    by_name = {one.account.bare: one for one in records}
    if len(by_name) < len(records):
        raise CommandError("an account stands there twice")
    reserved = await _reserved(accounts, records)
    before = _sort(await _in_memory(accounts, records), reserved, policy)
    keys = {} if policy.dry_run else await _keys(accounts, [by_name[bare] for bare in before.added + before.replaced])
    found = await _in_memory(accounts, records)
    report = _sort(found, reserved, policy)
    if policy.dry_run:
        return report
    if not keys.keys() >= {*report.added, *report.replaced}:
        raise CommandError("accounts were changed meanwhile; import again")
    in_memory = {account.jid.bare: account for account in found}
    for bare in report.added:
        accounts.insert(in_memory[bare], keys[bare], by_name[bare].bcrypt, turn)
    for bare in report.replaced:
        accounts.set_keys(in_memory[bare], keys[bare], by_name[bare].bcrypt, turn)
    return report


def _sort(found: Sequence[Account], reserved: set[str], policy: Policy) -> Report:
    report = Report()
    for account in found:
        bare = account.jid.bare
        if account.exists:
            kind = report.replaced if policy.replace_passwords else None
            (kind if kind is not None else report.skipped if policy.skip_existing else report.exist).append(bare)
        else:
            (report.reserved if bare in reserved else report.added).append(bare)
    return report


async def _in_memory(accounts: Accounts, records: Sequence[Record]) -> list[Account]:
    """The accounts, all there at one moment."""
    directory = accounts.kernel.directory
    while True:
        found = [directory.peek(one.account.bare) for one in records]
        missing = [one.account for one, account in zip(records, found, strict=True) if account is None]
        if not missing:
            return [account for account in found if account is not None]
        await asyncio.gather(*[directory.get(jid) for jid in missing])


async def _reserved(accounts: Accounts, records: Sequence[Record]) -> set[str]:
    by_domain: dict[str, list[str]] = {}
    for one in records:
        by_domain.setdefault(one.account.domain, []).append(one.account.local)
    reserved: set[str] = set()
    for domain, names in by_domain.items():
        rows = await accounts.kernel.reader.fetch(store.TOMBSTONES, {"domain": domain, "localparts": names})
        reserved.update(f"{row.localpart}@{domain}" for row in rows)
    return reserved


async def _keys(accounts: Accounts, records: Sequence[Record]) -> Mapping[str, Credentials]:
    keys: dict[str, Credentials] = {}
    for one in records:
        try:
            keys[one.account.bare] = await accounts.passwords.derive(one.password) if one.password else one.keys
        except StanzaError as error:
            raise CommandError(f"{one.account}: {error.text}") from None
    return keys
