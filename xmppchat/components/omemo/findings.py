"""What can be wrong with the keys of an account, in words: each finding says what that means and what helps.

Texts are for people who know their apps, not OMEMO. Those for the admin name commands. In braces stand the values of a
finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Severity(Enum):
    """How bad it is: messages get lost; they will, or the state is not sound; worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding: what is wrong, what the owner of the account does about it, what the admin can do."""

    name: str
    severity: Severity
    wrong: str
    owner: str
    admin: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found: in which version of OMEMO, at which device ("" for none), with the `values` of the
    texts."""

    kind: Kind
    version: str
    device: str = ""
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def wrong(self) -> str:
        """What is wrong."""
        return self.kind.wrong.format_map(self.values)

    def remedy(self, account: str, *, is_admin: bool = False) -> str:
        """What the owner of `account` can do about it, or the admin."""
        text = self.kind.admin if is_admin else self.kind.owner
        return text.format_map({**self.values, "account": account})


_OPEN: Final = "open the app on that device and keep it online for a minute: it publishes what is missing"
_OR_REMOVE: Final = 'if you have the device no more, use "Remove a lost device" with the number {id}'
_AGAIN: Final = (
    "log in with the app again: it sets this right as it publishes its keys; if not, switch OMEMO off and on in the app"
)
_ADMIN_REMOVES: Final = "if its owner has it no more: `xmppchat omemo remove {account} {id}`"
_TELL: Final = "only an app can put it right: tell the owner what to do"

LIST_MISSING: Final = Kind(
    "list-missing", Severity.ERROR,
    "there are keys of {count} device(s), but no list of devices: nobody finds the keys, so nobody can encrypt",
    "open the app on each of your devices and keep it online for a minute: it puts itself on the list",
    _TELL,
)  # fmt: skip
LIST_UNREADABLE: Final = Kind(
    "list-unreadable", Severity.ERROR,
    "the list of devices cannot be read, so contacts cannot encrypt: {fault}",
    "update and restart the app that you used last, then open the others: each publishes the list anew",
    _TELL,
)  # fmt: skip
DEVICE_WITHOUT_BUNDLE: Final = Kind(
    "device-without-bundle", Severity.ERROR,
    "the device is on the list, but its keys are not there: nobody can encrypt to it, and some apps then send nothing",
    f"{_OPEN}; {_OR_REMOVE}",
    _ADMIN_REMOVES,
)  # fmt: skip
BUNDLE_UNREADABLE: Final = Kind(
    "bundle-unreadable", Severity.ERROR,
    "the keys of the device cannot be read, so contacts cannot encrypt to it: {fault}",
    f"update the app on that device, open it and keep it online for a minute; {_OR_REMOVE}",
    _ADMIN_REMOVES,
)  # fmt: skip
STRAY_BUNDLE: Final = Kind(
    "bundle-unreadable", Severity.ERROR,
    "keys stand under {name!r}, which is no number of a device: nobody finds them",
    "update the app that you used last: it does not name its keys as it should",
    "it is a fault of the owner's app; it harms nobody else",
)  # fmt: skip
DEVICE_DROPPED: Final = Kind(
    "list-overwritten", Severity.ERROR,
    "the device published keys on {date}, but the list of {list_date} leaves it out: another app has overwritten the "
    "list, or taken the device off; what contacts write does not reach it",
    "open the app on that device and keep it online for a minute: it puts itself on the list; if you took it off, "
    'use "Remove a lost device" with the number {id}, too; if it happens again, update your other apps',
    "if its owner took it off: `xmppchat omemo remove {account} {id}` removes the keys, too; if not, the log names who "
    "published the list",
)  # fmt: skip
BUNDLE_WITHOUT_DEVICE: Final = Kind(
    "bundle-without-device", Severity.WARNING,
    "keys of {date} are there for a device that is not on the list: nobody encrypts to it; it is gone, or was never "
    "set up completely",
    f"{_OPEN}; {_OR_REMOVE}",
    _ADMIN_REMOVES,
)  # fmt: skip
NO_PREKEYS: Final = Kind(
    "no-prekeys", Severity.ERROR,
    "the device has no one-time key left: who has not written to it before cannot begin",
    f"{_OPEN}; {_OR_REMOVE}",
    _ADMIN_REMOVES,
)  # fmt: skip
FEW_PREKEYS: Final = Kind(
    "few-prekeys", Severity.WARNING,
    "the device has {count} one-time key(s) left, fewer than {least}: each new contact uses one up",
    f"open the app on that device and keep it online for a minute: it makes new ones; {_OR_REMOVE}",
    _ADMIN_REMOVES,
)  # fmt: skip
ACCESS_MODEL: Final = Kind(
    "access-model", Severity.ERROR,
    'not everybody may read {node} (it is "{model}", not "open"): strangers and members of groups cannot encrypt',
    _AGAIN,
    _TELL,
)  # fmt: skip
MAX_ITEMS: Final = Kind(
    "max-items", Severity.ERROR,
    "{node} keeps {count} bundle(s) only: the keys of one device push out those of another",
    "update the app that you used last, then open each of your apps: they set it so that all bundles are kept",
    _TELL,
)  # fmt: skip
NOT_KEPT: Final = Kind(
    "not-kept", Severity.ERROR,
    "{node} does not keep what is published there: who looks later finds nothing",
    _AGAIN,
    _TELL,
)  # fmt: skip
UNSEEN: Final = Kind(
    "unseen", Severity.NOTE,
    "the device has published nothing for {days} days: perhaps it is not used any more; if it only reads, the server "
    "does not see that",
    _OR_REMOVE,
    _ADMIN_REMOVES,
)  # fmt: skip
ONE_VERSION: Final = Kind(
    "one-version", Severity.NOTE,
    "the device is on the list of {version}, not on that of {other}: contacts whose apps know only that miss it",
    "nothing, where all of your contacts reach you; an update of the app may bring the other version",
    "nothing",
)  # fmt: skip
TOO_MANY: Final = Kind(
    "too-many", Severity.WARNING,
    "{count} more devices or bundles are there, and were not looked at: contacts encrypt to each device on the list",
    "remove the devices that you do not have any more, in the settings of your app",
    "somebody may be filling the account: `xmppchat devices {account}` shows who can log in",
)  # fmt: skip

#: All of them, for the documentation and the tests.
KINDS: Final = (
    LIST_MISSING, LIST_UNREADABLE, DEVICE_WITHOUT_BUNDLE, BUNDLE_UNREADABLE, STRAY_BUNDLE, DEVICE_DROPPED,
    BUNDLE_WITHOUT_DEVICE, NO_PREKEYS, FEW_PREKEYS, ACCESS_MODEL, MAX_ITEMS, NOT_KEPT, UNSEEN, ONE_VERSION, TOO_MANY,
)  # fmt: skip
