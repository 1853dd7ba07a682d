"""slixmpp as an external component (XEP-0114): a service at a domain of its own, which remembers what it saw."""

from __future__ import annotations

import asyncio

from live_server import COMPONENT_PORT, ServerProcess
from slixmpp import JID, ComponentXMPP
from slixmpp.stanza import Message, Presence
from waiting import PATIENCE, until


class SlixComponent(ComponentXMPP):
    """One component of `server`, at `domain`. It echoes chat messages, and lets in who asks for its presence."""

    def __init__(self, server: ServerProcess, domain: str, secret: str) -> None:
        super().__init__(domain, secret, server.address, COMPONENT_PORT)
        self.domain = domain
        self.seen: list[Message | Presence] = []
        self.starts = 0
        self.auto_authorize = None
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199")
        self.plugin["xep_0030"].add_identity("gateway", "irc", name="Chats elsewhere")
        self.add_event_handler("session_start", self._started)
        self.add_event_handler("message", self._echo)
        self.add_event_handler("message_error", self.seen.append)
        self.add_event_handler("presence_subscribe", self._let_in)
        for kind in ("available", "unavailable", "subscribed", "unsubscribed", "unsubscribe"):
            self.add_event_handler(f"presence_{kind}", self.seen.append)

    async def attach(self) -> SlixComponent:
        """Connects, and returns once the server has taken the handshake."""
        before = self.starts
        self.connect()
        await self.has_started(before + 1)
        return self

    async def has_started(self, times: int) -> None:
        """Returns once it has attached so often."""
        await until(lambda: self.starts >= times, lambda: f"attached {self.starts} times, not {times}")

    async def leave(self) -> None:
        """Ends the stream properly, whatever state it is in."""
        if self.transport is not None:
            await asyncio.wait_for(self.disconnect(wait=PATIENCE), PATIENCE)
        else:
            self.cancel_connection_attempt()

    def _started(self, _: object) -> None:
        self.starts += 1

    def _echo(self, message: Message) -> None:
        self.seen.append(message)
        if message["body"]:
            self.send_message(message["from"], f"echo: {message['body']}", mtype="chat", mfrom=message["to"])

    def _let_in(self, presence: Presence) -> None:
        self.seen.append(presence)
        me, you = presence["to"].bare, presence["from"].bare
        for kind in ("subscribed", None, "subscribe"):
            self.send_presence(pto=you, pfrom=me if kind else f"{me}/there", ptype=kind)

    async def sees(self, kind: str, from_: str, to: str) -> None:
        """Returns once a stanza of that type came."""

        def found() -> bool:
            return any((s["type"], s["from"], s["to"]) == (kind, JID(from_), JID(to)) for s in self.seen)

        await until(found, lambda: f"{kind} from {from_} to {to}: {[str(stanza) for stanza in self.seen]}")
