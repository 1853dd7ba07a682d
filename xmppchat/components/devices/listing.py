"""What has access to an account, as its owner (XEP-0494 §3.1) and the admin see it."""

from __future__ import annotations

from dataclasses import dataclass

from xmppchat.components.devices.keys import TokenKey
from xmppchat.components.devices.store import KNOWN, Device
from xmppchat.core.account import Account
from xmppchat.core.runtime import timestamp
from xmppchat.core.session import Session
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS


@dataclass(frozen=True, slots=True)
class Entry:
    """One client; times are in ms. `device` is None for a session of a client that does not say which it is; `until`
    is when its last token ends, 0 where it has none."""

    id: str
    device: Device | None
    sessions: tuple[Session, ...]
    first_seen: int
    last_seen: int
    has_password: bool
    until: int

    @property
    def has_access(self) -> bool:
        """Whether it is there, or can come back."""
        return bool(self.sessions or self.has_password or self.until)

    @property
    def software(self) -> str:
        """What it calls itself."""
        return self.device.software if self.device is not None else ""

    @property
    def device_name(self) -> str:
        """What it says that it runs on."""
        return self.device.device if self.device is not None else ""


def entries(account: Account, key: TokenKey, now: int) -> list[Entry]:
    """All clients of `account`, the longest known first; those that cannot come back are among them."""
    known = account[KNOWN].values()
    by_device: dict[int, list[Session]] = {device.id: [] for device in known}
    others: list[Session] = []
    for session in account.sessions.values():
        by_device.get(session.device_id, others).append(session)
    found = [_of_device(device, tuple(by_device[device.id]), now) for device in known]
    for session in others:
        at = session.connected_at
        name = key.session_id(account.id, session.jid.resource, at)
        # It gave no id, so it has no token: it came with the password, and may have it still.
        found.append(Entry(name, None, (session,), at, now, has_password=True, until=0))
    return found


def _of_device(device: Device, sessions: tuple[Session, ...], now: int) -> Entry:
    last_seen = now if sessions else device.last_seen
    until = max((token.expires_at for token in device.tokens if token.expires_at > now), default=0)
    return Entry(str(device.id), device, sessions, device.first_seen, last_seen, device.has_password, until)


def clients_element(found: list[Entry]) -> Element:
    """``<clients/>`` with those that have access."""
    return Element("clients", NS.CLIENT_ACCESS, None, [_client(entry) for entry in found if entry.has_access])


def _client(entry: Entry) -> Element:
    def child(name: str, *children: Element) -> Element:
        return Element(name, NS.CLIENT_ACCESS, None, children)

    auth = [name for name, has_it in (("password", entry.has_password), ("fast", entry.until)) if has_it]
    agent = [("software", entry.software), ("device", entry.device_name)]
    attributes = {"connected": "true" if entry.sessions else "false", "id": entry.id, "type": "session"}
    return Element("client", NS.CLIENT_ACCESS, attributes, [
        text_element("first-seen", NS.CLIENT_ACCESS, timestamp(entry.first_seen)),
        text_element("last-seen", NS.CLIENT_ACCESS, timestamp(entry.last_seen)),
        child("auth", *[child(name) for name in auth]),
        Element("permission", NS.CLIENT_ACCESS, {"status": "unrestricted"}),
        child("user-agent", *[text_element(name, NS.CLIENT_ACCESS, text) for name, text in agent if text]),
    ])  # fmt: skip


def row(entry: Entry) -> dict[str, object]:
    """An entry for the admin."""
    ways = [name for name, has_it in (("password", entry.has_password), ("token", entry.until)) if has_it]
    return {
        "id": entry.id, "software": entry.software or "-", "device": entry.device_name or "-",
        "first seen": timestamp(entry.first_seen)[:16], "last seen": timestamp(entry.last_seen)[:16],
        "connected": ", ".join(sorted(session.jid.resource for session in entry.sessions)) or "no",
        "logs in with": ", ".join(ways) or "nothing: its access was ended",
        "token until": timestamp(entry.until)[:16] if entry.until else "-",
    }  # fmt: skip
