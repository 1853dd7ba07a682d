"""Builds the load generator and runs it against a server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.servers import Server

_SOURCES = Path(__file__).with_name("loadgen")
PROGRAM = Path(__file__).with_name("build") / "loadgen"

Figures = dict[str, float | str | None]


class GeneratorError(Exception):
    """The generator could not be built, gave no result, or saw errors; `figures` is what it measured."""

    def __init__(self, text: str, figures: Figures | None = None) -> None:
        super().__init__(text)
        self.figures = figures or {}


def build() -> None:
    """Compiles the generator where it is out of date."""
    made = subprocess.run(["make", "-s", "-C", str(_SOURCES)], capture_output=True, text=True)
    if made.returncode != 0:
        raise GeneratorError(f"the load generator does not build (gcc, make and libssl-dev are needed):\n{made.stderr}")


def run(server: Server, arguments: Sequence[str], *, core: int | None, timeout: float = 900.0) -> Figures:
    """Runs one scenario from `core` and returns its figures; raises GeneratorError when an error was seen."""
    command = [
        str(PROGRAM), "--host", server.host, "--port", str(server.port), "--domain", server.domain,
        *(option for pid in server.pids for option in ("--server-pid", str(pid))), *arguments,
    ]  # fmt: skip
    own_cores = os.sched_getaffinity(0)
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})  # the child inherits it
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        os.sched_setaffinity(0, own_cores)
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise GeneratorError(f"{arguments[0]} did not end within {timeout:.0f} s") from None
    finally:
        process.kill()
        process.wait()
    lines = output.splitlines()
    if not lines:
        raise GeneratorError(errors.strip() or f"{arguments[0]} ended with status {process.returncode}")
    figures: Figures = json.loads(lines[-1])
    if process.returncode != 0:
        raise GeneratorError(str(figures.get("first_error", errors.strip())), figures)
    return figures
