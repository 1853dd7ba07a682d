"""Listeners on real sockets: admission, stopping, and running out of file descriptors."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import textwrap

import pytest
from network_support import Handlers, Listen, client_context, plain_client, read_to_end, tls_client

from xmppchat.network.admission import Admission
from xmppchat.network.listener import Listener
from xmppchat.network.tls import TlsContexts


async def test_stop_leaves_connections_alone(listen: Listen) -> None:
    factory = Handlers(echo=True)
    listener = await listen(factory)
    with plain_client(listener.port) as client:
        await factory.next()
        await listener.stop()
        assert not listener.is_listening
        with pytest.raises(ConnectionRefusedError):
            plain_client(listener.port)
        client.sendall(b"still here")
        assert await asyncio.to_thread(client.recv, 100) == b"still here"
        await listener.stop()


async def test_it_can_start_again_on_its_port(listen: Listen) -> None:
    factory = Handlers()
    listener = await listen(factory)
    port = listener.port
    with plain_client(port):
        await factory.next()
        await listener.stop()
        await listener.start()
        assert listener.port == port
        with plain_client(port):
            await factory.next(1)
        with pytest.raises(RuntimeError, match="runs already"):
            await listener.start()


async def test_a_taken_port_is_named(listen: Listen) -> None:
    listener = await listen(Handlers())
    other = Listener("127.0.0.1", listener.port, factory=Handlers())
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{listener.port}: Address already in use"):
        await other.start()
    assert not other.is_listening


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
async def test_any_address_takes_both_kinds() -> None:
    factory = Handlers()
    listener = Listener("::", 0, factory=factory)
    await listener.start()
    with plain_client(listener.port), socket.create_connection(("::1", listener.port), 5):
        addresses = {(await factory.next(i)).transport.address for i in range(2)}
    assert addresses == {"127.0.0.1", "::1"}
    for handler in factory.made:
        handler.transport.abort()
        await handler.until_event("disconnected")
    await listener.stop()


async def test_direct_tls_needs_contexts() -> None:
    with pytest.raises(ValueError, match="needs its contexts"):
        Listener("127.0.0.1", 0, mode="direct", factory=Handlers())


async def test_refused_peers_are_closed_before_tls(listen: Listen, contexts: TlsContexts) -> None:
    factory, admission = Handlers(), Admission(per_address=2, exempt=())
    listener = await listen(factory, mode="direct", contexts=contexts, admission=admission)
    first = await asyncio.to_thread(tls_client, plain_client(listener.port), client_context())
    with first, plain_client(listener.port), plain_client(listener.port) as refused:
        assert await asyncio.to_thread(read_to_end, refused) == b""
        assert admission.refusals == {"address": 1}
        assert len(factory.made) == 2
        (await factory.next()).transport.authenticated()
        assert admission.strangers == 1
        with plain_client(listener.port):
            await factory.next(2)
    for handler in factory.made:
        handler.transport.abort()
        await handler.until_event("disconnected")
    assert admission.strangers == 0


async def test_every_peer_that_comes_and_goes_gives_its_place_back(listen: Listen) -> None:
    factory, admission = Handlers(), Admission(exempt=(), per_address=1000, per_network=1000, burst=1000)
    listener = await listen(factory, admission=admission)
    for _ in range(100):
        plain_client(listener.port).close()
    for index in range(100):
        handler = await factory.next(index)
        await handler.until(lambda: handler.reason is not None or "ended" in handler.events)  # noqa: B023
        handler.transport.close()
        await handler.until_event("disconnected")
    assert admission.strangers == 0
    assert not listener._adopting


OUT_OF_FILES = """
import asyncio, os, resource, socket, sys
import uvloop
from network_support import Handlers, plain_client, read_exactly
from xmppchat.network import listener as module
from xmppchat.network.listener import Listener

module.REST_SECONDS = 0.05

async def main():
    factory = Handlers(echo=True)
    listener = Listener("127.0.0.1", 0, factory=factory)
    await listener.start()
    early = plain_client(listener.port)
    await factory.next()
    clients = [socket.socket() for _ in range(3)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    hoard = []
    try:
        while True:
            hoard.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for client in clients:
        client.settimeout(10)
        client.connect(("127.0.0.1", listener.port))
        client.sendall(b"hello")
    while listener.rests < 3:
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    early.sendall(b"early")
    assert await asyncio.to_thread(read_exactly, early, 5) == b"early"
    for fd in hoard:
        os.close(fd)
    for client in clients:
        assert await asyncio.to_thread(read_exactly, client, 5) == b"hello"
        client.close()
    await listener.stop()
    print("survived", len(factory.made))

{run}(main())
"""


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_running_out_of_files(run: str, request: pytest.FixtureRequest) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(OUT_OF_FILES).replace("{run}", run)],
        cwd=request.path.parent,
        env={"PYTHONPATH": str(request.path.parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1:] == ["survived 4"], done.stderr
    assert "accepting rests" in done.stdout + done.stderr
