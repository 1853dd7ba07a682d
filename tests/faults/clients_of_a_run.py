"""The processes of a run's clients, and the words they understand."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .oracle.plan import ClientPlan, Plan

#: How long the clients may take to have everything acknowledged, and to finish, s.
DRAIN_SECONDS = 60.0


class ClientsFailed(AssertionError):
    """A process of clients ended by itself or did not come to its end: its output says why."""


class Clients:
    """Runs a plan's clients in several processes."""

    def __init__(self, plan: Plan, directory: Path, processes: int = 2) -> None:
        self.plan = plan
        self._directory = directory
        self._number = processes
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Start all processes."""
        for number in range(self._number):
            share: Sequence[ClientPlan] = self.plan.clients[number :: self._number]
            file = self._directory / f"plan{number}.json"
            replace(self.plan, clients=list(share)).save(file)
            with (self._directory / f"clients{number}.err").open("ab") as errors:
                self._processes.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "faults.oracle", str(file),
                        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
                        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, start_new_session=True,
                    )
                )  # fmt: skip

    async def drain(self) -> None:
        """Have no more sent, wait until all is acknowledged."""
        await self._say("drain")
        for process in self._processes:
            assert process.stdout is not None
            try:
                line = await asyncio.wait_for(process.stdout.readline(), DRAIN_SECONDS)
            except TimeoutError:
                raise ClientsFailed(f"not all was acknowledged in {DRAIN_SECONDS:g} s\n{self.errors()}") from None
            if line.strip() != b"drained":
                raise ClientsFailed(self.errors())

    async def finish(self) -> None:
        """Have them catch up for the last time and go."""
        await self._say("finish")
        for process in self._processes:
            try:
                status = await asyncio.wait_for(process.wait(), DRAIN_SECONDS)
            except TimeoutError:
                raise ClientsFailed(f"did not finish in {DRAIN_SECONDS:g} s\n{self.errors()}") from None
            if status != 0:
                raise ClientsFailed(self.errors())

    def suspend(self, number: int) -> None:
        """Stop one process: its sockets stay open, nobody reads or answers (F-06, F-07)."""
        self._processes[number].send_signal(signal.SIGSTOP)

    def wake(self, number: int) -> None:
        """Let it go on."""
        self._processes[number].send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End what still runs."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()

    def check(self) -> None:
        """Raise where a process ended before it was asked to."""
        if any(process.returncode is not None for process in self._processes):
            raise ClientsFailed(self.errors())

    def errors(self) -> str:
        """What the processes wrote on standard error."""
        return "".join(path.read_text(errors="replace")[-8000:] for path in self._directory.glob("clients*.err"))

    async def _say(self, word: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n".encode())
            await process.stdin.drain()
