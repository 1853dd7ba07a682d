"""``python -m faults.oracle PLAN``: runs the plan's clients; stdin says "drain", then "finish"."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from .device import Device
from .log import Log
from .plan import Plan
from .tail import Tail


async def _obey(clients: list[Device | Tail]) -> None:
    """Pass on what the harness says; it says no more when it died: then so do we."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().strip():
        for client in clients:
            getattr(client, line).set()
        if line == "finish":
            return
    raise SystemExit("the harness is gone")


async def _report_drained(clients: list[Device | Tail]) -> None:
    for client in clients:
        await client.drained.wait()
    print("drained", flush=True)


async def _main(plan: Plan) -> None:
    logs = Path(plan.logs)
    clients: list[Device | Tail] = []
    for client in plan.clients:
        kind = Tail if client.kind == "tail" else Device
        clients.append(kind(plan, client, Log(logs / f"{client.name}.jsonl", client.name)))
    async with asyncio.TaskGroup() as group:
        group.create_task(_obey(clients))
        group.create_task(_report_drained(clients))
        for running in clients:
            group.create_task(running.run())


if __name__ == "__main__":
    asyncio.run(_main(Plan.load(Path(sys.argv[1]))))
