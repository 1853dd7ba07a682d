"""Two hosts in memory, their admins, and clients that run ad-hoc commands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from xmppchat.components import BUILTIN
from xmppchat.components.adhoc import Adhoc
from xmppchat.core.commands import CommandSpec, command_specs
from xmppchat.core.component import Component
from xmppchat.core.config import ServerConfig
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.forms import Field, Form
from xmppchat.protocol.namespaces import NS
from xmppchat.server import Server
from xmppchat.testing.clock import FakeClock
from xmppchat.testing.memory import MemoryClient, create_account, settle

A, B = "a.example", "b.example"
REMOTE = f"boss@remote.{A}"
#: The configuration names an admin of each host, one of both, one of A who lives at B, and one of another server.
ADMINS = {
    A: [f"alice@{A}", f"both@{A}", f"abroad@{B}", REMOTE],
    B: [f"bob@{B}", f"both@{A}"],
}
ACCOUNTS = (
    f"alice@{A}", f"both@{A}", f"romeo@{A}", f"bob@{B}", f"abroad@{B}", f"romeo@{B}",
)  # fmt: skip

#: All commands that are offered by ad-hoc, by node.
NODES: Mapping[str, CommandSpec] = {spec.node: spec for spec in command_specs(BUILTIN).values() if spec.node}


class Hosts:
    """The server, and its clients by JID."""

    def __init__(self, server: Server, clock: FakeClock) -> None:
        self.server = server
        self.clock = clock
        self.kernel = server.kernel

    @property
    def adhoc(self) -> Adhoc:
        """The component."""
        return next(c for c in self.kernel.components if isinstance(c, Adhoc))

    async def log_in(self, bare: str, resource: str = "x") -> MemoryClient:
        """A client of the account."""
        local, _, domain = bare.partition("@")
        client = MemoryClient(domain, self.server.connections.new())
        await client.open()
        await client.log_in(local, "secret", resource)
        client.write("<presence/>")
        await settle(self.kernel)
        client.inbox.clear()
        return client

    async def execute(self, name: str, **arguments: object) -> Any:
        """Run a command as the command line does."""
        return await self.server.execute(name, arguments)


def configuration(directory: Path, admins: Mapping[str, Sequence[str]], **components: Any) -> ServerConfig:
    """Both hosts, with `admins` by host."""
    return ServerConfig.for_tests([A, B], data_dir=directory, admins=admins, **components)


@asynccontextmanager
async def two_hosts(
    directory: Path, extra: Sequence[type[Component[Any]]] = (), **components: Any
) -> AsyncIterator[Hosts]:
    """A server of A and B with :data:`ACCOUNTS`, and `extra` components."""
    clock = FakeClock()
    config = configuration(directory, ADMINS, **components)
    config = replace(config, component_classes=(*BUILTIN, *extra))
    server = Server(config, clock=clock, listen=False)
    await server.start()
    try:
        for account in ACCOUNTS:
            await create_account(server.kernel, JID.parse(account), "secret")
        yield Hosts(server, clock)
    finally:
        await server.stop()


async def step(
    client: MemoryClient, node: str, *, to: str = A, session: str = "", action: str = "", form: Form | None = None
) -> Element:
    """One step of a command; the answer."""
    attributes = {"node": node, "sessionid": session or None, "action": action or None}
    command = Element("command", NS.COMMANDS, attributes, [form.to_element()] if form else [])
    client._barriers += 1
    name = f"step-{client._barriers}"
    client.write(Element("iq", NS.CLIENT, {"type": "set", "id": name, "to": to}, (command,)).to_xml(NS.CLIENT))
    return await client.take(lambda element: element.get("id") == name)


async def run(
    client: MemoryClient, node: str, values: Mapping[str, Sequence[str]] | None = None, *, to: str = A
) -> Element:
    """A whole command: executed and, where a form comes, completed with `values`. The last answer."""
    answer = await step(client, node, to=to)
    command = answer.find("command", NS.COMMANDS)
    if command is None or command.get("status") != "executing":
        return answer
    fields = tuple(Field(var, "", tuple(given)) for var, given in (values or {}).items())
    return await step(client, node, to=to, session=command.get("sessionid"), form=Form("submit", fields))


def payload(answer: Element) -> Element:
    """The ``<command/>`` of a result."""
    command = answer.find("command", NS.COMMANDS)
    assert command is not None, answer.to_xml()
    return command


def status(answer: Element) -> str:
    """The status of a result, "condition" of an error, with " detail" where there is one."""
    error = answer.find("error")
    if error is None:
        return payload(answer).get("status")
    details = [child.name for child in error.elements() if child.name != "text"]
    return " ".join(details)


def notes(answer: Element) -> list[tuple[str, str]]:
    """Kind and text of the notes of a result."""
    return [(note.get("type"), note.text) for note in payload(answer).find_all("note")]
