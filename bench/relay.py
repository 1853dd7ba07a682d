"""What one relayed chat message costs inside the server: parse, route, serialise, without sockets and TLS.

Printed by ``make test``, so that a change which makes it dearer is seen: ``python -m bench.relay``.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import tempfile
import time
from pathlib import Path

from xmppchat.testing.memory import MemoryClient, MemoryDriver

MESSAGES = 5_000
ROUNDS = 5


class Sink:
    """Stands in for a client that only receives."""

    def __init__(self) -> None:
        self.count = 0

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        self.count += data.count(b"<message")


async def measure() -> list[float]:
    """CPU a message in µs, one figure a round."""
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
        romeo, juliet = clients
        sink = Sink()
        juliet.feed = sink.feed  # type: ignore[method-assign]
        receive = romeo.transport.connection.received
        messages = [_message(number) for number in range(MESSAGES)]
        figures = []
        for _ in range(ROUNDS):
            started = time.process_time()
            for message in messages:
                receive(message)
            figures.append((time.process_time() - started) / MESSAGES * 1e6)
        assert sink.count == MESSAGES * ROUNDS, "a message was not relayed"
        await driver.stop()
        return figures


def _message(number: int) -> bytes:
    return (
        f"<message to='juliet@chat.example' type='chat' id='m{number:08}'><body>{'x' * 100}</body>"
        f"<origin-id xmlns='urn:xmpp:sid:0' id='m{number:08}'/>"
        "<active xmlns='http://jabber.org/protocol/chatstates'/></message>"
    ).encode()


def main() -> None:
    """Print the figure."""
    figures = asyncio.run(measure())
    print(
        f"CPU per relayed chat message, in process: {statistics.median(figures):.1f} µs "
        f"(median of {ROUNDS} rounds of {MESSAGES}, {min(figures):.1f} to {max(figures):.1f}; "
        f"Python {platform.python_version()})"
    )


if __name__ == "__main__":
    main()
