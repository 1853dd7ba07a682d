"""Fixtures: both event loops, certificates, a listener that is stopped at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from network_support import Listen, make_host

from xmppchat.network.certificates import CertificateFiles
from xmppchat.network.listener import Listener
from xmppchat.network.tls import TlsContexts


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def one(tmp_path: Path) -> CertificateFiles:
    return make_host(tmp_path, "one.example", "rooms.one.example")


@pytest.fixture
def two(tmp_path: Path) -> CertificateFiles:
    return make_host(tmp_path, "two.example")


@pytest.fixture
def contexts(one: CertificateFiles, two: CertificateFiles) -> TlsContexts:
    return TlsContexts([one, two])


@pytest_asyncio.fixture
async def listen() -> AsyncIterator[Listen]:
    """Starts listeners on free ports; at the end they are stopped and their connections cut."""
    started: list[tuple[Listener, Any]] = []

    async def start(factory: Any, **options: Any) -> Listener:
        listener = Listener("127.0.0.1", 0, factory=factory, **options)
        await listener.start()
        started.append((listener, factory))
        return listener

    yield start
    for listener, factory in started:
        await listener.stop()
        for handler in factory.made:
            if handler.reason is None:
                handler.transport.abort()
                await handler.until_event("disconnected")
