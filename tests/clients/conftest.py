"""Fixtures for clients that nobody here wrote, against a server that runs as its user runs it."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from live_server import Certificates, LiveServer, NewUser, ServerProcess, User, make_certificates
from profanity import Profanity, StartProfanity
from programs import need
from prosody_live import ProsodyLive
from sendxmpp import GoSendxmpp, MakeGoSendxmpp
from slix import MakeSlix, Slix
from xmppjs import MakeXmppJs, XmppJs

_SERVERS: dict[str, type[ServerProcess]] = {"xmppchat": LiveServer, "prosody": ProsodyLive}
_HERE = Path(__file__).parent
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that stands in this folder needs foreign software."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.foreign)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The server's certificate with the authority that clients trust, and a foreign one."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[ServerProcess]:
    """The server that the module's tests share; stopped properly and its log judged at the end."""
    kind = request.config.getoption("--server")
    need({"prosody": "prosody", "xmppchat": str(LiveServer.program)}[kind])
    with _SERVERS[kind](tmp_path_factory.mktemp(kind), certificates) as running:
        yield running


@pytest.fixture(scope="module")
def user(server: ServerProcess) -> User:
    """An account for those tests of a module that leave no traces in it: making one costs half a second."""
    return server.add_user("shared", "pass word, shared")


@pytest.fixture
def new_user(server: ServerProcess) -> NewUser:
    """Makes a new account whose localpart begins with the given name."""

    def make(name: str) -> User:
        password = f"pass word of {name}, {next(_numbers)}"
        return server.add_user(f"{name}{next(_numbers)}", password)

    return make


@pytest.fixture
async def slix(server: ServerProcess) -> AsyncIterator[MakeSlix]:
    """Makes slixmpp clients, logged out at the end."""
    made: list[Slix] = []

    def make(user: User, kind: type[Slix] = Slix, **options: object) -> Slix:
        made.append(kind(server, user.jid, user.password, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        await client.logout()


@pytest.fixture
async def xmppjs(server: ServerProcess) -> AsyncIterator[MakeXmppJs]:
    """Makes clients with @xmpp/client, ended with the test."""
    need("node")
    made: list[XmppJs] = []

    def make(user: User, resource: str, kept: Mapping[str, Any] | None = None) -> XmppJs:
        made.append(XmppJs(server, user, resource, kept))
        return made[-1]

    yield make
    for client in made:
        await client.stop()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A new folder for Unix sockets: their paths may have 107 bytes, which tmp_path can use up."""
    with tempfile.TemporaryDirectory(prefix="xc", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def profanity(server: ServerProcess, short_path: Path) -> Iterator[StartProfanity]:
    """Starts profanities, each with a home of its own, ended with the test."""
    made: list[Profanity] = []

    async def make(**options: Path) -> Profanity:
        made.append(Profanity(server, short_path / str(len(made)), **options))
        return await made[-1].start()

    yield make
    for client in made:
        client.close()


@pytest.fixture
def sendxmpp(server: ServerProcess, tmp_path: Path) -> Iterator[MakeGoSendxmpp]:
    """Makes go-sendxmpp clients; listeners are ended with the test."""
    made: list[GoSendxmpp] = []

    def make(user: User, **options: object) -> GoSendxmpp:
        home = tmp_path / str(len(made))
        made.append(GoSendxmpp(server, user.jid, user.password, home, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        client.close()
