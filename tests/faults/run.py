"""One run: a server, clients that chat, faults by a seed, then the judgement."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from live_server import ServerProcess

from .clients_of_a_run import Clients
from .history import History, collect
from .oracle.archive import ALL_PAGES, PAGES, PagingError, Row, keep_nothing, read_archive
from .oracle.plan import ClientPlan, Plan
from .reconcile import Verdict, Violation, explain, judge
from .targets import endpoint

PASSWORD = "a long secret"
#: So many archives are read one by one from end to end.
_READ_ONE_BY_ONE = 2


class Target(Protocol):
    """A server with a way to add accounts."""

    def add_accounts(self, names: Sequence[str], password: str) -> None:
        """Add accounts."""


@dataclass(slots=True)
class Run:
    """What the nemesis gets: the server, the clients, its dice, and what it counts."""

    server: ServerProcess
    clients: Clients
    random: random.Random
    plan: Plan
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        """The server's environment without any crash point."""
        return {name: value for name, value in self.server.environment.items() if name != "XC_CRASHPOINT"}

    def count(self, fault: str, number: int = 1) -> None:
        """So many more faults of that name."""
        self.counts[fault] = self.counts.get(fault, 0) + number

    async def kill(self) -> None:
        """``kill -9`` and start again."""
        await asyncio.to_thread(self.server.kill)
        await asyncio.to_thread(self.server.start)
        self.count("kills")

    async def restart(self) -> None:
        """SIGTERM and start again."""
        await asyncio.to_thread(self.server.restart)
        self.count("restarts")


#: What happens to a run while its clients chat.
Nemesis = Callable[[Run], Awaitable[None]]


@dataclass(slots=True)
class Report:
    """The end of a run."""

    verdict: Verdict
    history: History
    counts: dict[str, int]
    seconds: float
    seed: int

    def line(self) -> str:
        """The result in one line."""
        faults = ", ".join(f"{count} {name}" for name, count in self.counts.items()) or "no faults"
        return f"{faults}, {self.verdict.line()} (seed {self.seed}, {self.seconds:.0f} s)"

    def text(self) -> str:
        """The line and, where there are violations, examples."""
        return self.line() if not self.verdict.violations else f"{self.line()}\n{explain(self.history, self.verdict)}"


def population(
    accounts: int = 10, *, rate: float = 10.0, proxy_port: int = 0, are_forgetful: bool = False
) -> list[ClientPlan]:
    """Clients of all kinds on `accounts` accounts: phones, half of them with a laptop, tails, one without SM.

    Some doze, some ask for receipts and give them.
    """
    clients = []
    for number in range(accounts):
        name = f"a{number}"
        # Every third phone has no carbons, every second connects through the fault proxy if there is one.
        clients.append(ClientPlan(
            name, "phone", has_carbons=number % 3 != 2, rate=rate, restless=10.0 if number % 4 == 1 else 0.0,
            is_forgetful=are_forgetful, proxy_port=proxy_port if number % 2 else 0, is_dozing=number % 5 == 3,
            has_receipts=number % 3 == 1,
        ))  # fmt: skip
        if number % 2 == 0:
            clients.append(ClientPlan(name, "laptop", rate=rate / 2))
    clients.append(ClientPlan("a1", "old", has_sm=False, rate=rate / 4))
    clients += [ClientPlan("a0", "tail0", "tail", has_sm=False), ClientPlan("a3", "tail1", "tail", has_sm=False)]
    return clients


async def run(
    server: ServerProcess,
    directory: Path,
    nemesis: Nemesis,
    *,
    seed: int,
    clients: list[ClientPlan],
    before: Callable[[], None] = lambda: None,
    patience: float = 60.0,
    silence: float = 20.0,
    unkept: Sequence[str] = (),
    rest: float = 0.0,
) -> Report:
    """Start everything, let the nemesis work, heal, judge. `server` must not run yet; it is stopped at the end.

    `rest` is how long sessions of devices that came back as others may take to expire, s: what was sent to those goes
    elsewhere before the devices say that they have all.
    """
    begin = time.monotonic()
    logs = directory / "logs"
    logs.mkdir(parents=True)
    accounts = list(dict.fromkeys(client.account for client in clients))
    server.prepare()
    server.add_accounts(accounts, PASSWORD)  # type: ignore[attr-defined]
    plan = Plan(
        run=f"r{seed}", seed=seed, endpoint=endpoint(server), password=PASSWORD, accounts=accounts, clients=clients,
        logs=str(logs), patience=patience, silence=silence, unkept=tuple(unkept),
    )  # fmt: skip
    chatting = Clients(plan, directory)
    before()
    with server:
        try:
            for account in unkept:
                await keep_nothing(plan, account, logs)
            await chatting.start()
            state = Run(server, chatting, random.Random(seed), plan)
            await nemesis(state)
            chatting.check()
            await chatting.drain()
            await asyncio.sleep(rest)
            await chatting.finish()
        finally:
            chatting.stop()
        archives, faults = await _archives(plan, logs)
    history = collect(plan, logs, archives)
    verdict = judge(history)
    verdict.violations += faults
    return Report(verdict, history, state.counts, time.monotonic() - begin, seed)


async def _archives(plan: Plan, logs: Path) -> tuple[dict[str, list[Row]], list[Violation]]:
    archives: dict[str, list[Row]] = {}
    faults = []
    for number, account in enumerate(plan.accounts):
        try:
            pages = ALL_PAGES if number < _READ_ONE_BY_ONE else PAGES
            archives[account] = await read_archive(plan, account, logs, pages)
        except PagingError as error:
            faults.append(Violation("paging", str(error)))
            archives[account] = []
    return archives, faults
