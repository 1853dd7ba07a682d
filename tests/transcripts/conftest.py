"""One server of each kind for all transcripts: accounts are new in each, so that none sees another's."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme

from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.tcp import OwnTcpDriver

sys.path.insert(0, str(Path(__file__).parent.parent / "peers"))

DOMAIN = "chat.example"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "driver" in metafunc.fixturenames:
        is_prosody = metafunc.config.getoption("--server") == "prosody"
        names = ["prosody"] if is_prosody else ["memory", "tcp"]
        metafunc.parametrize("driver", names, indirect=True, scope="session")


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
        made = MemoryDriver(directory, DOMAIN, register={"mode": "open"})
    elif request.param == "tcp":
        made = OwnTcpDriver(directory, *certificate, DOMAIN)
    else:
        import prosody

        if not prosody.is_installed():
            pytest.skip("there is no Prosody here (Debian: apt-get install prosody)")
        made = prosody.Prosody(directory, *certificate, DOMAIN)
    await made.start()
    yield made
    await made.stop()
