"""slixmpp as a person's client: it checks the certificate, remembers what it saw, accepts nobody by itself."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

from live_server import DIRECT_TLS_PORT, STARTTLS_PORT, ServerProcess
from slixmpp import JID, ClientXMPP
from slixmpp.exceptions import IqError
from slixmpp.stanza import Iq, Message, Presence
from waiting import PATIENCE, until

_SUBSCRIPTION = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")


class LoginRefused(Exception):
    """The login failed; the text says where."""


class Slix(ClientXMPP):
    """One slixmpp client of `server`; `ca` is the only authority it trusts."""

    def __init__(
        self,
        server: ServerProcess,
        jid: str,
        password: str,
        *,
        ca: Path | None = None,
        direct_tls: bool = False,
        mechanism: str | None = None,
    ) -> None:
        # A context of its own: `ca_certs` would only add to the authorities of the system.
        context = ssl.create_default_context(cafile=str(ca or server.certificates.ca))
        super().__init__(jid, password, sasl_mech=mechanism, ssl_context=context)
        self.enable_direct_tls = direct_tls
        self.enable_starttls = not direct_tls
        self.enable_plaintext = False
        self.auto_authorize = None
        self.auto_subscribe = False
        self.seen_messages: list[Message] = []
        self.seen_refusals: list[Message] = []
        self.seen_presences: list[Presence] = []
        self.seen_pushes: list[Iq] = []
        self._place = (server.address, DIRECT_TLS_PORT if direct_tls else STARTTLS_PORT)
        self._outcome: asyncio.Future[str] = self.loop.create_future()
        self.register_plugin("xep_0030")
        self.register_plugin("xep_0199")
        self.register_plugin("xep_0203")
        self.add_event_handler("message", self.seen_messages.append)
        self.add_event_handler("message_error", self.seen_refusals.append)
        self.add_event_handler("presence", self.seen_presences.append)
        self.add_event_handler("roster_update", self.seen_pushes.append)
        self.add_event_handler("ssl_invalid_chain", lambda error: self._settle(f"certificate: {error}"))
        self.add_event_handler("connection_failed", lambda error: self._settle(f"connection: {error}"))
        self.add_event_handler("failed_all_auth", lambda _: self._settle("authentication"))
        self.add_event_handler("disconnected", lambda reason: self._settle(f"disconnected: {reason}"))
        self.add_event_handler("session_start", lambda _: self._settle("session"))

    def _settle(self, outcome: str) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    async def login(self, *, available: bool = True) -> Slix:
        """Connects, fetches the roster and, if `available`, sends presence. Raises LoginRefused."""
        self.connect(*self._place)
        outcome = await asyncio.wait_for(self._outcome, PATIENCE)
        if outcome != "session":
            raise LoginRefused(outcome)
        await self.get_roster(timeout=PATIENCE)
        if available:
            self.send_presence()
            await self.settle()
        return self

    async def logout(self) -> None:
        """Ends the stream properly, whatever state it is in."""
        if self.transport is not None:
            await self.disconnect(wait=PATIENCE)
        else:
            self.cancel_connection_attempt()

    def say(self, to: str, body: str) -> None:
        """Sends a chat message."""
        self.send_message(JID(to), body, mtype="chat")

    async def settle(self, recipient: str = "") -> None:
        """Returns once the server has handled all that was sent to itself, and to the bare JID `recipient`.

        Order holds between two addresses (RFC 6120 §10.1), so the question behind the messages goes to a resource of
        the recipient's that nobody has; the refusal comes when they are dealt with.
        """
        await self.plugin["xep_0199"].send_ping(JID(self.boundjid.domain), timeout=PATIENCE)
        if recipient:
            with contextlib.suppress(IqError):
                await self.plugin["xep_0199"].send_ping(JID(f"{recipient}/nobody"), timeout=PATIENCE)

    @property
    def mechanism(self) -> str:
        """The SASL mechanism of the login."""
        used = self.plugin["feature_mechanisms"].mech
        assert used is not None
        return str(used.name)

    @property
    def verified_names(self) -> list[str]:
        """The domains in the server's certificate, as checked by the TLS layer."""
        assert self.transport is not None
        certificate = self.transport.get_extra_info("peercert") or {}
        return [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]

    @property
    def bodies(self) -> list[str]:
        """Bodies of the messages seen so far, in order."""
        return [message["body"] for message in self.seen_messages if message["body"]]

    async def sees_presence(self, bare: str, kind: str) -> Presence:
        """Returns once the latest presence from `bare` is of this `kind`: available, away ..., unavailable."""

        def latest() -> Presence | None:
            found = [p for p in self._presences_of(bare) if p["type"] not in _SUBSCRIPTION]
            return found[-1] if found and found[-1]["type"] == kind else None

        return await until(latest, lambda: f"{bare} {kind}: {self._presences_of(bare)}")

    async def sees_request(self, bare: str, kind: str) -> None:
        """Returns once `bare` sent this `kind` of subscription stanza: subscribe, subscribed, ..."""
        await until(
            lambda: any(p["type"] == kind for p in self._presences_of(bare)),
            lambda: f"{kind} of {bare}: {self._presences_of(bare)}",
        )

    def _presences_of(self, bare: str) -> list[Presence]:
        return [presence for presence in self.seen_presences if presence["from"].bare == bare]

    async def sees_bodies(self, *bodies: str) -> None:
        """Returns once as many messages came; they must be these, in this order."""
        await until(lambda: len(self.bodies) >= len(bodies), lambda: f"{bodies} at {self.boundjid}: {self.bodies}")
        assert self.bodies == list(bodies)

    async def sees_refusals(self, count: int) -> None:
        """Returns once so many messages came back as errors."""
        await until(lambda: len(self.seen_refusals) >= count, lambda: f"{count} refusals at {self.boundjid}")

    async def has_subscription(self, bare: str, subscription: str) -> None:
        """Returns once the roster says so of `bare`."""
        await until(
            lambda: self.subscription(bare) == subscription,
            lambda: f"{bare} is {subscription}, not {self.subscription(bare)}",
        )

    def subscription(self, bare: str) -> str:
        """none, to, from or both; "absent" where the roster has no such item."""
        return str(self.client_roster[bare]["subscription"]) if bare in self.client_roster else "absent"


MakeSlix = Callable[..., Slix]
