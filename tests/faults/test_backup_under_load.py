"""A backup taken under load is the truth of one instant (reliability.md C11, V-59).

Senders write to people who are offline, and add contacts, one thing after the other; each is acknowledged before the
next. Whatever was acknowledged before the backup began must be in it, nothing that was sent after it ended may be, and
of each sender it must hold the first so many things, without a gap: a state that the server really was in. A second
server, started on what was restored, serves logins, rosters and messages, on the same kind of database or on another.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from live_server import Certificates, LiveServer, make_certificates
from peers.postgresql import Postgresql

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.wire_client import TcpClient

SENDERS = [f"sender{number}" for number in range(4)]
RECIPIENTS = [f"recipient{number}" for number in range(3)]
PASSWORD = "a long secret"
#: What each sender does at least between two looks at it.
STRIDE = 40


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


#: Makes the [storage] of a server.
NewStorage = Callable[[str], str]


@pytest.fixture
def new_storage(request: pytest.FixtureRequest) -> NewStorage:
    """Where a server keeps its data: in its own file, or in a new database of PostgreSQL's."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return ""
        postgresql: Postgresql = request.getfixturevalue("postgresql")
        return f'\n[storage]\nurl = "{postgresql.url(postgresql.new_database())}"\n'

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates, new_storage: NewStorage
) -> Iterator[LiveServer]:
    storage = new_storage(request.param)
    with new_server(tmp_path / "first", certificates, storage) as running:
        if storage:
            postgresql: Postgresql = request.getfixturevalue("postgresql")
            postgresql.sql(storage.split("/")[3].partition("?")[0], FILL_POSTGRESQL)
        else:
            fill(running)
        yield running


def new_server(directory: Path, certificates: Certificates, storage: str) -> LiveServer:
    """A server where rates do not disturb, not running."""
    server = LiveServer(directory, certificates, init=("--registration", "open"))
    server.prepare()
    text = server.config_file.read_text()
    server.config_file.write_text(f'{text}\n[limits]\nprofile = "benchmark"\n{storage}')
    return server


#: Messages that nobody fetches, so that the copy takes a while.
FILL_POSTGRESQL = """
    INSERT INTO offline_messages
    SELECT number, 1, 1, 'someone@far.example', 900, decode(repeat('78', 900), 'hex')
    FROM generate_series(0, 39999) AS number
"""


def fill(server: LiveServer) -> None:
    """The same in SQLite."""
    connection = sqlite3.connect(server.directory / "data" / "xmppchat.db", timeout=30)
    rows = ((number, 1, 1, "someone@far.example", 900, b"x" * 900) for number in range(40_000))
    with connection:
        connection.executemany("INSERT INTO offline_messages VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.close()


async def log_in(server: LiveServer, name: str) -> TcpClient:
    client = await TcpClient.connect(server.address, 5222, server.domain)
    await client.log_in(name, PASSWORD, "x")
    return client


async def register(server: LiveServer, name: str) -> None:
    client = await TcpClient.connect(server.address, 5222, server.domain)
    await client.register(name, PASSWORD)
    await client.close()


@dataclass
class Sender:
    """What one sender has begun, and what of it was acknowledged. Odd things are contacts, even ones messages."""

    name: str
    begun: int = 0
    acknowledged: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, server: LiveServer) -> None:
        """Goes on until cancelled."""
        client = await log_in(server, self.name)
        try:
            await self._work(client, server)
        finally:
            await client.vanish()

    async def _work(self, client: TcpClient, server: LiveServer) -> None:
        for recipient in RECIPIENTS:  # now their accounts are in memory: of a cold one, only what is for it would wait
            client.write(f"<iq type='get' id='w' to='{recipient}@{server.domain}/no'><ping xmlns='{NS.PING}'/></iq>")
            await client.take(lambda element: element.get("id") == "w")
        while True:
            self.begun += 1
            number = self.begun
            if number % 2:
                item = f"<item jid='contact{number}@far.example' name='{number}'/>"
                answer = await client.request("set", f"<query xmlns='{NS.ROSTER}'>{item}</query>")
                assert answer.get("type") == "result", answer.to_xml()
            else:
                to = f"{RECIPIENTS[number // 2 % len(RECIPIENTS)]}@{server.domain}"
                client.write(f"<message to='{to}' type='chat' id='m{number}'><body>{number}</body></message>")
                await client.barrier()  # what is answered behind it in the same session acknowledges it
            self.acknowledged = number
            self.news.set()

    async def has_done(self, count: int) -> None:
        """Return once so many things are acknowledged."""
        async with asyncio.timeout(60):
            while self.acknowledged < count:
                self.news.clear()
                await self.news.wait()


