"""What the tests of archives share: people who talk, pages, rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from xmppchat.components.archive import Archive
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryClient, MemoryDriver
from xmppchat.testing.wire_client import WireClient

ROMEO, JULIET, NURSE = (f"{name}@chat.example" for name in ("romeo", "juliet", "nurse"))


async def accounts(driver: MemoryDriver, *names: str) -> None:
    """Make accounts; the password is "secret"."""
    for name in names or ("romeo", "juliet", "nurse"):
        await driver.create_account(name, "secret")


async def connected(driver: MemoryDriver, name: str, resource: str = "x", *, is_available: bool = True) -> WireClient:
    """A client that is logged in."""
    client = MemoryClient(driver.domain, driver.server.connections.new())
    await client.open()
    await client.log_in(name, "secret", resource)
    if is_available:
        client.write("<presence/>")
    await driver.settle([])
    client.inbox.clear()
    return client


def archive(driver: MemoryDriver) -> Archive:
    """The component."""
    (found,) = [component for component in driver.server.kernel.components if isinstance(component, Archive)]
    return found


async def rows(driver: MemoryDriver, table: Any = schema.archive) -> list[Any]:
    """All rows of a table, in the order of its first column."""
    return list(await driver.server.database.fetch(select(table).order_by(next(iter(table.c)))))


@dataclass(frozen=True)
class Answer:
    """What came of a query: ids and bodies in the order of arrival, the end, or the condition of an error."""

    ids: list[str]
    bodies: list[str]
    fin: Element | None
    condition: str = ""

    @property
    def is_complete(self) -> bool:
        return self.fin is not None and self.fin.get("complete") == "true"

    def said(self, name: str) -> str:
        """A value of the ``<set/>``, "" where it is not there."""
        page = self.fin.find("set", NS.RSM) if self.fin is not None else None
        return (page.child_text(name) if page is not None else None) or ""


def form(**fields: str | list[str]) -> str:
    """A form with these fields; "_" stands for "-"."""
    children = [f"<field var='FORM_TYPE' type='hidden'><value>{NS.ARCHIVE}</value></field>"]
    for name, values in fields.items():
        texts = [values] if isinstance(values, str) else values
        inner = "".join(f"<value>{text}</value>" for text in texts)
        children.append(f"<field var='{name.strip('_').replace('_', '-')}'>{inner}</field>")
    return f"<x xmlns='{NS.FORM}' type='submit'>{''.join(children)}</x>"


def page(**values: str | int) -> str:
    """A ``<set/>``."""
    return f"<set xmlns='{NS.RSM}'>{''.join(f'<{name}>{value}</{name}>' for name, value in values.items())}</set>"


async def ask(client: WireClient, inner: str = "", *, to: str = "") -> Answer:
    """Query the archive of the client's account, or of another."""
    client.inbox.clear()
    address = f" to='{to}'" if to else ""
    client.write(f"<iq type='set' id='ask'{address}><query xmlns='{NS.ARCHIVE}'>{inner}</query></iq>")
    ids: list[str] = []
    bodies: list[str] = []
    while True:
        element = await client.take(lambda one: one.get("id") == "ask" or one.find("result", NS.ARCHIVE) is not None)
        result = element.find("result", NS.ARCHIVE)
        if result is None:
            error = element.find("error")
            condition = next(error.elements()).name if error is not None else ""
            return Answer(ids, bodies, element.find("fin", NS.ARCHIVE), condition)
        forwarded = result.find("forwarded", NS.FORWARD)
        assert forwarded is not None
        message = forwarded.find("message", NS.CLIENT)
        assert message is not None
        ids.append(result.get("id"))
        bodies.append(message.child_text("body") or "")
