"""What one relayed chat message costs inside the server: parse, route, serialise, store, without sockets and TLS.

Once for a message that nobody keeps, and once for one that goes into both archives, with all that its writes cost.

Printed by ``make test``, so that a change which makes it dearer is seen: ``python -m bench.relay``.
"""

from __future__ import annotations

import asyncio
import gc
import platform
import statistics
import tempfile
import time
from pathlib import Path

from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

MESSAGES = 5_000
ROUNDS = 5
#: Archived messages that are under way together; a busy server has so many in a transaction.
TOGETHER = 50


class Sink:
    """Stands in for a client that only receives."""

    def __init__(self) -> None:
        self.count = 0

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        self.count += data.count(b"<message")


async def measure() -> dict[str, list[float]]:
    """CPU a message in µs, one figure a round, by kind of message."""
    with tempfile.TemporaryDirectory() as directory:
        driver = MemoryDriver(Path(directory))
        await driver.start()
        clients: list[MemoryClient] = []
        for name in ("romeo", "juliet"):
            await driver.create_account(name, "secret")
            client = await driver.connect()
            assert isinstance(client, MemoryClient)
            await client.log_in(name, "secret", "x")
            client.write("<presence/>")
            await client.barrier()
            clients.append(client)
        gc.collect()
        gc.freeze()  # as the server does when it has started: what that made is not looked at again
        romeo, juliet = clients
        romeo.write(_message(0, "").decode())  # the first of a session is looked up, whether it was sent before
        await settle(driver.server.kernel)
        sink = Sink()
        juliet.feed = sink.feed  # type: ignore[method-assign]
        receive = romeo.transport.connection.received
        figures: dict[str, list[float]] = {}
        for kind, hint in (("kept by nobody", "<no-store xmlns='urn:xmpp:hints'/>"), ("archived", "")):
            messages = [_message(number, hint) for number in range(MESSAGES)]
            figures[kind] = []
            for _ in range(ROUNDS):
                started = time.process_time()
                for first in range(0, MESSAGES, TOGETHER):
                    for message in messages[first : first + TOGETHER]:
                        receive(message)
                    await driver.server.kernel.gate.drained()
                figures[kind].append((time.process_time() - started) / MESSAGES * 1e6)
        assert sink.count == 2 * MESSAGES * ROUNDS, "a message was not relayed"
        await driver.stop()
        return figures


def _message(number: int, hint: str) -> bytes:
    return (
        f"<message to='juliet@chat.example' type='chat' id='m{number:08}'><body>{'x' * 100}</body>"
        f"<origin-id xmlns='urn:xmpp:sid:0' id='m{number:08}'/>"
        f"<active xmlns='http://jabber.org/protocol/chatstates'/>{hint}</message>"
    ).encode()


def main() -> None:
    """Print the figure."""
    for kind, figures in asyncio.run(measure()).items():
        print(
            f"CPU per relayed chat message, {kind}: {statistics.median(figures):.1f} µs "
            f"(median of {ROUNDS} rounds of {MESSAGES}, {min(figures):.1f} to {max(figures):.1f}; "
            f"in process, Python {platform.python_version()})"
        )


if __name__ == "__main__":
    main()
