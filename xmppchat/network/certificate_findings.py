"""What is wrong with a host's certificate, in sentences for people: `xmppchat check` prints them, a start logs them."""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from xmppchat.network.certificates import (
    CertificateFault,
    CertificateFiles,
    covers,
    is_self_signed,
    key_type,
    load,
    names_of,
)

WARN_DAYS = 14


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a certificate; an error makes clients or servers refuse it."""

    severity: Literal["error", "warning"]
    text: str


def check(files: CertificateFiles, now: datetime | None = None) -> list[Finding]:
    """Everything wrong with a host's certificate, worst first; an empty list is good news."""
    try:
        loaded = load(files)
    except CertificateFault as fault:
        return [Finding("error", str(fault))]
    certificate, path = loaded.certificate, files.certificate
    findings = [*_check_validity(path, certificate, now or datetime.now(UTC)), *_check_key(path, certificate)]
    for name in dict.fromkeys((files.host, *files.names)):
        if not covers(certificate, name):
            covered = ", ".join(names_of(certificate)) or "nothing"
            text = f"{path}: the name {name} is missing (there: {covered}); get a certificate that has it"
            findings.append(Finding("error" if name == files.host else "warning", text))
    if is_self_signed(certificate):
        text = f"{path}: self-signed; clients will ask their users to trust it, other servers may refuse it"
        findings.append(Finding("warning", text))
    elif len(loaded.chain) == 1:
        findings += _check_issuer(path, certificate)
    findings += _check_mode(files.key)
    return sorted(findings, key=lambda finding: finding.severity)


def _check_validity(path: Path, certificate: x509.Certificate, now: datetime) -> list[Finding]:
    end, start = certificate.not_valid_after_utc, certificate.not_valid_before_utc
    if now > end:
        return [Finding("error", f"{path}: expired on {end:%Y-%m-%d}; renew it and reload")]
    if now < start:
        return [Finding("error", f"{path}: not valid before {start:%Y-%m-%d %H:%M} UTC; check the clock")]
    if now > end - timedelta(days=WARN_DAYS):
        days = (end - now).days
        return [Finding("warning", f"{path}: expires on {end:%Y-%m-%d}, in {days} days; renew it")]
    return []


def _check_key(path: Path, certificate: x509.Certificate) -> list[Finding]:
    findings = []
    key = certificate.public_key()
    if isinstance(key, dsa.DSAPublicKey) or (isinstance(key, rsa.RSAPublicKey) and key.key_size < 2048):
        findings.append(Finding("error", f"{path}: a weak key ({key_type(certificate)}); use ECDSA P-256"))
    elif isinstance(key, rsa.RSAPublicKey):
        text = f"{path}: an RSA key; ECDSA P-256 costs half the time per connection"
        findings.append(Finding("warning", text))
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        algorithm = None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        findings.append(Finding("error", f"{path}: signed with {algorithm.name}, which clients refuse"))
    return findings


def _check_issuer(path: Path, certificate: x509.Certificate) -> list[Finding]:
    """A certificate that stands alone has to be signed by a root: clients know nobody else."""
    if _is_signed_by_root(certificate):
        return []
    issuer = certificate.issuer.rfc4514_string()
    if _names_its_issuer(certificate):
        text = f"{path}: the certificate of {issuer} is missing; append it, or clients cannot verify this one"
    else:
        text = (
            f"{path}: signed by {issuer}, which this machine does not know; clients have to trust it, "
            "and if it is no root, append its certificate"
        )
    return [Finding("warning", text)]


def _is_signed_by_root(certificate: x509.Certificate) -> bool:
    """Whether the issuer is an authority that this machine trusts."""
    issuer = certificate.issuer.public_bytes()
    for der in ssl.create_default_context().get_ca_certs(binary_form=True):
        if issuer not in der:
            continue  # not even parsed: among the old ones are some that today's rules refuse
        try:
            certificate.verify_directly_issued_by(x509.load_der_x509_certificate(der))
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            continue
        return True
    return False


def _names_its_issuer(certificate: x509.Certificate) -> bool:
    """Whether it says where its issuer's certificate can be had: what intermediate authorities write (RFC 5280)."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return any(one.access_method == AuthorityInformationAccessOID.CA_ISSUERS for one in access)


def _check_mode(path: Path) -> list[Finding]:
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        return [Finding("error", f"{path}: other users can read or change this key; chmod 640 or stricter")]
    return []