@asynccontextmanager
async def load(server: LiveServer) -> AsyncIterator[list[Sender]]:
    """Senders at work."""
    await asyncio.gather(*(register(server, name) for name in (*SENDERS, *RECIPIENTS)))
    senders = [Sender(name) for name in SENDERS]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sender.work(server)) for sender in senders]
        yield senders
        for task in tasks:
            task.cancel()


async def stride(senders: list[Sender]) -> None:
    """Each does some more."""
    await asyncio.gather(*(sender.has_done(sender.acknowledged + STRIDE) for sender in senders))


async def contacts(server: LiveServer, name: str) -> set[int]:
    """The numbers of the contacts that a sender has."""
    client = await log_in(server, name)
    answer = await client.request("get", f"<query xmlns='{NS.ROSTER}'/>")
    await client.close()
    query = answer.find("query", NS.ROSTER)
    assert query is not None
    return {int(item.get("name")) for item in query.elements()}


async def messages(server: LiveServer, name: str) -> list[tuple[str, int]]:
    """Who wrote what to `name` while it was offline, in the order of delivery."""
    client = await log_in(server, name)
    client.write("<presence/>")
    await client.barrier()
    other = await log_in(server, SENDERS[0])
    other.write(f"<message to='{name}@{server.domain}' type='chat' id='last'><body>queues behind them</body></message>")
    await client.take(lambda element: element.get("id") == "last")
    await asyncio.gather(client.close(), other.close())
    received = [element for element in client.inbox if element.name == "message"]
    return [(sender_of(element), int(element.child_text("body") or "")) for element in received]


def sender_of(message: Element) -> str:
    return message.get("from").partition("@")[0]


async def check(server: LiveServer, least: dict[str, int], most: dict[str, int]) -> None:
    """What `server` serves is all that each sender did up to some point between `least` and `most`."""
    there: dict[str, set[int]] = {name: await contacts(server, name) for name in SENDERS}
    for recipient in RECIPIENTS:
        inbox = await messages(server, recipient)
        for name in SENDERS:
            numbers = [number for sender, number in inbox if sender == name]
            assert numbers == sorted(set(numbers)), f"{name} to {recipient}: not in order, or twice"
            assert not there[name] & set(numbers)
            there[name] |= set(numbers)
    for name in SENDERS:
        count = len(there[name])
        assert there[name] == set(range(1, count + 1)), f"{name}: not the first {count} things, but with a gap"
        assert least[name] <= count <= most[name]


async def test_it_holds_what_was_true_at_its_instant(
    server: LiveServer, tmp_path: Path, certificates: Certificates, new_storage: NewStorage
) -> None:
    files: list[tuple[Path, dict[str, int], dict[str, int]]] = []
    async with load(server) as senders:
        for number in range(3):
            await stride(senders)
            file = tmp_path / f"backup{number}"
            least = {sender.name: sender.acknowledged for sender in senders}
            await asyncio.to_thread(server.run, "backup", str(file), "--config", str(server.config_file))
            most = {sender.name: sender.begun for sender in senders}
            assert all(most[name] > least[name] for name in SENDERS), "work went on meanwhile"
            files.append((file, least, most))
        await stride(senders)
    server.stop()
    for (file, least, most), kind in zip(files, ("sqlite", "postgresql", "sqlite"), strict=True):
        second = new_server(tmp_path / f"from-{file.name}", certificates, new_storage(kind))
        second.run("restore", str(file), "--config", str(second.config_file))
        with second:
            await check(second, least, most)
            await asyncio.to_thread(refused, second, file)


def refused(server: LiveServer, file: Path) -> None:
    """While it runs, nobody puts another database in the place of its own."""
    command = [server.program, "restore", str(file), "--force", "--config", str(server.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "stop that server first" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


async def test_kill_9_of_the_backup_leaves_no_file_and_the_server_works_on(server: LiveServer, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    async with load(server) as senders:
        await stride(senders)
        process = await asyncio.create_subprocess_exec(
            str(server.program), "backup", str(file), "--config", str(server.config_file)
        )
        async with asyncio.timeout(60):
            while not Path(f"{file}.partial").exists():
                await asyncio.sleep(0)
        process.kill()
        await process.wait()
        assert not file.exists()
        await stride(senders)
        await asyncio.to_thread(server.run, "backup", str(file), "--config", str(server.config_file))
    assert sorted(path.name for path in tmp_path.glob("backup*")) == ["backup"]
