"""The history that a device shows: put together of what came live and what it fetched, as a client does it.

What comes live stands at the end. A page of the archive is put in behind the message it was asked for; what is there
already by its id is moved to its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .oracle.log import Event


@dataclass(slots=True)
class _Shown:
    """Bodies in the order of the screen, and the archive id of each as far as it is known ("": not yet)."""

    bodies: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)  # by body
    places: dict[str, str] = field(default_factory=dict)  # bodies by id
    twice: list[str] = field(default_factory=list)

    def append(self, body: str, archive_id: str) -> None:
        """It was written here, or came live: then its place is known, and that is behind all else."""
        was_placed = bool(self.ids.get(body))
        if self._is_known(body, archive_id):
            if was_placed or not archive_id:
                return
            self.bodies.remove(body)
        self.bodies.append(body)

    def insert(self, place: int, body: str, archive_id: str) -> int:
        """It stands in a page; the place behind it."""
        if self._is_known(body, archive_id):
            old = self.bodies.index(body)
            del self.bodies[old]
            place -= old < place
        self.bodies.insert(place, body)
        return place + 1

    def behind(self, archive_id: str) -> int:
        """The place behind the message with that id; the beginning where there is none."""
        body = self.places.get(archive_id)
        return 0 if body is None else self.bodies.index(body) + 1

    def _is_known(self, body: str, archive_id: str) -> bool:
        known = self.ids.get(body)
        if known is not None and known and known != archive_id:
            self.twice.append(body)  # nothing tells a client that it is the same
        if archive_id or known is None:
            self.ids[body] = archive_id
        if archive_id:
            self.places[archive_id] = body
        return known is not None


def rebuilt(events: Iterable[Event]) -> tuple[list[str], list[str]]:
    """What a device shows at the end, in order, and what of that it shows more than once."""
    shown = _Shown()
    place = 0
    for event in events:
        match event["event"]:
            case "intent":
                shown.append(event["body"], "")
            case "page":
                place = shown.behind(event["after"])
            case "recv" if event["via"] == "mam":
                place = shown.insert(place, event["body"], event["sid"])
            case "recv":
                shown.append(event["body"], event.get("sid", ""))
    return shown.bodies, shown.twice
