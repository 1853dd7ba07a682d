"""Facts about the machine and the software that a figure depends on."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import platform
import resource
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone_on_the_machine() -> Iterator[None]:
    """Waits until no other benchmark runs here: two at a time would measure each other."""
    with (Path(tempfile.gettempdir()) / "xmppchat-bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another benchmark runs on this machine; waiting for its end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def raise_file_limit(wanted: int = 65536) -> None:
    """Lets this process and its children open `wanted` files, or as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    for limit in (max(hard, wanted), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, limit), limit))
        except (ValueError, OSError):
            continue
        return


def choose_cores() -> tuple[frozenset[int] | None, int | None]:
    """The core of the servers and the one of the generator; None for both where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (frozenset(cores[:1]), cores[1]) if len(cores) > 1 else (None, None)


def _first_value(path: str, key: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            name, _, value = line.replace("=", ":", 1).partition(":")
            if name.strip() == key:
                return value.strip().strip('"')
    except OSError:
        pass
    return "unknown"


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def machine_facts() -> dict[str, str]:
    """Name and value of each fact, in the order of the report."""
    memory = int(_first_value("/proc/meminfo", "MemTotal").split()[0]) / 1024 / 1024
    return {
        "CPU": f"{_first_value('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "Memory": f"{memory:.0f} GiB",
        "System": f"{_first_value('/etc/os-release', 'PRETTY_NAME')}, Linux {platform.release()}",
        "Python": f"{' '.join(sys.version.split())}, uvloop {_installed('uvloop')}",
        "OpenSSL": f"{ssl.OPENSSL_VERSION} (all servers and the generator)",
    }
