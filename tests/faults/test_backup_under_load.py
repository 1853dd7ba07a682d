"""A backup taken under load is the truth of one instant (reliability.md C11, V-59).

Senders write to people who are offline, and add contacts, one thing after the other; each is acknowledged before the
next. Whatever was acknowledged before the backup began must be in it, nothing that was sent after it ended may be, and
of each sender it must hold the first so many things, without a gap: a state that the server really was in. A message
is in the archives of both, and waits for its recipient under the id that it has there: in all three, or in none.
A second server, started on what was restored, serves logins, rosters, archives and messages, on the same kind of
database or on another.
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


@dataclass(frozen=True)
class Message:
    """A message of a sender's, and its id in the archive it was seen in, or by which it was delivered."""

    sender: str
    recipient: str
    number: int
    id: str

    @classmethod
    def read(cls, message: Element, id: str) -> Message:
        """From a <message/>."""
        sender, recipient = (message.get(name).partition("@")[0] for name in ("from", "to"))
        return cls(sender, recipient, int(message.child_text("body") or ""), id)


async def archived(server: LiveServer, name: str) -> list[Message]:
    """The archive of `name`, page by page."""
    client = await log_in(server, name)
    messages: list[Message] = []
    after, is_complete = "", False
    while not is_complete:
        client.inbox.clear()
        page = f"<set xmlns='{NS.RSM}'><max>100</max>{after}</set>"
        answer = await client.request("set", f"<query xmlns='{NS.ARCHIVE}'>{page}</query>")
        results = [found for one in client.inbox if (found := one.find("result", NS.ARCHIVE)) is not None]
        for result in results:
            (forwarded,) = result.elements()
            message = forwarded.find("message", NS.CLIENT)
            assert message is not None
            messages.append(Message.read(message, result.get("id")))
        fin = answer.find("fin", NS.ARCHIVE)
        assert fin is not None, answer.to_xml()
        is_complete = fin.get("complete") == "true"
        after = f"<after>{messages[-1].id}</after>" if messages else ""
    await client.close()
    return messages


async def messages(server: LiveServer, name: str) -> list[Message]:
    """What was written to `name` while it was offline, in the order of delivery."""
    client = await log_in(server, name)
    client.write("<presence/>")
    await client.barrier()
    other = await log_in(server, SENDERS[0])
    other.write(f"<message to='{name}@{server.domain}' type='chat' id='last'><body>queues behind them</body></message>")
    await client.take(lambda element: element.get("id") == "last")
    await asyncio.gather(client.close(), other.close())
    received = [element for element in client.inbox if element.name == "message"]
    return [Message.read(element, id_in_archive(element, f"{name}@{server.domain}")) for element in received]


def id_in_archive(message: Element, owner: str) -> str:
    """The id that a message was delivered with (XEP-0359)."""
    (id,) = [one.get("id") for one in message.elements() if one.name == "stanza-id" and one.get("by") == owner]
    return id


async def check(server: LiveServer, least: dict[str, int], most: dict[str, int]) -> None:
    """What `server` serves is all that each sender did up to some point between `least` and `most`."""
    there: dict[str, set[int]] = {name: await contacts(server, name) for name in SENDERS}
    sent = {name: await archived(server, name) for name in SENDERS}
    for recipient in RECIPIENTS:
        received = await archived(server, recipient)
        inbox = await messages(server, recipient)
        assert inbox == received, f"{recipient}: what waits for it is not what is in its archive"
        assert len({message.id for message in received}) == len(received)
        for name in SENDERS:
            numbers = [message.number for message in received if message.sender == name]
            assert numbers == sorted(set(numbers)), f"{name} to {recipient}: not in order, or twice"
            assert not there[name] & set(numbers)
            there[name] |= set(numbers)
            assert numbers == [message.number for message in sent[name] if message.recipient == recipient]
    for name in SENDERS:
        count = len(there[name])
        assert there[name] == set(range(1, count + 1)), f"{name}: not the first {count} things, but with a gap"
        assert least[name] <= count <= most[name]
        assert [message.number for message in sent[name]] == list(range(2, count + 1, 2)), f"{name}: its own archive"


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
