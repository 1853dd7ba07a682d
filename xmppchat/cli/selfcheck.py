"""``xmppchat check --self``: logs in to the running server as a stranger's client does, and tells what it found.

Temporary accounts are made for it and deleted behind it, whatever happens; nobody keeps their names.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import ssl
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from xmppchat.cli import probe, selfcheck_lines
from xmppchat.cli.faults import CliError
from xmppchat.cli.findings import coloured
from xmppchat.cli.output import cell
from xmppchat.cli.probe import Door, Presented, ProbeFailed
from xmppchat.cli.selfcheck_lines import FAIL, NOTE, PASS, Result
from xmppchat.core.commands import CommandError
from xmppchat.core.config import ServerConfig
from xmppchat.network import certificates, control

#: How names of temporary accounts begin.
PREFIX = "xmppchat-check-"


def run(config: ServerConfig, *, ca: Path | None = None, at: str = "") -> list[Result]:
    """Results for all hosts. `ca` are authorities to trust beside the machine's, `at` where to connect."""
    if not control.is_running(config.control_socket):
        raise CliError("no server is running, so it cannot be looked at; start it by `xmppchat serve`")
    signal.signal(signal.SIGTERM, _end)
    return [result for host in config.hosts for result in asyncio.run(_host(config, host, ca, at))]


def _end(number: int, frame: object) -> NoReturn:
    """An exit that passes through every ``finally``: the temporary account goes."""
    sys.exit(128 + number)


async def _host(config: ServerConfig, host: str, ca: Path | None, at: str) -> list[Result]:
    results: list[Result] = []
    usable: list[tuple[Door, Presented]] = []
    for door in probe.doors(config, at):
        key, title = ("xep0368", "Direct TLS") if door.is_direct else ("starttls", "STARTTLS")
        title = f"{title} at {door}"
        try:
            seen = await probe.look(door, host, ca)
        except ProbeFailed as failure:
            results.append(Result(host, key, title, FAIL, str(failure)))
            continue
        results += _judge_door(config, host, door, seen, key, title)
        if not probe.difference(seen, host, config.hosts[host]):
            usable.append((door, seen))
    if not config.listen.direct_tls_port:
        text = "the port for direct TLS is off: some networks let nothing else pass; set listen.direct_tls_port"
        results.append(Result(host, "xep0368", "Direct TLS", FAIL, text))
    return results + await _log_in(config, host, usable, ca)


def _judge_door(
    config: ServerConfig, host: str, door: Door, seen: Presented, key: str, title: str
) -> Iterator[Result]:
    """What a client dislikes before it logs in."""
    from cryptography import x509

    faults = []
    shown = x509.load_der_x509_certificate(seen.certificate)
    if not certificates.covers(shown, host):
        names = ", ".join(certificates.names_of(shown)) or "nothing"
        faults.append(f"the certificate is for {names}, not for {host}: clients refuse it; get one that has this name, "
                      "then `xmppchat reload`")
    difference = probe.difference(seen, host, config.hosts[host])
    if difference:
        faults.append(difference)
    if door.is_direct and seen.alpn != probe.ALPN:
        faults.append(f"ALPN is {seen.alpn or 'missing'}, not {probe.ALPN}: something in between ends the TLS")
    if seen.first != b"<?xml":
        faults.append(f"the stream begins with {seen.first!r}, not with '<?xml'")
    if faults:
        yield Result(host, key, title, FAIL, "; ".join(faults))
        return
    yield Result(host, key, title, PASS)
    if seen.distrust:
        text = (f"clients ask their users whether to trust it ({seen.distrust}): get a certificate of a public "
                "authority, or name yours by --ca")
        yield Result(host, "certificate", f"Certificate at {door}", NOTE, text)


async def _log_in(
    config: ServerConfig, host: str, usable: Sequence[tuple[Door, Presented]], ca: Path | None
) -> list[Result]:
    from xmppchat.cli.selfcheck_client import LoginFailed, can_read_keys, log_in_and_look

    if not usable:
        return selfcheck_lines.not_checked(host, "no port can be used, see above")
    door, seen = usable[0]
    context = _context(config, host, seen, ca)
    with temporary_account(config, host) as (jid, password), temporary_account(config, host) as (stranger, its_own):
        try:
            found = await log_in_and_look(door, jid, password, context)
            if await can_read_keys(door, stranger, its_own, context, jid):
                found.answers.add(selfcheck_lines.KEYS)
        except LoginFailed as failure:
            text = f"{failure}; the server's log may say why"
            return [Result(host, "session", f"Login at {door}", FAIL, text),
                    *selfcheck_lines.not_checked(host, "nobody can log in, see above")]
    return [Result(host, "session", f"Login at {door}", PASS), *selfcheck_lines.judge(host, found)]


def _context(config: ServerConfig, host: str, seen: Presented, ca: Path | None) -> ssl.SSLContext:
    """Verifies as a client does; where that would refuse, as told before, it takes the certificate on disk alone."""
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(cafile=ca)
    if seen.distrust:
        context = ssl.create_default_context(cafile=config.hosts[host].certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False  # compared by the rules of XMPP before
    return context


@contextlib.contextmanager
def temporary_account(config: ServerConfig, host: str) -> Iterator[tuple[str, str]]:
    """An account with a name and password that nobody can guess: (address, password). Gone afterwards."""
    jid, password = f"{PREFIX}{secrets.token_hex(8)}@{host}", secrets.token_urlsafe(24)
    try:
        control.call(config.control_socket, "user add", {"jid": jid, "password": password})
        yield jid, password
    finally:
        try:
            control.call(config.control_socket, "user delete", {"jid": jid})
            control.call(config.control_socket, "user forget", {"jid": jid})
        except (CommandError, control.ControlError, control.ServerNotRunning) as error:
            print(f"xmppchat: the temporary account may still be there ({error}); `xmppchat user delete {jid}`",
                  file=sys.stderr)


def status(results: Sequence[Result]) -> int:
    """The exit status: 1 where a line fails or could not be looked at."""
    return int(any(result.status in (FAIL, selfcheck_lines.NOT_CHECKED) for result in results))


def show(results: Sequence[Result]) -> None:
    """Print the results as a table for people, a host after the other."""
    widths = [max(len(getattr(result, name)) for result in results) for name in ("status", "key")]
    for host in dict.fromkeys(result.host for result in results):
        mine = [result for result in results if result.host == host]
        print(f"\n{host}")
        for result in mine:
            later = f" ({result.text})" if result.status == selfcheck_lines.NOT_YET else ""
            print(f"  {coloured(result.status, widths[0])}  {result.key.ljust(widths[1])}  {result.title}{later}")
            if result.text and not later:
                print(" " * (widths[0] + widths[1] + 6) + cell(result.text))
        counted = {status: sum(result.status == status for result in mine) for status in
                   (PASS, FAIL, NOTE, selfcheck_lines.NOT_YET, selfcheck_lines.NOT_CHECKED)}
        print("  " + ", ".join(f"{number} {status}" for status, number in counted.items() if number))
