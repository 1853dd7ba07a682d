"""The runs there are: a server with a surrounding, clients, and what befalls them. Each by its name."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from live_server import Certificates
from peers.postgresql import Postgresql

from . import nemesis
from .environment import FakeTime, SmallDisk, sqlite_locked
from .oracle.plan import ClientPlan
from .power import UnsyncedWrites
from .proxy import FaultProxy
from .run import Nemesis, Report, population, run
from .targets import FaultyXmppchat, endpoint

#: Where the server may die in the middle of its work.
CRASH_POINTS = (
    "before-archive", "before-commit", "after-commit-before-release", "mid-fan-out", "after-acknowledgement",
    "mid-hand-out",
)  # fmt: skip
#: Limits with which sessions expire while a client is away for a moment.
SHORT = {"resumption_seconds": 1}
_MUTANTS = Path(__file__).parent / "mutants"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a run takes place: an empty folder, certificates, dice, a database (None: SQLite), perhaps a defect."""

    directory: Path
    certificates: Certificates
    seed: int
    postgresql: Postgresql | None = None
    mutant: str = ""

    def server(
        self,
        *,
        limits: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> FaultyXmppchat:
        """A server of this setting, not running."""
        database = self.postgresql.url(self.postgresql.new_database()) if self.postgresql is not None else ""
        wanted = dict(environment or {})
        if self.mutant:
            wanted |= {"XC_MUTANT": self.mutant, "PYTHONPATH": str(_MUTANTS)}
        return FaultyXmppchat(
            self.directory / "server", self.certificates, database=database, limits=limits, environment=wanted,
            prefix=prefix,
        )  # fmt: skip

    async def run(
        self,
        server: FaultyXmppchat,
        what: Nemesis,
        clients: list[ClientPlan] | None = None,
        unkept: Sequence[str] = (),
        rest: float = 0.0,
    ) -> Report:
        """Run it; the accounts in `unkept` archive nothing. `rest`: see :func:`faults.run.run`."""
        return await run(
            server, self.directory, what, seed=self.seed, clients=clients or population(), unkept=unkept, rest=rest
        )

    def lock(self, server: FaultyXmppchat) -> nemesis.Lock:
        """Holds the lock that every write needs."""
        if self.postgresql is None:
            return lambda: sqlite_locked(server.directory)
        postgresql, database = self.postgresql, server.database_name
        return lambda: _postgresql_locked(postgresql, database)


@contextmanager
def _postgresql_locked(postgresql: Postgresql, database: str) -> Iterator[None]:
    with subprocess.Popen(
        postgresql.psql(database), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("BEGIN; LOCK TABLE archive IN ACCESS EXCLUSIVE MODE; SELECT 'locked';\n")
        session.stdin.flush()
        assert session.stdout.readline().strip() == "locked"
        try:
            yield
        finally:
            session.stdin.write("ROLLBACK;\n")
            session.stdin.close()


async def kills(setting: Setting, number: int = 20) -> Report:
    """``kill -9`` under load (F-01)."""
    return await setting.run(setting.server(), nemesis.kills(number, mean=0.5), population(rate=20.0))


async def crash_points(setting: Setting) -> Report:
    """Death at each named point, twice (F-01)."""
    return await setting.run(setting.server(), nemesis.crash_points([*CRASH_POINTS, *CRASH_POINTS]))


async def restarts(setting: Setting) -> Report:
    """Planned restarts, one of which dies with its sessions saved (F-19)."""
    return await setting.run(setting.server(), nemesis.several(nemesis.restarts(4), nemesis.death_while_stopping()))


async def network(setting: Setting) -> Report:
    """A way to the server that stands still, breaks, delays, and cuts into pieces (F-06)."""
    server = setting.server()
    async with FaultProxy((endpoint(server).address, endpoint(server).port), setting.seed) as proxy:
        return await setting.run(server, nemesis.bad_network(proxy, 15), population(proxy_port=proxy.port))


async def forgetful(setting: Setting) -> Report:
    """Clients that forget their sessions, log in anew and send again what was not acknowledged (C2)."""
    clients = [replace(client, restless=3.0) for client in population(are_forgetful=True)]
    return await setting.run(setting.server(), nemesis.several(nemesis.calm(5), nemesis.kills(3)), clients)


def restless(accounts: int = 6, *, absence: float = 0.8, rate: float = 10.0) -> list[ClientPlan]:
    """Two devices of each account that come and go, some so long that their sessions expire (see `SHORT`).

    Some forget their session, some are somebody else by name each time, some know no carbons.
    """
    clients = []
    for number in range(accounts):
        for place, resource in enumerate(("phone", "laptop")):
            kind = 2 * number + place
            clients.append(ClientPlan(
                f"a{number}", resource, has_carbons=kind % 5 != 4, rate=rate / (1 + place), restless=0.8,
                is_forgetful=kind % 2 == 0, absence=absence if kind % 3 else 0.0, is_renaming=kind % 4 in (1, 2),
                is_dozing=kind % 3 == 1, has_receipts=kind % 3 == 0,
            ))  # fmt: skip
    return [*clients, ClientPlan("a0", "tail", "tail", has_sm=False)]


async def coming_and_going(setting: Setting, seconds: float = 12.0) -> Report:
    """Clients that stay away, longer than their sessions wait, and come back as others."""
    server = setting.server(limits=SHORT)
    what = nemesis.several(nemesis.calm(seconds / 2), nemesis.kills(1), nemesis.calm(seconds / 2), nemesis.restarts(1))
    return await setting.run(server, what, restless(), rest=1.0 + SHORT["resumption_seconds"])


async def unarchived(setting: Setting, seconds: float = 12.0) -> Report:
    """Half of the accounts archive nothing: what they are sent is in their sessions, or waits for them (C5).

    Nothing dies here: a message that is nowhere but in a session does not outlive the process (reliability.md).
    """
    server = setting.server(limits=SHORT)
    what = nemesis.several(nemesis.calm(seconds), nemesis.restarts(1))
    return await setting.run(server, what, restless(), ("a1", "a3", "a5"), rest=1.0 + SHORT["resumption_seconds"])


async def power_losses(setting: Setting, number: int = 8, accounts: int = 10) -> Report:
    """Power is lost at random instants: what was written and not yet synced is there in part or not at all (F-02)."""
    disk = UnsyncedWrites(setting.directory)
    server = setting.server(environment=disk.environment())
    return await setting.run(server, nemesis.power_losses(disk, number), population(accounts, rate=20.0))


async def suspended(setting: Setting) -> Report:
    """Clients that stand still and do not read (F-06, F-07)."""
    return await setting.run(setting.server(), nemesis.suspended_clients(4))


async def locked(setting: Setting) -> Report:
    """A database that does not answer for seconds (F-04), and deaths in between."""
    server = setting.server()
    lock = setting.lock(server)
    return await setting.run(server, nemesis.several(nemesis.locked_database(lock, 3), nemesis.kills(2)))


async def full_disk(setting: Setting) -> Report:
    """No space is left for a while (F-03)."""
    disk = SmallDisk(setting.directory / "server" / "data")
    return await setting.run(setting.server(prefix=disk.prefix()), nemesis.full_disk(disk, 3))


async def clock(setting: Setting) -> Report:
    """The wall clock jumps (F-17), and the server dies in between."""
    time = FakeTime(setting.directory)
    server = setting.server(environment=time.environment())
    jumps = nemesis.jumping_clock(time, 3)
    return await setting.run(server, nemesis.several(jumps, nemesis.kills(1), jumps, nemesis.restarts(1)))


async def hunt(setting: Setting) -> Report:
    """What every planted defect has to be found by: deaths before a commit, and a while of mere load."""
    deaths = nemesis.crash_points(["before-commit"] * 3)
    clients = population(rate=15.0, are_forgetful=True)
    return await setting.run(setting.server(), nemesis.several(deaths, nemesis.kills(3), nemesis.calm(6.0)), clients)


#: What a run of a setting is.
Scenario = Callable[[Setting], Awaitable[Report]]
#: All but the kills and the hunt, in the order of the report.
SCENARIOS: Mapping[str, Scenario] = {
    "every crash point, twice": crash_points,
    "planned restarts": restarts,
    "a bad network": network,
    "clients that forget their sessions": forgetful,
    "clients that stand still": suspended,
    "clients that stay away": coming_and_going,
    "accounts that archive nothing": unarchived,
    "a locked database": locked,
    "a full disk": full_disk,
    "a jumping clock": clock,
    "power losses": power_losses,
    "the hunt for planted defects, without any": hunt,
}
#: Those that are about SQLite's files or need no other database: PostgreSQL has its own word on power losses.
SQLITE_ONLY = frozenset({"a full disk", "a jumping clock", "power losses"})
#: What finds a planted defect, where it is not the hunt.
HUNTS: Mapping[str, Scenario] = {
    "no-sync": power_losses, "not-handed-back": unarchived, "no-id-in-copies": coming_and_going,
}
