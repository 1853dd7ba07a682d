"""What all clients of a run wrote down, put together by message: the material that the judge works on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .oracle.archive import Row
from .oracle.log import Event, read
from .oracle.plan import ClientPlan, Plan

#: What a line of a timeline says anyway.
_SHOWN = ("t", "client", "body", "bodies")


@dataclass(slots=True)
class Sending:
    """A message as its sender tells it."""

    body: str
    sender: ClientPlan
    to: str
    mid: str
    number: int  # order among the sender's
    is_acked: bool = False
    bounces: list[str] = field(default_factory=list)
    times_sent: int = 1
    #: Accounts that archive nothing but what they write to themselves.
    unkept: frozenset[str] = frozenset()

    @property
    def recipient(self) -> str:
        """The account it is for."""
        return self.to.partition("@")[0]

    @property
    def parties(self) -> tuple[str, ...]:
        """The accounts that may see it."""
        return tuple(dict.fromkeys((self.sender.account, self.recipient)))

    @property
    def archives(self) -> tuple[str, ...]:
        """The accounts that must have it."""
        parties = self.parties
        return parties if len(parties) == 1 else tuple(one for one in parties if one not in self.unkept)


@dataclass(slots=True)
class History:
    """A run: all sendings by body, all events by client, every account's archive at the end."""

    plan: Plan
    sendings: dict[str, Sending]
    events: Mapping[str, list[Event]]
    archives: Mapping[str, list[Row]]

    def timeline(self, body: str) -> list[str]:
        """All that any client or archive tells of a message, in order of time."""
        lines: list[tuple[float, str]] = []
        for client, events in self.events.items():
            for event in events:
                if event.get("body") == body or body in event.get("bodies", ()):
                    details = {key: value for key, value in event.items() if key not in _SHOWN}
                    lines.append((event["t"], f"{event['t']:.3f} {client}: {details}"))
        lines.sort()
        ids = [
            f"archive of {account}: row {index} of {len(rows)}, id {row.id}, {row.stamp}"
            for account, rows in self.archives.items()
            for index, row in enumerate(rows)
            if row.body == body
        ]
        return [line for _, line in lines] + ids


def collect(plan: Plan, logs: Path, archives: Mapping[str, list[Row]]) -> History:
    """Read the logs of the plan's clients."""
    events: dict[str, list[Event]] = defaultdict(list)
    sendings: dict[str, Sending] = {}
    by_id: dict[str, Sending] = {}
    for client in plan.clients:
        number = 0
        for event in read(logs / f"{client.name}.jsonl"):
            events[client.name].append(event)
            match event["event"]:
                case "intent":
                    number += 1
                    unkept = frozenset(plan.unkept)
                    sending = Sending(event["body"], client, event["to"], event["id"], number, unkept=unkept)
                    assert sending.body not in sendings, "a client repeated a body"
                    sendings[sending.body] = by_id[sending.mid] = sending
                case "acked":
                    for body in event["bodies"]:
                        sendings[body].is_acked = True
                case "resend":
                    sendings[event["body"]].times_sent += 1
                case "bounce" if event["id"] in by_id:
                    by_id[event["id"]].bounces.append(event["condition"])
    return History(plan, sendings, events, archives)
