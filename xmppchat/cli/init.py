"""``xmppchat init``: a configuration that works, without a question."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from xmppchat.cli.environment import DEFAULT
from xmppchat.cli.faults import CliError
from xmppchat.core.options import closest, toml_value
from xmppchat.jid import JID, InvalidJID
from xmppchat.network import certificate_findings, certificates

_REGISTRATION = ("closed", "invite", "open")


@dataclass(frozen=True, slots=True)
class _Plan:
    domain: str
    directory: Path
    addresses: tuple[str, ...]
    registration: str
    certificate: Path  # as the file says it: relative if ours, absolute if given
    key: Path
    is_given: bool
    admins: tuple[str, ...]

    @property
    def config(self) -> Path:
        return self.directory / DEFAULT

    @property
    def files(self) -> certificates.CertificateFiles:
        base = self.directory
        return certificates.CertificateFiles(self.domain, base / self.certificate, base / self.key)


def init(
    domain: str,
    directory: str = ".",
    *,
    listen: Sequence[str] = (),
    registration: str = "closed",
    certificate: str = "",
    key: str = "",
    admins: Sequence[str] = (),
) -> None:
    """Write ``xmppchat.toml``, the data directory, and a self-signed certificate where none is given."""
    plan = _plan(domain, Path(directory), listen, registration, certificate, key, admins)
    if plan.config.exists():
        raise CliError(f"{plan.config} exists already and is left alone; remove it, or use another --dir")
    is_kept = plan.is_given or (plan.files.certificate.exists() and plan.files.key.exists())
    if is_kept:
        certificates.load(plan.files)  # a fault is better told now than at the start
    data = plan.directory / "data"
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)
    if not is_kept:
        plan.files.key.parent.mkdir(mode=0o700, exist_ok=True)
        certificates.write_self_signed(plan.files)
    with plan.config.open("x", encoding="utf-8") as file:
        file.write(_text(plan))
    _tell(plan, is_kept=is_kept)


def _plan(
    domain: str,
    directory: Path,
    listen: Sequence[str],
    registration: str,
    certificate: str,
    key: str,
    admins: Sequence[str],
) -> _Plan:
    name = _domain(domain)
    for address in listen:
        _check_address(address)
    if registration not in _REGISTRATION:
        guess = closest(registration, _REGISTRATION)
        hint = f"; did you mean {guess}?" if guess else ""
        raise CliError(f"--registration is closed, invite or open, not {registration!r}{hint}")
    if bool(certificate) != bool(key):
        raise CliError("--certificate and --key go together; give both, or neither for a self-signed certificate")
    ours = Path("certificates")
    return _Plan(
        domain=name,
        directory=directory,
        addresses=tuple(listen),
        registration=registration,
        certificate=Path(certificate).absolute() if certificate else ours / f"{name}.pem",
        key=Path(key).absolute() if key else ours / f"{name}.key",
        is_given=bool(certificate),
        admins=tuple(_admin(admin) for admin in admins),
    )


def _domain(text: str) -> str:
    try:
        jid = JID.parse(text)
    except InvalidJID as error:
        raise CliError(f"{text!r} is not a domain: {error}") from None
    if jid.local or jid.resource:
        raise CliError(f"{text!r} is not a domain; the domain of an address is what stands behind the @")
    return jid.domain


def _check_address(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        raise CliError(f"--listen {text}: this is no IP address; one looks like 192.0.2.1, 2001:db8::1 or ::") from None


def _admin(text: str) -> str:
    try:
        jid = JID.parse(text)
    except InvalidJID as error:
        raise CliError(f"--admin {text}: {error}") from None
    if not jid.local or jid.resource:
        raise CliError(f"--admin {text}: this is no account's address; one looks like name@chat.example")
    return jid.bare


def _text(plan: _Plan) -> str:
    listen = (
        f"addresses = {toml_value(plan.addresses)}"
        if plan.addresses
        else '# addresses = ["::"]                  # all of this machine; ports 5222 and 5223'
    )
    admins = "" if plan.admins else "# "
    examples = plan.admins or (f"admin@{plan.domain}",)
    return f"""\
# xmppchat: what is not said here has its default. All options: `xmppchat config explain`.
# After a change: `xmppchat check`, then `xmppchat reload`.

data_dir = "data"                       # database and control socket; back this up

[hosts.{toml_value(plan.domain)}]
certificate = {toml_value(str(plan.certificate))}
key = {toml_value(str(plan.key))}
{admins}admins = {toml_value(examples)}

[listen]
{listen}

[components.register]
mode = {f'"{plan.registration}"':<32} # who may make an account: "closed", "invite" or "open"
"""


def _tell(plan: _Plan, *, is_kept: bool) -> None:
    option = "" if plan.directory.resolve() == Path.cwd() else f" --config {shlex.quote(str(plan.config))}"
    who = plan.admins[0] if plan.admins else f"YOU@{plan.domain}"
    print(f"Wrote {plan.config}")
    if not is_kept:
        print(f"Wrote {plan.files.certificate}, self-signed: clients will ask whether to trust it.")
    elif not plan.is_given:
        print(f"Kept {plan.files.certificate}, which was there.")
    for finding in certificate_findings.check(plan.files):
        if is_kept and finding.severity == "error":
            print(f"Mind {finding.text}")
    print(f"""
Next:
  xmppchat user add {who}{option}
  xmppchat serve{option}
Then log in with any XMPP client as {who}.""")
