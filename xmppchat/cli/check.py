"""``xmppchat check``: everything wrong with a configuration and its certificates, before a start finds it."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from xmppchat.cli import environment
from xmppchat.core.config import ServerConfig
from xmppchat.network import certificates


def check(config: str) -> int:
    """Print what is found; returns the exit status, 1 where a start would fail or clients would refuse."""
    loaded = environment.load(config)
    findings = list(find(loaded))
    for severity, text in findings:
        print(f"{severity}: {text}")
    if any(severity == "error" for severity, _ in findings):
        return 1
    hosts = ", ".join(loaded.hosts)
    print(f"{loaded.path} is fine: serves {hosts}" if not findings else f"{loaded.path} can be used: serves {hosts}")
    return 0


def find(config: ServerConfig) -> Iterator[tuple[str, str]]:
    """(severity, text) of each finding."""
    for name, host in config.hosts.items():
        files = certificates.CertificateFiles(name, host.certificate, host.key)
        for finding in certificates.check(files):
            yield finding.severity, finding.text
    if not config.listen.starttls_port and not config.listen.direct_tls_port:
        yield "error", "both ports in [listen] are off, so nobody can connect"
    directory = config.data_dir
    if directory.exists():
        if not directory.is_dir():
            yield "error", f"{directory}: data_dir is no directory"
        elif directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield "warning", f"{directory}: other users of this machine can look into it; chmod 700"
    if config.limits.profile != "default":
        yield (
            "warning",
            f"limits.profile is {config.limits.profile!r}: not for a server that others can reach",
        )
