"""One connection: a socket of the event loop, TLS on it when wanted, and the rules of a slow or silent peer.

Writes of one turn of the loop are sent together; what the peer does not take is bounded; every phase that
could last for ever has a deadline. At most one timer exists per connection, none while nothing is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from xmppchat.network.admission import Place
from xmppchat.network.handler import NOBODY, Handler
from xmppchat.network.slow_peers import CROWDED, SlowPeers
from xmppchat.network.tls import TlsChannel, TlsFailed, TlsSource

HANDSHAKE_SECONDS = 15.0
STALL_SECONDS = 60.0
CLOSE_SECONDS = 5.0
SOFT_BUFFER = 1024 * 1024
HARD_BUFFER = 4 * 1024 * 1024
#: Reasons for which a peer that does not read is cut (reliability.md, limit 19).
OVERFLOW = f"more than {HARD_BUFFER} bytes wait for the peer"
SLOW_HANDSHAKE = f"no TLS handshake within {HANDSHAKE_SECONDS:.0f} s"
STALLED = f"the peer took nothing for {STALL_SECONDS:.0f} s"
#: The limit (:class:`~xmppchat.core.limits.LimitCounters`) by which a connection is cut, by the reason that is told.
CUT_BY: Mapping[str, str] = {
    OVERFLOW: "send_buffer", STALLED: "send_buffer", CROWDED: "unread_bytes", SLOW_HANDSHAKE: "tls_handshake",
}
LINGER_BYTES = 256 * 1024
"""What a peer may still send after we have closed; more, and the connection is cut."""


class Timer(Protocol):
    def cancel(self) -> None: ...


class Timers(Protocol):
    """Who calls back later: the event loop, `core.runtime.Clock`, or a fake clock in tests."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer: ...


