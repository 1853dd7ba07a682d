"""What systemd is told (sd_notify(3)): ready, reloading, stopping, and that the event loop is alive.

Without ``NOTIFY_SOCKET`` in the environment nobody listens and nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import MutableMapping

import structlog

log = structlog.get_logger(__name__)


class Notifier:
    """Sends states to the datagram socket at `address` ("" for nobody, "@…" for an abstract one).

    `watchdog` is the interval in seconds after which the service manager takes silence for death; 0 for never.
    """

    def __init__(self, address: str = "", *, watchdog: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = watchdog / 2
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] | None = None) -> Notifier:
        """As the service manager says; its variables are taken out, so that no child answers for us."""
        variables = os.environ if environment is None else environment
        address = variables.pop("NOTIFY_SOCKET", "")
        microseconds, pid = variables.pop("WATCHDOG_USEC", ""), variables.pop("WATCHDOG_PID", "")
        is_ours = not pid or pid == str(os.getpid())
        return cls(address, watchdog=int(microseconds) / 1e6 if is_ours and microseconds.isdigit() else 0.0)

    def ready(self) -> None:
        """The server serves, from now on or again."""
        self._send("READY=1")
        if self._interval and self._timer is None:
            self._alive()

    def reloading(self) -> None:
        """The configuration is being read; :meth:`ready` ends this, whatever came of it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000}")

    def stopping(self) -> None:
        """The server is about to end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._send("STOPPING=1")

    def _alive(self) -> None:
        """A sign of life by the event loop itself: one that hangs gives none, and is started anew."""
        self._send("WATCHDOG=1")
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._alive)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), self._address)
        except OSError as error:
            log.warning("systemd could not be told", state=state.partition("=")[0], error=error.strerror)
