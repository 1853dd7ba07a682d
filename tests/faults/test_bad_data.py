"""A row that cannot be read, and a stanza that makes a handler fail: each costs itself, nothing else (F-24, F-30)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from faults.oracle.archive import Reader
from faults.oracle.log import Log, read
from faults.oracle.payload import Chains
from faults.oracle.plan import ClientPlan, Plan
from faults.run import PASSWORD
from faults.scenarios import Setting
from faults.targets import FaultyXmppchat, endpoint

MakeSetting = Callable[..., Setting]


def plan_for(server: FaultyXmppchat, folder: Path) -> Plan:
    """One account that writes to itself."""
    return Plan("r", 1, endpoint(server), PASSWORD, ["romeo"], [], str(folder))


@asynccontextmanager
async def client(plan: Plan, name: str) -> AsyncIterator[Reader]:
    """romeo, logged in and present; it logs to `name`."""
    log = Log(Path(plan.logs) / f"{name}.jsonl", name)
    reader = Reader(plan, ClientPlan("romeo", name, has_sm=False), log)
    try:
        await reader.start()
        reader.send("<presence/>")
        yield reader
        await reader.stop()
    finally:
        log.close()


async def say(reader: Reader, *bodies: str) -> None:
    """Send messages to the own account; an answer behind them says that they were dealt with."""
    for number, body in enumerate(bodies):
        reader.send(f"<message to='{reader.bare}' type='chat' id='m{number}'><body>{body}</body></message>")
    answer = await reader.request("get", "<ping xmlns='urn:xmpp:ping'/>", reader.plan.endpoint.domain)
    assert answer.get("type") == "result"


async def test_a_row_that_is_no_xml_hides_only_itself(setting: MakeSetting, tmp_path: Path) -> None:
    server = setting(1).server()
    server.prepare()
    server.add_accounts(["romeo"], PASSWORD)
    plan = plan_for(server, tmp_path)
    chains = Chains("r", "romeo.phone")
    bodies = [chains.next("romeo>romeo") for _ in range(9)]
    with server:
        async with client(plan, "phone") as phone:
            await say(phone, *bodies)
        server.kill()
        connection = sqlite3.connect(next(server.directory.glob("**/*.db")))
        rows = connection.execute("SELECT id FROM archive ORDER BY id").fetchall()
        assert len(rows) == 9
        connection.execute("UPDATE archive SET stanza = ? WHERE id = ?", (b"<message><body>half", rows[4][0]))
        connection.commit()
        connection.close()
        server.start()
        async with client(plan, "reader") as reader:
            for size in (1, 2, 50):
                for found in (await reader.forwards(size, 0), await reader.backwards(size, 0)):
                    assert [row.body for row in found] == bodies[:4] + bodies[5:], size


async def test_a_stanza_that_breaks_a_handler_costs_itself(setting: MakeSetting, tmp_path: Path) -> None:
    server = setting(1, mutant="poison").server()
    server.prepare()
    server.add_accounts(["romeo"], PASSWORD)
    plan = plan_for(server, tmp_path)
    chains = Chains("r", "romeo.phone")
    before, after = chains.next("romeo>romeo"), chains.next("romeo>romeo")
    with server:
        async with client(plan, "phone") as phone, asyncio.timeout(30):
            for _ in range(3):  # one that sends it again and again breaks nothing, either
                await say(phone, before, "iocane", after)
            rows = await phone.forwards(50, 0)
            # Each with what it was answered: who reads the archive learns that it did not arrive.
            assert [row.body for row in rows if row.body] == [before, after] * 3
            assert len(rows) == 9
        server.kill()  # its log holds the exception, and may
    events = list(read(tmp_path / "phone.jsonl"))
    assert [event["condition"] for event in events if event["event"] == "bounce"] == ["internal-server-error"] * 3
    assert "iocane powder" in server.log()
