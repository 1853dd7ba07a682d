"""What the tests of accounts share: commands, hashes, logins."""

from __future__ import annotations

import base64
import json
from typing import Any

import bcrypt
from sqlalchemy import select

from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.wire_client import WireClient

COST = 4


async def run(driver: MemoryDriver, name: str, **arguments: object) -> Any:
    """The result of an operator's command."""
    return await driver.server.execute(name, arguments)


async def bring(driver: MemoryDriver, *accounts: dict[str, Any], **options: bool) -> Any:
    """Import accounts."""
    return await run(driver, "user import-part", accounts=json.dumps(accounts), **options)


def hashed(password: str, kind: str = "2b", cost: int = COST) -> str:
    """A hash as another system would have made it."""
    made = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()
    return f"${kind}${made[4:]}"


async def rows(driver: MemoryDriver, table: Any) -> list[Any]:
    """All that stands in a table."""
    return list(await driver.server.database.fetch(select(table)))


async def log_in(driver: MemoryDriver, name: str, password: str, resource: str = "r") -> WireClient:
    """A client that logged in with PLAIN."""
    client = await driver.connect()
    await client.log_in(name, password, resource)
    return client


async def refusal(driver: MemoryDriver, name: str, password: str) -> str:
    """The condition with which a login with PLAIN is refused."""
    client = await driver.connect()
    initial = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{initial}</auth>")
    answer = await client.take(lambda element: element.namespace == NS.SASL)
    await client.close()
    assert answer.name == "failure"
    return next(answer.elements()).name
