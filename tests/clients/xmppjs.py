"""@xmpp/client (npm) as a person's client: a process of Node.js that is told what to do, and tells what it sees."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from live_server import STARTTLS_PORT, ServerProcess, User
from waiting import until

MakeXmppJs = Callable[..., "XmppJs"]
_FOLDER = Path(__file__).parent / "javascript"


class XmppJs:
    """One client of `server`; it checks the certificate, and reconnects by itself.

    With what an earlier one `kept` (its event "token") it is the same installation, and has no password.
    """

    def __init__(
        self, server: ServerProcess, user: User, resource: str, kept: Mapping[str, Any] | None = None
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self._server = server
        self._user = user
        self._resource = resource
        self._kept = kept
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def login(self) -> XmppJs:
        """Start it; return when it is logged in and has sent presence."""
        await self.start()
        await self.sees("online")
        self.do("available")
        await self.sees("present")
        return self

    async def start(self) -> None:
        """Start it; what becomes of that is among its events."""
        server = self._server
        username = self._user.jid.partition("@")[0]
        self._process = await asyncio.create_subprocess_exec(
            "node", str(_FOLDER / "client.mjs"), f"xmpp://{server.address}:{STARTTLS_PORT}", server.domain, username,
            "" if self._kept else self._user.password, self._resource, json.dumps(dict(self._kept or {})),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(server.certificates.ca)},
        )
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.events.append(json.loads(line))

    def do(self, what: str, **arguments: str) -> None:
        """Tell it to do something; see client.mjs."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")

    def all(self, event: str) -> list[dict[str, Any]]:
        """All events of a kind so far."""
        return [seen for seen in self.events if seen["event"] == event]

    def bodies(self) -> list[str]:
        """Bodies of all messages, in the order in which they came."""
        return [seen["body"] for seen in self.all("message") if seen["body"]]

    async def sees(self, event: str, count: int = 1) -> None:
        """Return once it has seen so many events of a kind."""
        await until(lambda: len(self.all(event)) >= count, lambda: f"{count} × {event} in {self.events}")

    async def stop(self) -> None:
        """End it."""
        if self._process is None or self._reading is None:
            return
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._reading
