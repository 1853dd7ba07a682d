"""``xmppchat serve``."""

from __future__ import annotations

from xmppchat.cli import environment
from xmppchat.core import logs


def serve(config: str) -> None:
    """Run the server until a signal ends it."""
    loaded = environment.load(config)
    logs.configure(loaded.logging.level, loaded.logging.format)
    from xmppchat import server

    server.serve(loaded, _ready)


def _ready(line: str) -> None:
    # Whoever started the server waits for this line, perhaps through a pipe.
    print(line, flush=True)
