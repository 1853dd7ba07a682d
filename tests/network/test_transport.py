"""Transports on real sockets, on both event loops: TLS in place, slow and silent peers, the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct

import pytest
from network_support import (
    FakeTimers,
    Handlers,
    Listen,
    Recorder,
    client_context,
    direct_client,
    make_host,
    plain_client,
    read_exactly,
    read_to_end,
    starttls_client,
    tls_client,
)

from xmppchat.network.certificates import CertificateFiles
from xmppchat.network.listener import KEEPALIVE_SECONDS
from xmppchat.network.tls import TlsContexts
from xmppchat.network.transport import (
    CLOSE_SECONDS,
    HANDSHAKE_SECONDS,
    HARD_BUFFER,
    SOFT_BUFFER,
    STALL_SECONDS,
    Transport,
)

MEGABYTE = 1024 * 1024


def to_thread(function: object, *arguments: object) -> asyncio.Future[object]:
    return asyncio.get_running_loop().run_in_executor(None, function, *arguments)  # type: ignore[arg-type]


async def gone(transport: Transport, reason: str, handler: Recorder) -> None:
    await handler.until_event("disconnected")
    assert handler.reason == reason
    assert transport.is_closing
    transport.write(b"to nobody")
    transport.close()
    transport.abort()
    transport.pause_reading("late")
    transport.resume_reading("late")
    assert transport.buffered == 0


# --- plain ----------------------------------------------------------------------------------------------


async def test_words_of_one_turn_leave_together(listen: Listen) -> None:
    factory = Handlers()
    listener = await listen(factory)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        transport = handler.transport
        assert transport.address == "127.0.0.1"
        for part in (b"a", b"b", b"c"):
            transport.write(part)
        assert transport.buffered == 3
        client.sendall(b"hello")
        await handler.until(lambda: handler.data == b"hello")
        assert client.recv(100) == b"abc"
        assert not transport.is_secure
        assert transport.tls is None
        client.close()
        await handler.until_event("ended")
        transport.close()
        await gone(transport, "closed by the peer", handler)


async def test_options_of_the_socket(listen: Listen) -> None:
    factory = Handlers()
    listener = await listen(factory)
    with plain_client(listener.port):
        handler = await factory.next()
        connection = handler.transport._socket.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == KEEPALIVE_SECONDS


async def test_pauses_add_up(listen: Listen) -> None:
    factory = Handlers()
    listener = await listen(factory)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        transport = handler.transport
        transport.pause_reading("gate")
        transport.pause_reading("rate")
        transport.pause_reading("rate")
        client.sendall(b"later")
        transport.resume_reading("rate")
        transport.resume_reading("unknown")
        transport.write(b"sentinel")
        assert await to_thread(client.recv, 100) == b"sentinel"
        assert handler.data == b""
        transport.resume_reading("gate")
        await handler.until(lambda: handler.data == b"later")


# --- the end --------------------------------------------------------------------------------------------


async def test_a_peer_that_ended_still_reads(listen: Listen) -> None:
    factory = Handlers()
    listener = await listen(factory)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        await handler.until_event("ended")
        assert handler.data == b"question"
        handler.transport.write(b"answer")
        assert await to_thread(client.recv, 100) == b"answer"
        handler.transport.close()
        assert await to_thread(read_to_end, client) == b""
        await gone(handler.transport, "closed by the peer", handler)


async def test_a_peer_that_ended_is_closed_after_a_while(listen: Listen) -> None:
    factory, timers = Handlers(), FakeTimers()
    listener = await listen(factory, timers=timers)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        client.shutdown(socket.SHUT_WR)
        await handler.until_event("ended")
        assert not handler.transport.is_closing
        timers.advance(CLOSE_SECONDS)
        assert await to_thread(read_to_end, client) == b""
        await gone(handler.transport, "closed by the peer", handler)
        assert timers.count == 0


async def test_last_words_survive_what_was_not_read(listen: Listen) -> None:
    factory = Handlers()
    listener = await listen(factory)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        transport = handler.transport
        transport.pause_reading("flood")
        client.sendall(b"x" * 100_000)
        transport.write(b"<stream:error/>")
        transport.close("policy-violation")
        assert await to_thread(read_to_end, client) == b"<stream:error/>"
        client.close()
        await gone(transport, "policy-violation", handler)
        assert handler.data == b""


async def test_a_peer_that_never_ends_is_cut(listen: Listen) -> None:
    factory, timers = Handlers(), FakeTimers()
    listener = await listen(factory, timers=timers)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        handler.transport.close("enough")
        assert await to_thread(read_to_end, client) == b""
        timers.advance(CLOSE_SECONDS - 1)
        assert handler.reason is None
        timers.advance(1)
        await gone(handler.transport, "enough", handler)
        assert timers.count == 0


async def test_a_flood_after_the_close_is_cut(listen: Listen) -> None:
    factory, timers = Handlers(), FakeTimers()
    listener = await listen(factory, timers=timers)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        handler.transport.close("enough")

        with pytest.raises(ConnectionError):
            await to_thread(client.sendall, b"x" * (64 * MEGABYTE))
        await gone(handler.transport, "enough", handler)


async def test_a_reset_is_told(listen: Listen) -> None:
    factory = Handlers()
    listener = await listen(factory)
    client = plain_client(listener.port)
    handler = await factory.next()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    await handler.until_event("disconnected")
    assert handler.reason is not None
    assert handler.reason.startswith("connection lost: ")


async def test_connections_leave_nothing_to_the_garbage_collector(
    listen: Listen, contexts: TlsContexts
) -> None:
    factory = Handlers(contexts)
    listener = await listen(factory)
    gc.collect()
    gc.disable()
    try:
        for index in range(5):
            client = await to_thread(starttls_client, listener.port, client_context())
            handler = await factory.next(index)
            assert isinstance(client, ssl.SSLSocket)
            client.close()
            await handler.until_event("ended")
            handler.transport.close()
            await handler.until_event("disconnected")
            del handler.transport
        left = [x for x in gc.get_objects() if isinstance(x, Transport)]
    finally:
        gc.enable()
    factory.made.clear()
    assert left == []


# --- TLS ------------------------------------------------------------------------------------------------


async def test_starttls_in_place(listen: Listen, contexts: TlsContexts, one: CertificateFiles) -> None:
    factory, timers = Handlers(contexts, echo=True), FakeTimers()
    listener = await listen(factory, timers=timers)
    client = await to_thread(starttls_client, listener.port, client_context(one))
    assert isinstance(client, ssl.SSLSocket)
    with client:
        handler = await factory.next()
        await handler.until_event("tls")
        assert handler.transport.is_secure
        assert handler.transport.tls is not None
        assert handler.transport.tls.server_name == "one.example"
        assert handler.transport.tls.version() == "TLSv1.3"
        assert timers.count == 0
        client.sendall(b"echo")
        assert await to_thread(client.recv, 100) == b"echo"
        with pytest.raises(RuntimeError, match="on already"):
            handler.transport.start_tls(contexts)
    await handler.until_event("ended")
    assert handler.events == ["connected", "received", "tls", "received", "ended"]


async def test_direct_tls(listen: Listen, contexts: TlsContexts, one: CertificateFiles) -> None:
    factory = Handlers(echo=True)
    listener = await listen(factory, mode="direct", contexts=contexts)
    context = client_context(one, alpn=["xmpp-client"])
    client = await to_thread(direct_client, listener.port, context)
    assert isinstance(client, ssl.SSLSocket)
    with client:
        assert client.selected_alpn_protocol() == "xmpp-client"
        client.sendall(b"echo")
        assert await to_thread(client.recv, 100) == b"echo"
    handler = await factory.next()
    assert handler.events[:3] == ["connected", "tls", "received"]


async def test_words_before_the_handshake_wait_for_it(listen: Listen, contexts: TlsContexts) -> None:
    factory = Handlers()
    listener = await listen(factory, mode="direct", contexts=contexts)
    connection = plain_client(listener.port)
    handler = await factory.next()
    handler.transport.write(b"only under TLS")
    client = await to_thread(tls_client, connection, client_context())
    assert isinstance(client, ssl.SSLSocket)
    with client:
        assert await to_thread(client.recv, 100) == b"only under TLS"


@pytest.mark.parametrize("is_direct", [True, False])
async def test_a_wrong_alpn_offer_ends_the_connection(
    listen: Listen, contexts: TlsContexts, is_direct: bool
) -> None:
    factory = Handlers(contexts)
    listener = await listen(factory, mode="direct" if is_direct else "starttls", contexts=contexts)
    context = client_context(alpn=["http/1.1"])
    connect = direct_client if is_direct else starttls_client
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        await to_thread(connect, listener.port, context)
    handler = await factory.next()
    await gone(handler.transport, "TLS failed: the client offers http/1.1 by ALPN", handler)
    assert "tls" not in handler.events


async def test_two_hosts_on_one_port(
    listen: Listen, contexts: TlsContexts, one: CertificateFiles, two: CertificateFiles
) -> None:
    listener = await listen(Handlers(contexts))
    for files in (one, two):
        client = await to_thread(starttls_client, listener.port, client_context(files), files.host)
        assert isinstance(client, ssl.SSLSocket)
        client.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        await to_thread(starttls_client, listener.port, client_context(one), "two.example")


async def test_a_reload_under_an_open_connection(
    listen: Listen, contexts: TlsContexts, one: CertificateFiles
) -> None:
    factory = Handlers(contexts, echo=True)
    listener = await listen(factory)
    old_trust = client_context(one)
    old = await to_thread(starttls_client, listener.port, old_trust)
    assert isinstance(old, ssl.SSLSocket)
    make_host(one.certificate.parent, "one.example")
    contexts.reload()
    new = await to_thread(starttls_client, listener.port, client_context(one))
    assert isinstance(new, ssl.SSLSocket)
    with old, new:
        assert old.getpeercert(True) != new.getpeercert(True)
        for client in (old, new):
            client.sendall(b"alive")
            assert await to_thread(client.recv, 100) == b"alive"
    with pytest.raises(ssl.SSLCertVerificationError):
        await to_thread(starttls_client, listener.port, old_trust)


async def test_close_says_close_notify_and_waits(listen: Listen, contexts: TlsContexts) -> None:
    factory = Handlers(contexts)
    listener = await listen(factory)
    client = await to_thread(starttls_client, listener.port, client_context())
    assert isinstance(client, ssl.SSLSocket)
    handler = await factory.next()
    await handler.until_event("tls")
    handler.transport.write(b"bye")
    handler.transport.close("shutdown")
    assert await to_thread(client.recv, 100) == b"bye"
    assert await to_thread(client.recv, 100) == b""  # an end without close_notify would raise
    client.close()
    await gone(handler.transport, "shutdown", handler)


async def test_close_notify_of_the_peer(listen: Listen, contexts: TlsContexts) -> None:
    factory = Handlers(contexts)
    listener = await listen(factory)
    client = await to_thread(starttls_client, listener.port, client_context())
    assert isinstance(client, ssl.SSLSocket)
    handler = await factory.next()
    await handler.until_event("tls")
    client.sendall(b"bye")
    unwrapping = to_thread(client.unwrap)
    await handler.until_event("ended")
    assert handler.data == b"bye"
    handler.transport.close()
    plain = await unwrapping  # returns when the other close_notify has come
    assert isinstance(plain, socket.socket)
    plain.close()
    await gone(handler.transport, "closed by the peer", handler)


# --- reliability.md V-10, V-23: plaintext never becomes TLS ------------------------------------------------


async def test_plaintext_in_the_segment_of_starttls_is_the_handlers(
    listen: Listen, contexts: TlsContexts
) -> None:
    factory = Handlers(contexts, echo=True)
    listener = await listen(factory)
    with plain_client(listener.port) as client:
        client.sendall(b"<starttls/><iq id='evil'/>")
        assert await to_thread(read_to_end, client) == b""
        client.close()
        handler = await factory.next()
        await gone(handler.transport, "plaintext after <starttls/>", handler)


async def test_plaintext_before_the_handshake_ends_the_connection(
    listen: Listen, contexts: TlsContexts
) -> None:
    factory = Handlers(contexts, echo=True)
    listener = await listen(factory)
    with plain_client(listener.port) as client:
        client.sendall(b"<starttls/>")
        assert await to_thread(read_exactly, client, 10) == b"<proceed/>"
        client.sendall(b"<iq id='evil'/>")
        assert await to_thread(read_to_end, client) == b""
        client.close()
        handler = await factory.next()
        await gone(handler.transport, "TLS failed: the peer does not speak TLS", handler)
        assert handler.data == b""
        assert "tls" not in handler.events


async def test_plaintext_read_late_is_not_taken_for_tls(listen: Listen, contexts: TlsContexts) -> None:
    """What waited in the kernel while the handler did not read is plaintext, too, when TLS begins."""
    factory = Handlers()
    listener = await listen(factory)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        handler.transport.pause_reading("look-up")
        client.sendall(b"<iq id='evil'/>")
        handler.transport.write(b"<proceed/>")
        handler.transport.start_tls(contexts)
        handler.transport.write(b"only after the handshake")
        handler.transport.resume_reading("look-up")
        assert await to_thread(read_to_end, client) == b"<proceed/>"
        client.close()
        await gone(handler.transport, "TLS failed: the peer does not speak TLS", handler)
        assert handler.data == b""


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"<stream:stream>"])
async def test_no_tls_on_the_direct_port(listen: Listen, contexts: TlsContexts, data: bytes) -> None:
    factory = Handlers(echo=True)
    listener = await listen(factory, mode="direct", contexts=contexts)
    with plain_client(listener.port) as client:
        client.sendall(data)
        assert await to_thread(read_to_end, client) == b""
        handler = await factory.next()
        assert handler.data == b""


async def test_a_handshake_has_a_deadline(listen: Listen, contexts: TlsContexts) -> None:
    factory, timers = Handlers(), FakeTimers()
    listener = await listen(factory, mode="direct", contexts=contexts, timers=timers)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        assert timers.count == 1
        client.sendall(b"\x16\x03\x01")
        timers.advance(HANDSHAKE_SECONDS - 1)
        assert handler.reason is None
        timers.advance(1)
        with contextlib.suppress(ConnectionResetError):  # bytes of the client were not read
            assert await to_thread(read_to_end, client) == b""
        await gone(handler.transport, "no TLS handshake within 15 s", handler)
        assert timers.count == 0


async def test_a_peer_that_leaves_in_the_handshake(listen: Listen, contexts: TlsContexts) -> None:
    factory, timers = Handlers(), FakeTimers()
    listener = await listen(factory, mode="direct", contexts=contexts, timers=timers)
    plain_client(listener.port).close()
    handler = await factory.next()
    await gone(handler.transport, "closed by the peer during the TLS handshake", handler)
    assert timers.count == 0


async def test_records_byte_by_byte(listen: Listen, contexts: TlsContexts) -> None:
    factory = Handlers(contexts, echo=True)
    listener = await listen(factory)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="one.example")

    def dialogue() -> bytes:
        with plain_client(listener.port) as connection:
            connection.sendall(b"<starttls/>")
            read_exactly(connection, 10)

            def pump() -> None:
                for byte in outgoing.read():
                    connection.sendall(bytes((byte,)))

            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    pump()
                    incoming.write(connection.recv(65536))
            client.write(b"slowly but surely")
            pump()
            incoming.write(connection.recv(65536))
            return client.read(100)

    assert await to_thread(dialogue) == b"slowly but surely"


# --- slow peers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_megabyte_both_ways(listen: Listen, contexts: TlsContexts, is_secure: bool) -> None:
    factory = Handlers(contexts, echo=True)
    listener = await listen(factory)
    connect = starttls_client if is_secure else plain_client
    client = await to_thread(connect, listener.port, *([client_context()] if is_secure else []))
    assert isinstance(client, socket.socket)
    data = bytes(range(256)) * (MEGABYTE // 256)
    with client:
        if is_secure:
            # Two threads may not use one TLS object at once (CPython before 3.13): piece by piece.
            for start in range(0, MEGABYTE, 128 * 1024):
                piece = data[start : start + 128 * 1024]
                await to_thread(client.sendall, piece)
                assert await to_thread(read_exactly, client, len(piece)) == piece
        else:
            sending = to_thread(client.sendall, data)
            assert await to_thread(read_exactly, client, MEGABYTE) == data
            await sending
    handler = await factory.next()
    assert max(map(len, handler.chunks)) <= 256 * 1024


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_slow_reader_is_waited_for_in_bounded_memory(
    listen: Listen, contexts: TlsContexts, is_secure: bool
) -> None:
    factory = Handlers(contexts)
    listener = await listen(factory)
    connect = starttls_client if is_secure else plain_client
    client = await to_thread(connect, listener.port, *([client_context()] if is_secure else []))
    assert isinstance(client, socket.socket)
    handler = await factory.next()
    transport = handler.transport
    if is_secure:
        await handler.until_event("tls")
    piece, sent, most = b"y" * 65536, 0, 0

    async def produce(until: int) -> int:
        nonlocal most
        done = 0
        while done < until and transport.is_writable:
            transport.write(piece)
            done += len(piece)
            most = max(most, transport.buffered)
            if done % (8 * len(piece)) == 0:
                await to_thread(int)  # a whole turn of the loop
        return done

    with client:
        sent += await produce(64 * MEGABYTE)
        assert not transport.is_writable
        assert sent < 64 * MEGABYTE
        assert SOFT_BUFFER < most < SOFT_BUFFER + 16 * len(piece)
        reading = to_thread(read_exactly, client, 64 * MEGABYTE)
        while sent < 64 * MEGABYTE:
            await handler.until(lambda: transport.is_writable)
            sent += await produce(64 * MEGABYTE - sent)
        received = await reading
        assert isinstance(received, bytes)
        assert len(received) == 64 * MEGABYTE
        assert received.count(b"y") == len(received)
    assert most < HARD_BUFFER


@pytest.mark.parametrize("is_secure", [False, True])
async def test_a_peer_that_takes_nothing_is_cut_at_the_hard_limit(
    listen: Listen, contexts: TlsContexts, is_secure: bool
) -> None:
    factory = Handlers(contexts)
    listener = await listen(factory)
    connect = starttls_client if is_secure else plain_client
    client = await to_thread(connect, listener.port, *([client_context()] if is_secure else []))
    assert isinstance(client, socket.socket)
    with client:
        handler = await factory.next()
        if is_secure:
            await handler.until_event("tls")
        written = 0
        while handler.reason is None and written < 100 * MEGABYTE:
            handler.transport.write(b"z" * MEGABYTE)
            written += MEGABYTE
            await to_thread(int)  # a whole turn of the loop
        await gone(handler.transport, f"more than {HARD_BUFFER} bytes wait for the peer", handler)
        assert handler.events.count("writable False") == 1


async def test_too_much_in_one_turn_is_cut(listen: Listen) -> None:
    factory = Handlers()
    listener = await listen(factory)
    with plain_client(listener.port):
        handler = await factory.next()
        handler.transport.write(b"z" * MEGABYTE)
        assert handler.transport.is_writable
        handler.transport.write(b"z")
        assert not handler.transport.is_writable
        for _ in range(4):
            handler.transport.write(b"z" * MEGABYTE)
        await gone(handler.transport, f"more than {HARD_BUFFER} bytes wait for the peer", handler)


async def test_a_big_turn_that_the_kernel_takes_is_writable_again(listen: Listen) -> None:
    factory = Handlers()
    listener = await listen(factory)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        reading = to_thread(read_exactly, client, 2 * MEGABYTE)
        handler.transport.write(b"z" * (2 * MEGABYTE))
        assert handler.events[-1] == "writable False"
        await handler.until(lambda: handler.events[-1] == "writable True")
        await reading


async def test_a_peer_without_progress_is_cut(listen: Listen) -> None:
    factory, timers = Handlers(), FakeTimers()
    listener = await listen(factory, timers=timers)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        transport = handler.transport
        assert timers.count == 0
        written = await write_until_full(transport)
        assert timers.count == 1
        await to_thread(read_exactly, client, written)
        await handler.until(lambda: transport.is_writable)
        await write_until_full(transport)
        timers.advance(STALL_SECONDS)  # it took something: one more chance
        assert not transport.is_closing
        timers.advance(STALL_SECONDS)
        await gone(transport, "the peer took nothing for 60 s", handler)
        assert timers.count == 0


async def test_the_stall_timer_ends_with_the_last_byte(listen: Listen) -> None:
    factory, timers = Handlers(), FakeTimers()
    listener = await listen(factory, timers=timers)
    with plain_client(listener.port) as client:
        handler = await factory.next()
        transport = handler.transport
        await write_until_full(transport)
        assert timers.count == 1
        transport.write(b"end")
        await to_thread(read_until, client, b"end")
        timers.advance(STALL_SECONDS)
        assert timers.count == 0
        assert not transport.is_closing


async def write_until_full(transport: Transport) -> int:
    """Write until the transport says that it is enough; the number of bytes."""
    written = 0
    while transport.is_writable:
        transport.write(b"z" * 65536)
        written += 65536
        await to_thread(int)  # a whole turn of the loop
    return written


def read_until(connection: socket.socket, end: bytes) -> None:
    tail = b""
    while not tail.endswith(end):
        part = connection.recv(65536)
        assert part, "ended too early"
        tail = (tail + part)[-len(end) :]
