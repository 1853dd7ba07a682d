"""Many slow peers together (limit 19): whoever has most waiting is cut, and nobody who takes what it is sent."""

from __future__ import annotations

import asyncio

import pytest
from network_support import Handlers, Listen, plain_client

from xmppchat.network.slow_peers import CROWDED, SlowPeers

MIB = 1024 * 1024


class Peer:
    """Says how much waits for it, and notes that it was cut."""

    def __init__(self, peers: SlowPeers) -> None:
        self._peers = peers
        self.buffered = 0
        self.reason = ""

    def sent(self, size: int) -> None:
        self.buffered += size
        self._peers.note(self, self.buffered)

    def abort(self, reason: str = "") -> None:
        self.reason = reason


@pytest.fixture
def peers() -> SlowPeers:
    return SlowPeers(100)


def test_the_one_with_most_is_cut_whoever_is_written_to(peers: SlowPeers) -> None:
    small, large, last = Peer(peers), Peer(peers), Peer(peers)
    small.sent(20)
    large.sent(50)
    last.sent(30)
    assert not large.reason, "this much is allowed"
    last.sent(1)
    assert [peer.reason for peer in (small, large, last)] == ["", CROWDED, ""]
    large.sent(0)  # what it still wrote in that turn is of the past
    last.sent(40)
    assert not small.reason


def test_as_many_are_cut_as_it_takes(peers: SlowPeers) -> None:
    several = [Peer(peers) for _ in range(10)]
    for peer in several:
        peer.sent(10)
    peers.most = 35
    several[0].sent(1)
    assert sum(peer.buffered for peer in several if not peer.reason) <= 35
    assert sum(not peer.reason for peer in several) == 3


def test_what_was_taken_meanwhile_does_not_count(peers: SlowPeers) -> None:
    several = [Peer(peers) for _ in range(10)]
    for peer in several:
        peer.sent(90)
        peer.buffered = 0
    assert not any(peer.reason for peer in several)


def test_who_is_gone_does_not_count(peers: SlowPeers) -> None:
    gone, there = Peer(peers), Peer(peers)
    gone.sent(90)
    peers.forget(gone)
    peers.forget(gone)
    there.sent(90)
    assert not there.reason


async def test_real_peers_that_read_nothing(listen: Listen) -> None:
    """Each may keep 4 MiB waiting, all of them together but 8."""
    factory, peers = Handlers(), SlowPeers(8 * MIB)
    listener = await listen(factory, slow_peers=peers)
    clients = [plain_client(listener.port) for _ in range(6)]
    handlers = [await factory.next(number) for number in range(len(clients))]
    sizes = [3 * MIB // 2 + number * MIB // 4 for number in range(6)]
    try:
        for handler, size in zip(handlers, sizes, strict=True):
            while handler.reason is None and handler.transport.buffered < size:
                handler.transport.write(b"z" * (MIB // 8))
                await asyncio.sleep(0)  # a turn of the loop: it is handed to the kernel
        assert any(handler.transport.is_closing for handler in handlers), "12 and more were to wait"
        assert sum(handler.transport.buffered for handler in handlers if not handler.transport.is_closing) <= 8 * MIB
        for handler in handlers:
            if handler.transport.is_closing:
                await handler.until_event("disconnected")
                assert handler.reason == CROWDED
    finally:
        for client in clients:
            client.close()
