"""What befalls a server under load, by the dice of a seed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from live_server import wait_for

from .environment import FakeTime, SmallDisk
from .power import UnsyncedWrites, check_database, is_stopped
from .proxy import FaultProxy
from .run import Nemesis, Run

#: Holds the lock that every write needs.
Lock = Callable[[], AbstractContextManager[object]]


def calm(seconds: float) -> Nemesis:
    """Nothing at all."""

    async def nothing(_: Run) -> None:
        await asyncio.sleep(seconds)

    return nothing


def kills(number: int, *, mean: float = 1.0, restart_share: float = 0.0) -> Nemesis:
    """``kill -9`` that often, `mean` seconds of service apart; a share of them are planned restarts instead."""

    async def killing(run: Run) -> None:
        await asyncio.sleep(1.0)
        while run.counts.get("kills", 0) < number:
            await asyncio.sleep(run.random.uniform(0.1, 2 * mean))
            if run.random.random() < restart_share:
                await run.restart()
            else:
                await run.kill()
        await asyncio.sleep(1.0)

    return killing


def power_losses(disk: UnsyncedWrites, number: int, *, mean: float = 0.7) -> Nemesis:
    """The machine loses power that often: the database is what was synced, and some of the rest (F-02)."""

    async def losing(run: Run) -> None:
        await asyncio.sleep(1.0)
        for _ in range(number):
            await asyncio.sleep(run.random.uniform(0.1, 2 * mean))
            os.kill(run.server.pid, signal.SIGSTOP)  # one instant for all files
            await asyncio.to_thread(wait_for, lambda: is_stopped(run.server.pid), 10.0, "the server to stand still")
            await asyncio.to_thread(run.server.kill)
            run.count("unsynced writes", disk.lose_power(run.random))
            check_database(next(run.server.directory.glob("**/*.db")))
            await asyncio.to_thread(run.server.start)
            run.count("power losses")
        await asyncio.sleep(1.0)

    return losing


def restarts(number: int, *, mean: float = 2.0) -> Nemesis:
    """Planned restarts (F-19): sessions are to be resumed afterwards."""

    async def restarting(run: Run) -> None:
        await asyncio.sleep(1.0)
        for _ in range(number):
            await asyncio.sleep(run.random.uniform(0.5 * mean, 1.5 * mean))
            await run.restart()
        await asyncio.sleep(1.0)

    return restarting


def death_while_stopping() -> Nemesis:
    """A planned stop that does not come to its end: sessions are written down, the rest is not done (F-19)."""

    async def dying(run: Run) -> None:
        server = run.server
        await asyncio.to_thread(server.stop)
        server.environment = {**run.environment, "XC_CRASHPOINT": "after-sessions-saved"}
        await asyncio.to_thread(server.start)
        await asyncio.sleep(1.0)
        os.kill(server.pid, signal.SIGTERM)
        await asyncio.to_thread(wait_for, server._has_ended, 15.0, "death while stopping")
        server._end_by_force()
        server.environment = dict(run.environment)
        await asyncio.to_thread(server.start)
        run.count("deaths while stopping")
        await asyncio.sleep(1.0)

    return dying


def crash_points(points: Sequence[str], *, after: int = 20, seconds: float = 20.0) -> Nemesis:
    """Have the server die at each point, somewhere within its first `after` passages, and start it again (F-01).

    A point that is not passed within `seconds` of load is an error: nothing would be shown.
    """

    async def crashing(run: Run) -> None:
        server = run.server
        for point in points:
            await asyncio.to_thread(server.kill)
            is_rare = point == "mid-hand-out"  # only where somebody is away
            if is_rare:
                run.clients.suspend(0)
            passes = 3 if is_rare else run.random.randint(1, after)
            server.environment = {**run.environment, "XC_CRASHPOINT": f"{point}:{passes}"}
            await asyncio.to_thread(server.start)
            if is_rare:
                await asyncio.sleep(1.5)
                run.clients.wake(0)
            await asyncio.to_thread(wait_for, server._has_ended, seconds, f"death at {point}")
            server._end_by_force()
            server.environment = dict(run.environment)
            await asyncio.to_thread(server.start)
            run.count("crash points")
            await asyncio.sleep(0.5)

    return crashing


def bad_network(proxy: FaultProxy, number: int) -> Nemesis:
    """What the way to the server can do: stand still, break, be slow, cut everything into pieces (F-06)."""

    async def disturbing(run: Run) -> None:
        for _ in range(number):
            await asyncio.sleep(run.random.uniform(0.5, 1.5))
            match run.random.choice(("stall", "reset", "stall and reset", "delay", "split")):
                case "stall":
                    proxy.stall()
                    await asyncio.sleep(run.random.uniform(0.5, 2.0))
                case "reset":
                    proxy.reset()
                case "stall and reset":
                    proxy.stall()
                    await asyncio.sleep(run.random.uniform(0.2, 1.0))
                    proxy.reset()
                case "delay":
                    proxy.delay = run.random.uniform(0.05, 0.4)
                    await asyncio.sleep(2.0)
                case "split":
                    proxy.is_splitting = True
                    await asyncio.sleep(2.0)
            proxy.heal()
            run.count("network faults")
        await asyncio.sleep(1.0)

    return disturbing


def suspended_clients(number: int, *, seconds: float = 3.0) -> Nemesis:
    """Half of the clients stand still: their sockets are open and nobody reads (F-06, F-07)."""

    async def suspending(run: Run) -> None:
        for _ in range(number):
            await asyncio.sleep(run.random.uniform(0.5, 1.5))
            process = run.random.randrange(2)
            run.clients.suspend(process)
            await asyncio.sleep(run.random.uniform(0.5, 1.5) * seconds)
            run.clients.wake(process)
            run.count("suspensions of clients")
        await asyncio.sleep(1.0)

    return suspending


def locked_database(lock: Lock, number: int, *, seconds: float = 3.0) -> Nemesis:
    """Another process holds the lock that every write needs (F-04)."""

    async def locking(run: Run) -> None:
        for _ in range(number):
            await asyncio.sleep(run.random.uniform(0.5, 1.5))
            with lock():
                await asyncio.sleep(run.random.uniform(0.5, 1.5) * seconds)
            run.count("locks")
        await asyncio.sleep(1.0)

    return locking


def full_disk(disk: SmallDisk, number: int, *, seconds: float = 2.0) -> Nemesis:
    """No space is left for a while (F-03): what comes then is refused, or not acknowledged."""

    async def filling(run: Run) -> None:
        for _ in range(number):
            await asyncio.sleep(run.random.uniform(0.5, 1.5))
            disk.fill(run.server.pid)
            await asyncio.sleep(run.random.uniform(0.5, 1.5) * seconds)
            disk.free(run.server.pid)
            run.count("times without space")
        await asyncio.sleep(2.0)

    return filling


def jumping_clock(clock: FakeTime, number: int) -> Nemesis:
    """The wall clock jumps by up to an hour, both ways (F-17)."""

    async def jumping(run: Run) -> None:
        for _ in range(number):
            await asyncio.sleep(run.random.uniform(0.5, 1.5))
            clock.set(run.random.randint(-3600, 3600))
            run.count("clock jumps")
        await asyncio.sleep(1.0)

    return jumping


def several(*parts: Nemesis) -> Nemesis:
    """One after the other."""

    async def all_of_them(run: Run) -> None:
        for part in parts:
            await part(run)

    return all_of_them
