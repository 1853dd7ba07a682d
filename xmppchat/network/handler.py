"""What sits on a transport: a connection of a client, or of an external component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from xmppchat.network.transport import Transport


class Handler(Protocol):
    """`connected` is its first call, `disconnected` its last."""

    def connected(self, transport: Transport) -> None:
        """The connection stands; with direct TLS the handshake is next, and writes wait for it."""
        ...

    def received(self, data: bytes) -> None:
        """Plaintext from the peer.

        Empty `data` says once that the peer sends nothing more; it may still read. A handler with nothing
        left to answer calls `close`; the transport does so itself after `CLOSE_SECONDS`.
        """
        ...

    def tls_established(self) -> None:
        """The TLS handshake is complete."""
        ...

    def writable(self, is_writable: bool) -> None:
        """False: more than `SOFT_BUFFER` bytes wait for the peer, put off what can wait; True: go on."""
        ...

    def disconnected(self, reason: str) -> None:
        """The connection is gone; nothing follows."""
        ...


class _Nobody:
    """Takes the calls that reach a connection after its end."""

    def connected(self, transport: Transport) -> None: ...
    def received(self, data: bytes) -> None: ...
    def tls_established(self) -> None: ...
    def writable(self, is_writable: bool) -> None: ...
    def disconnected(self, reason: str) -> None: ...


NOBODY: Final[Handler] = _Nobody()
