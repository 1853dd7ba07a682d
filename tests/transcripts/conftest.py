"""One server of each kind for all transcripts: accounts are new in each, so that none sees another's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
from peers.postgresql import Postgresql
from peers.prosody import Prosody, is_installed

from xmppchat.core.limits import Limits
from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.runner import ADMINS
from xmppchat.testing.tcp import OwnTcpDriver

DOMAIN = "chat.example"
#: How our servers are configured; `peers/prosody.py` says the same to Prosody.
OPTIONS: dict[str, Any] = {
    "admins": {DOMAIN: [f"{name}@{DOMAIN}" for name in ADMINS]},
    "limits": Limits(profile="test", new_recipients_per_minute=10),
    "register": {"mode": "open"},
    "disco": {"items": {"rooms.chat.example": "Rooms", "gateway.example.org": ""}},
    "contact_addresses": {
        "abuse": [f"xmpp:abuse@{DOMAIN}"], "admin": [f"xmpp:abuse@{DOMAIN}", "mailto:admin@example.org"],
        "external_status": ["https://status.example.org/outage.json"],
    },
}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("certificate")
    issued = trustme.CA().issue_cert(DOMAIN)
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    key.chmod(0o600)
    return chain, key


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def driver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> AsyncIterator[Any]:
    directory = tmp_path_factory.mktemp(request.param)
    made: Any
    if request.param == "memory":
        made = MemoryDriver(directory, DOMAIN, **OPTIONS)
    elif request.param == "postgresql":
        server: Postgresql = request.getfixturevalue("postgresql")
        url = server.url(server.new_database())
        made = MemoryDriver(directory, DOMAIN, storage_url=url, **OPTIONS)
    elif request.param in ("tcp", "tls"):
        made = OwnTcpDriver(directory, *certificate, DOMAIN, is_direct=request.param == "tls", **OPTIONS)
    else:
        if not is_installed():
            missing = "there is no Prosody here (Debian: apt-get install prosody)"
            pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
        made = Prosody(directory, *certificate, DOMAIN)
    await made.start()
    yield made
    await made.stop()
    is_whole_run = not any(
        (request.config.option.keyword, request.config.getoption("lf", False), request.session.testsfailed)
    ) and not any("::" in argument for argument in request.config.args)
    unused = [habit.quotation for habit in made.habits if not habit.uses]
    assert not (is_whole_run and unused), f"stale: {request.param} has not the habits {unused}"