class Transport(asyncio.Protocol):
    """A connection as the layers above see it.

    `tls` makes it direct TLS from the first byte. `place` is told when the peer has authenticated, and when the
    connection is gone. `slow_peers` are those of all connections.
    """

    __slots__ = (
        "_direct", "_drained", "_handler", "_has_ended", "_is_choked", "_is_closing", "_is_lost",
        "_lingered", "_loop", "_out", "_out_size", "_pauses", "_place", "_reason", "_slow_peers", "_socket",
        "_timer", "_timers", "_tls", "_written", "address", "is_writable",
    )  # fmt: skip

    def __init__(
        self,
        handler: Handler,
        address: str,
        *,
        tls: TlsSource | None = None,
        place: Place | None = None,
        slow_peers: SlowPeers | None = None,
        timers: Timers | None = None,
    ) -> None:
        self.address = address
        """The peer's IP address."""
        self.is_writable = True
        """What `Handler.writable` said last."""
        self._handler = handler
        self._direct = tls
        self._place = place
        self._slow_peers = slow_peers
        self._loop = asyncio.get_running_loop()
        self._timers: Timers = timers or self._loop
        self._timer: Timer | None = None
        self._socket: asyncio.Transport
        self._tls: TlsChannel | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._written = self._drained = self._lingered = 0
        self._pauses: set[str] | None = None
        self._reason = ""
        self._has_ended = self._is_closing = self._is_lost = self._is_choked = False

    # --- for the layer above ----------------------------------------------------------------------------

    @property
    def tls(self) -> TlsChannel | None:
        """The TLS of this connection once it is established: names, version, channel bindings."""
        return self._tls if self.is_secure else None

    @property
    def is_secure(self) -> bool:
        """Whether everything received and sent now is protected by TLS."""
        return self._tls is not None and self._tls.is_established

    @property
    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called or the connection is gone; writes are ignored."""
        return self._is_closing

    @property
    def buffered(self) -> int:
        """Bytes that the peer has not taken yet."""
        return self._out_size + (0 if self._is_lost else self._socket.get_write_buffer_size())

    def write(self, data: bytes) -> None:
        """Send `data` at the end of this turn of the event loop, with whatever else is written in it."""
        if self._is_closing or not data:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size > SOFT_BUFFER:
            if self._out_size > HARD_BUFFER:
                self.abort(OVERFLOW)
            else:
                self._update_writable()

    def start_tls(self, source: TlsSource) -> None:
        """From here on everything is TLS; what was written before (``<proceed/>``) still leaves as it is.

        Every byte that arrives from now on goes to TLS, so plaintext sent ahead of the handshake ends it.
        Bytes that came in the same `received` after ``<starttls/>`` are for the caller to refuse.
        """
        if self._tls is not None:
            raise RuntimeError("TLS is on already")
        self._flush()
        if self._is_closing:
            return
        self._tls = source.layer()
        self._arm(HANDSHAKE_SECONDS, self._handshake_expired)
        self._receive_tls(b"")  # a client's layer speaks first

    def authenticated(self) -> bool:
        """The peer has proved who it is, so the limits for strangers are off; False: too many are here already."""
        return self._place is None or self._place.authenticated()

    def pause_reading(self, reason: str) -> None:
        """Read nothing more until `resume_reading` has been called for every reason given."""
        if self._pauses is None:
            self._pauses = {reason}
            if not (self._is_lost or self._has_ended or self._is_closing):
                self._socket.pause_reading()
        else:
            self._pauses.add(reason)

    def resume_reading(self, reason: str) -> None:
        """Take back one reason for the pause."""
        if self._pauses is None:
            return
        self._pauses.discard(reason)
        if not self._pauses:
            self._pauses = None
            if not (self._is_lost or self._has_ended or self._is_closing):
                self._socket.resume_reading()

    def close(self, reason: str = "closed by the server") -> None:
        """Send what was written, close_notify and FIN; wait `CLOSE_SECONDS` at most for the peer's end.

        `received` is not called any more; `disconnected` comes when the connection is really gone.
        """
        if self._is_closing:
            return
        if self._tls is not None and not self._tls.is_established:
            self.abort(reason)
            return
        self._flush()
        if self._tls is not None:
            self._tls.close()
        self._end(reason)

    def abort(self, reason: str = "closed by the server") -> None:
        """Cut the connection now; what was not sent is lost."""
        self._reason = self._reason or reason
        self._is_closing = True
        self._out.clear()
        self._out_size = 0
        self._disarm()
        if not self._is_lost:
            self._is_lost = True  # to nobody's use any more; `connection_lost` follows
            self._socket.abort()

    # --- from the event loop ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)
        self._socket.set_write_buffer_limits(high=SOFT_BUFFER, low=SOFT_BUFFER // 4)
        if hasattr(transport, "max_size"):
            # asyncio asks malloc for 256 KiB a read, which maps them each time: 25 us instead of 8.
            cast(Any, transport).max_size = 64 * 1024
        source, self._direct = self._direct, None
        if source is not None:
            self.start_tls(source)  # first, so that nothing the handler writes can leave as plaintext
        self._handler.connected(self)

    def data_received(self, data: bytes) -> None:
        if self._is_closing or self._has_ended:
            self._discard(len(data))
        elif self._tls is None:
            self._handler.received(data)
        else:
            self._receive_tls(data)

    def eof_received(self) -> bool:
        if self._is_closing:
            return False
        self._peer_ended()
        return not self._is_lost

    def pause_writing(self) -> None:
        self._is_choked = True
        self._update_writable()

    def resume_writing(self) -> None:
        self._is_choked = False
        self._update_writable()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = self._is_closing = True
        self._disarm()
        self._out.clear()
        self._out_size = 0
        if self._place is not None:
            self._place.leave()
        if self._slow_peers is not None:
            self._slow_peers.forget(self)
        reason = self._reason or (f"connection lost: {error}" if error else "closed by the peer")
        # The handler knows us and we know it: without the cut only the garbage collector would free both.
        handler, self._handler = self._handler, NOBODY
        handler.disconnected(reason)

    # --- inside -----------------------------------------------------------------------------------------

    def _receive_tls(self, data: bytes) -> None:
        tls = self._tls
        assert tls is not None
        was_established = tls.is_established
        try:
            plaintext = tls.receive(data)
        except TlsFailed as error:
            self._end(f"TLS failed: {error}")
            return
        if tls.has_output:
            self._send_out(tls.take_output())
        if tls.is_established and not was_established:
            self._disarm()
            self._handler.tls_established()
            self._flush()
        if plaintext and not self._is_closing:
            self._handler.received(plaintext)
        if tls.is_ended and not self._is_closing:
            self._peer_ended()

    def _flush(self) -> None:
        if not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        tls = self._tls
        if tls is not None:
            if not tls.is_established:
                return  # it waits for the handshake; never a plain byte once TLS was asked for
            try:
                tls.send(data)
            except TlsFailed as error:
                self.abort(f"TLS failed: {error}")
                return
            data = tls.take_output()
        self._out.clear()
        self._out_size = 0
        self._send_out(data)
        if not self.is_writable:
            self._update_writable()

    def _update_writable(self) -> None:
        is_writable = not self._is_choked and self._out_size <= SOFT_BUFFER
        if is_writable != self.is_writable and not self._is_closing:
            self.is_writable = is_writable
            self._handler.writable(is_writable)

    def _send_out(self, data: bytes) -> None:
        if self._is_lost:
            return
        self._socket.write(data)
        self._written += len(data)
        waiting = self._socket.get_write_buffer_size()
        if not waiting:
            return
        if waiting > HARD_BUFFER:
            self.abort(OVERFLOW)
            return
        if self._timer is None:
            self._drained = self._written - waiting
            self._arm(STALL_SECONDS, self._check_progress)
        if self._slow_peers is not None:
            self._slow_peers.note(self, waiting)

    def _check_progress(self) -> None:
        """Cut a peer that took nothing since the last look; a look every `STALL_SECONDS` while bytes wait."""
        self._timer = None
        waiting = self._socket.get_write_buffer_size()
        if not waiting:
            return
        drained = self._written - waiting
        if drained == self._drained:
            self.abort(STALLED)
            return
        self._drained = drained
        self._arm(STALL_SECONDS, self._check_progress)

    def _peer_ended(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if self._tls is not None and not self._tls.is_established:
            self.abort("closed by the peer during the TLS handshake")
            return
        self._reason = "closed by the peer"
        self._handler.received(b"")
        if not self._is_closing:
            self._arm(CLOSE_SECONDS, self.close)

    def _end(self, reason: str) -> None:
        """Send what TLS has left and FIN, drop what comes, wait for the peer's FIN.

        A plain close with bytes unread would send RST and the peer would lose our last words: a stream error.
        """
        if self._is_closing:  # the flush before failed
            return
        self._reason = self._reason or reason
        self._out.clear()
        self._out_size = 0
        self._is_closing = True
        if self._tls is not None:
            self._send_out(self._tls.take_output())
        if self._is_lost:
            return
        self._arm(CLOSE_SECONDS, self.abort)
        if self._has_ended:
            self._socket.close()
            return
        try:
            self._socket.write_eof()
        except OSError:  # gone already
            self.abort()
            return
        if self._pauses is not None:
            self._socket.resume_reading()

    def _discard(self, size: int) -> None:
        self._lingered += size
        if self._lingered > LINGER_BYTES:
            self.abort()

    def _handshake_expired(self) -> None:
        self.abort(SLOW_HANDSHAKE)

    def _arm(self, seconds: float, callback: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self._timers.call_later(seconds, callback)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
