"""All connections of clients: what they share, who is there, who is silent."""

from __future__ import annotations

import math
from typing import Any

from xmppchat.core.authentication import Authenticator
from xmppchat.core.kernel import Kernel
from xmppchat.core.runtime import Timer
from xmppchat.network.c2s import Connection
from xmppchat.network.open_connections import OpenConnections
from xmppchat.protocol.errors import StreamError
from xmppchat.protocol.stream_settings import StreamSettings

#: How often it is looked at who is silent, s.
LOOK_SECONDS = 30.0


class Connections(OpenConnections[Connection]):
    """What all c2s connections share: settings, the books on logins, who is connected."""

    def __init__(
        self, kernel: Kernel, settings: StreamSettings, authenticator: Authenticator, contexts: Any
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.settings = settings
        self.authenticator = authenticator
        self.contexts = contexts
        self.sent = kernel.counts.sent
        self._watch: Timer | None = None

    def new(self) -> Connection:
        """A connection for a transport that was just accepted."""
        return Connection(self)

    def watch(self) -> None:
        """Look who is silent, and again after :data:`LOOK_SECONDS`, until the server stops."""
        idle = self.kernel.limits.idle_seconds
        if idle:
            patience = max(1, math.ceil(idle / LOOK_SECONDS))
            for connection in list(self.open):
                connection.watch(patience)
        self._watch = self.kernel.clock.call_later(LOOK_SECONDS, self.watch)

    def reconfigure(self, settings: StreamSettings) -> None:
        """Go on with `settings` and the kernel's limits of now; streams that are open follow."""
        self.settings = settings
        for connection in list(self.open):
            connection.reconfigure()

    def close_all(self, error: StreamError) -> None:
        """End every stream."""
        if self._watch is not None:
            self._watch.cancel()
        super().close_all(error)
