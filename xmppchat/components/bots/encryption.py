"""What a bot needs of its device (XEP-0384), and where that comes from: a package more, which need not be there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from xmppchat.components.bots.session import BotSession
from xmppchat.components.bots.store import Values
from xmppchat.components.bots.thread import LoopThread
from xmppchat.components.bots.vault import Vault
from xmppchat.jid import JID
from xmppchat.protocol.element import Element

#: What to do where the package is missing.
MISSING: Final = "encryption needs a package more: pip install 'xmppchat[omemo]', and a restart"

#: Packages without which there is no encryption.
_PACKAGES: Final = frozenset({"omemo", "oldmemo", "twomemo", "doubleratchet", "x3dh", "xeddsa"})


@dataclass(frozen=True, slots=True)
class Encrypted:
    """A message that is ready to be sent: its payload, and what :class:`SentMessage` of the services tells of it."""

    children: Sequence[Element]
    namespaces: tuple[str, ...]
    devices: int
    left_out: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decrypted:
    """What was in a message: `body` is "" where it was only for the devices. See :class:`events.BotMessage`."""

    body: str
    namespace: str
    is_verified: bool


@dataclass(frozen=True, slots=True)
class KnownDevice:
    """A device of an account, as the bot's device knows it. `fingerprint` is hexadecimal, `trust` one of the words of
    docs/admin/bots.md, `is_own` that of the bot itself; `label` as it calls itself.
    """

    owner: str
    device_id: int
    fingerprint: str
    trust: str
    namespaces: tuple[str, ...]
    is_active: bool
    label: str
    is_own: bool = False


class Unreadable(Exception):
    """A message cannot be read, or must not be; the text says why."""


class Device(Protocol):
    """The device of one bot. Its work is done on another thread, one thing at a time."""

    device_id: int
    fingerprint: str

    async def encrypt(self, to: JID, body: str, now: int) -> Encrypted:
        """Encrypt `body`, written at `now` (ms), for the devices of `to`.

        Raises :class:`NotAcceptable`, with who cannot read it and why.
        """

    async def decrypt(self, sender: JID, elements: Sequence[Element], sent_at: int) -> Decrypted:
        """What is in the first of `elements` that is for this device; `sent_at` in ms. Raises :class:`Unreadable`."""

    async def list_changed(self, owner: JID, node: str, payload: Element) -> None:
        """`owner` has published another list of devices at `node`."""

    async def known(self, contact: str = "") -> list[KnownDevice]:
        """Devices of the bare JID `contact`, or of everybody the bot knows, its own among them."""

    async def trust(self, contact: str, device_id: int, *, is_trusted: bool) -> KnownDevice | None:
        """The admin decides about a device; None where it is not known."""

    async def rotate(self) -> None:
        """Exchange what should be exchanged once a week."""

    async def stop(self) -> None:
        """End what runs for it."""


#: Starts the device of a bot, made on its first use: (session, values, vault, thread, whether devices are trusted
#: blindly) → device.
StartDevice = Callable[[BotSession, Values, Vault, LoopThread, Callable[[], bool]], Awaitable[Device]]


def _import() -> StartDevice | None:
    try:
        from xmppchat.components.bots.device import start_device
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        return None
    return start_device


async def find() -> StartDevice | None:
    """How devices are started, None where the package is missing. Loading it takes half a second, on another thread."""
    return await asyncio.to_thread(_import)
