"""Runs transcripts over TCP: against a server in this process, or against any with open registration."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xmppchat.core.callers import is_admin
from xmppchat.core.config import ListenConfig, ServerConfig
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, escape_attribute
from xmppchat.server import Server
from xmppchat.testing.memory import create_account, settle
from xmppchat.testing.runner import ADMINS, Habit
from xmppchat.testing.wire_client import TcpClient, WireClient


class TcpDriver:
    """A server at an address, with STARTTLS or (`is_direct`) direct TLS, and open registration."""

    habits: Sequence[Habit] = ()
    #: A stanza that everybody gets, or its sender an error for: kind, type, content.
    sentinel = ("message", "headline", "")

    def __init__(self, name: str, address: str, port: int, domain: str, *, is_direct: bool = False) -> None:
        self.name = name
        self.domain = domain
        self.admins = iter(ADMINS)
        self._address = address
        self._port = port
        self._is_direct = is_direct
        self._sentinels = 0

    async def create_account(self, localpart: str, password: str) -> None:
        """Make an account in-band (XEP-0077)."""
        client = await self._connect()
        await client.register(localpart, password)
        await client.close()

    async def connect(self) -> WireClient:
        """A client whose stream is open and secure."""
        return await self._connect()

    async def _connect(self) -> TcpClient:
        return await TcpClient.connect(self._address, self._port, self.domain, is_direct=self._is_direct)

    async def settle(self, clients: Sequence[WireClient]) -> None:
        """A ping behind what each client sent, then a sentinel message behind what that made others receive."""
        bound = [client for client in clients if client.jid and not client.is_closed]
        await self._barriers(bound)
        await self._settle_server()
        # What was sent may have ended a stream.
        await self._exchange_sentinels([client for client in bound if not client.is_closed])

    async def advance(self, seconds: float) -> None:
        """Not on a real server."""
        raise NotImplementedError("a transcript that moves the clock runs in memory only")

    async def _barriers(self, clients: Sequence[WireClient]) -> None:
        await asyncio.gather(*(client.barrier() for client in clients))

    async def _exchange_sentinels(self, clients: Sequence[WireClient]) -> None:
        """A stanza of each to each: what a server sends from one to another keeps its order (RFC 6120 §10.1)."""
        self._sentinels += 1
        name = f"sentinel-{self._sentinels}"
        kind, type_, content = self.sentinel
        for sender in clients:
            for recipient in clients:
                to = escape_attribute(recipient.jid)
                sender.write(f"<{kind} type='{type_}' id='{name}' to='{to}'>{content}</{kind}>")
        await self._barriers(clients)
        for sender in clients:
            for recipient in clients:
                if not _take_now(sender, name, recipient.jid, "error"):  # refused: that is an answer as well
                    await recipient.take(partial(_is_sentinel, name=name, sender=sender.jid, kind=type_))

    async def _settle_server(self) -> None:
        """A server that answers stanza by stanza is settled when the sentinels are back."""


class OwnTcpDriver(TcpDriver):
    """A server of ours in this process, with real sockets on a loopback address."""

    def __init__(
        self, directory: Path, certificate: Path, key: Path, domain: str = "chat.example", *, is_direct: bool = False,
        **options: Any,
    ) -> None:  # fmt: skip
        address, port = "127.0.6.10", free_port("127.0.6.10")
        super().__init__("tls" if is_direct else "tcp", address, port, domain, is_direct=is_direct)
        config = ServerConfig.for_tests(
            [domain], data_dir=directory, certificate=certificate, key=key,
            **{"register": {"mode": "open"}, "admins": {domain: [f"{name}@{domain}" for name in ADMINS]}, **options},
        )
        listen = ListenConfig(
            addresses=(address,),
            starttls_port=0 if is_direct else port,
            direct_tls_port=port if is_direct else 0,
        )
        self.server = Server(replace(config, listen=listen))

    async def start(self) -> None:
        """Start the server."""
        await self.server.start()

    async def stop(self) -> None:
        """Stop it."""
        await self.server.stop()

    async def create_account(self, localpart: str, password: str) -> None:
        """Make an account in-band; that of an admin as the operator does, since it cannot be registered."""
        jid = JID.parse(f"{localpart}@{self.domain}")
        if is_admin(self.server.config, jid):
            await create_account(self.server.kernel, jid, password)
        else:
            await super().create_account(localpart, password)

    async def _settle_server(self) -> None:
        await settle(self.server.kernel)


def _is_sentinel(element: Element, *, name: str, sender: str, kind: str) -> bool:
    return (element.get("id"), element.get("from"), element.get("type")) == (name, sender, kind)


def _take_now(client: WireClient, name: str, sender: str, kind: str) -> bool:
    for element in client.inbox:
        if _is_sentinel(element, name=name, sender=sender, kind=kind):
            client.inbox.remove(element)
            return True
    return False


def free_port(address: str) -> int:
    """A port that nobody uses at `address` at the moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
