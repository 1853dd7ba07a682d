"""What the clients of a run are told: plain data, the same for the harness and for the processes of the clients."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .connection import Endpoint


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One client. `kind` is chat, mute (chat that never sends) or tail; `rate` is messages a second while connected."""

    account: str
    resource: str
    kind: str = "chat"
    has_sm: bool = True
    has_carbons: bool = True
    rate: float = 10.0
    #: Connect to this port of 127.0.0.1 (a fault proxy), not to the server; 0: to the server.
    proxy_port: int = 0
    #: Mean time after which the client cuts its connection by itself, s; 0: never.
    restless: float = 0.0
    #: Half of these times it forgets its session, too, as a client does that was ended by its system.
    is_forgetful: bool = False
    #: Mean time that it stays away after it cut its connection, s; 0: it is back at once.
    absence: float = 0.0
    #: Each new session has a resource of its own.
    is_renaming: bool = False
    #: It says now and then that nobody looks at it, or that somebody does (XEP-0352).
    is_dozing: bool = False
    #: It asks for receipts, and gives some (XEP-0184).
    has_receipts: bool = False

    @property
    def name(self) -> str:
        """The client's name in logs and bodies."""
        return f"{self.account}.{self.resource}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process of clients runs. Times are in seconds."""

    run: str
    seed: int
    endpoint: Endpoint
    password: str
    accounts: list[str]
    clients: list[ClientPlan]
    logs: str
    #: A server that answers nothing for so long is taken for gone.
    silence: float = 20.0
    #: Give up on a server that cannot be reached for so long.
    patience: float = 60.0
    #: So many messages of a client may be without acknowledgement, then it waits.
    window: int = 50
    #: These accounts archive nothing (XEP-0441 §2, default "never").
    unkept: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @staticmethod
    def load(path: Path) -> Plan:
        """Read what `save` wrote."""
        data = json.loads(path.read_text())
        data["endpoint"] = Endpoint(**data["endpoint"])
        data["unkept"] = tuple(data["unkept"])
        data["clients"] = [ClientPlan(**client) for client in data["clients"]]
        return Plan(**data)
