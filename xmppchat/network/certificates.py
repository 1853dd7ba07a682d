"""Certificates: make one to begin with, read and judge the files an administrator names.

Faults are sentences for people, with the file and what to do next; `xmppchat check` prints them and a start
logs them. Names are compared by RFC 9525 (subject alternative names only, never the common name) with the
identifiers for XMPP of RFC 6120 §13.7.1.4 (xmppAddr) and RFC 4985 (SRVName).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

XMPP_ADDR = ObjectIdentifier("1.3.6.1.5.5.7.8.5")
SRV_NAME = ObjectIdentifier("1.3.6.1.5.5.7.8.7")

VALID_DAYS = 825
"""How long a certificate of ours lasts: the most that Apple's platforms accept of any."""

_UTF8_STRING, _IA5_STRING = 0x0C, 0x16


class CertificateFault(Exception):
    """A certificate or key that cannot be used; the text says which file, why and what to do."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where one virtual host keeps its certificate chain and its key (PEM; `key` may be the same file)."""

    host: str
    certificate: Path
    key: Path
    names: tuple[str, ...] = ()
    """Further names that the certificate must cover: the host's services."""


@dataclass(frozen=True, slots=True)
class LoadedCertificate:
    """A chain (own certificate first) whose key was found to belong to it."""

    chain: tuple[x509.Certificate, ...]
    digest: bytes
    """Of the two files' contents, to notice that they change between two readings."""

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What people ask about a certificate."""

    names: tuple[str, ...]
    issuer: str
    not_before: datetime
    not_after: datetime
    self_signed: bool
    key_type: str
    sha256: str


def to_ascii(domain: str) -> str:
    """A prepared domain as certificates and SNI spell it: lower case, A-labels (RFC 5890 §2.3.2.1)."""
    labels = domain.lower().rstrip(".").split(".")
    return ".".join(x if x.isascii() else "xn--" + x.encode("punycode").decode("ascii") for x in labels)


# --- making one -----------------------------------------------------------------------------------------

def create_self_signed(
    domain: str, names: Iterable[str] = (), *, days: int = VALID_DAYS, now: datetime | None = None
) -> tuple[bytes, bytes]:
    """A self-signed ECDSA P-256 certificate for `domain` and its services: (certificate, key) in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = (now or datetime.now(UTC)) - timedelta(hours=1)  # clients' clocks go wrong
    hosts = list(dict.fromkeys((to_ascii(domain), *map(to_ascii, names))))
    # The common name is decoration and holds 64 characters at most (RFC 5280 appendix A.1).
    common = [x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])] if len(hosts[0]) <= 64 else []
    subject = x509.Name(common)
    # Servers present it as clients, too, when they dial.
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(_alternative_names(domain, hosts)), critical=not common)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return (
        certificate.public_bytes(encoding),
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain),
    )


def write_self_signed(
    files: CertificateFiles, *, overwrite: bool = False, days: int = VALID_DAYS, now: datetime | None = None
) -> None:
    """Make a certificate for the host and names of `files` and write both files, the key with mode 0600.

    Raises `CertificateFault` when one exists already (unless `overwrite`) or cannot be written.
    """
    for path in (files.certificate, files.key):
        if path.exists() and not overwrite:
            raise CertificateFault(f"{path}: exists already; remove it first if it is really to be replaced")
    certificate, key = create_self_signed(files.host, files.names, days=days, now=now)
    try:
        _write(files.key, key, 0o600)
        _write(files.certificate, certificate, 0o644)
    except OSError as error:
        raise CertificateFault(f"{error.filename}: cannot be written: {error.strerror}") from error


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replace a file in one step; it has its mode from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _alternative_names(domain: str, hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
    names.append(x509.OtherName(XMPP_ADDR, _der_string(_UTF8_STRING, domain)))
    for service in ("_xmpp-client", "_xmpp-server"):
        names.append(x509.OtherName(SRV_NAME, _der_string(_IA5_STRING, f"{service}.{hosts[0]}")))
    return names


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _der_string(tag: int, text: str) -> bytes:
    content = text.encode()
    size = len(content)
    length = bytes((size,)) if size < 128 else bytes((0x82, size >> 8, size & 0xFF))
    if 128 <= size < 256:  # DER wants the shortest form
        length = bytes((0x81, size))
    return bytes((tag,)) + length + content


# --- reading --------------------------------------------------------------------------------------------

def load(files: CertificateFiles) -> LoadedCertificate:
    """Read both files and prove that they belong together; raises `CertificateFault`."""
    certificate_bytes, key_bytes = _read(files.certificate), _read(files.key)
    chain = _parse_chain(files.certificate, certificate_bytes)
    key = _parse_key(files.key, key_bytes)
    if key.public_key() != chain[0].public_key():
        hint = "the host's own certificate must come first in its file"
        text = f"{files.key}: this key does not belong to the certificate in {files.certificate}"
        raise CertificateFault(f"{text} ({hint})" if len(chain) > 1 else text)
    return LoadedCertificate(chain, _digest(certificate_bytes, key_bytes))


def is_unchanged(files: CertificateFiles, loaded: LoadedCertificate) -> bool:
    """Whether the files still hold what was loaded."""
    return loaded.digest == _digest(_read(files.certificate), _read(files.key))


def describe(path: Path) -> CertificateInfo:
    """Names, validity and kind of the first certificate in a PEM file; raises `CertificateFault`."""
    certificate = _parse_chain(path, _read(path))[0]
    return CertificateInfo(
        names=names_of(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        self_signed=is_self_signed(certificate),
        key_type=key_type(certificate),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(":").upper(),
    )


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The dNSNames of a certificate in lower case, wildcards included."""
    alternative = _alternative(certificate)
    return tuple(x.lower() for x in alternative.get_values_for_type(x509.DNSName)) if alternative else ()


def covers(
    certificate: x509.Certificate, domain: str, service: Literal["xmpp-client", "xmpp-server"] = "xmpp-client"
) -> bool:
    """Whether the certificate proves `domain`, by dNSName, xmppAddr or SRVName; never by its common name."""
    wanted = to_ascii(domain)
    if any(_matches(name, wanted) for name in names_of(certificate)):
        return True
    alternative = _alternative(certificate)
    for other in alternative.get_values_for_type(x509.OtherName) if alternative else ():
        text = _string_of(other.value)
        if other.type_id == XMPP_ADDR and text is not None and to_ascii(text) == wanted:
            return True
        if other.type_id == SRV_NAME and text is not None and text.lower() == f"_{service}.{wanted}":
            return True
    return False


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether it was signed with its own key."""
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def end_point_binding(certificate: x509.Certificate) -> bytes | None:
    """The channel binding `tls-server-end-point` (RFC 5929 §4.1); None where it is undefined (Ed25519)."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    return certificate.fingerprint(algorithm)


def _digest(*contents: bytes) -> bytes:
    return hashlib.sha256(b"".join(hashlib.sha256(x).digest() for x in contents)).digest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateFault(f"{path}: cannot be read: {error.strerror}") from error


def _parse_chain(path: Path, content: bytes) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(content))
    except ValueError as error:
        raise CertificateFault(f"{path}: no certificate in PEM format ({error})") from error


def _parse_key(path: Path, content: bytes) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(content, password=None)
    except TypeError as error:
        text = f"{path}: the key is encrypted; store it without a passphrase, readable only for the server"
        raise CertificateFault(text) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateFault(f"{path}: no private key in PEM format ({error})") from error


def _alternative(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _matches(pattern: str, domain: str) -> bool:
    """A dNSName against a host: a wildcard stands for the whole first label only (RFC 9525 §6.3)."""
    if pattern.startswith("*."):
        first, dot, rest = domain.partition(".")
        return bool(first and dot) and rest == pattern[2:] and "*" not in rest
    return pattern == domain


def _string_of(der: bytes) -> str | None:
    """The text of a DER UTF8String or IA5String."""
    if len(der) < 2 or der[0] not in (_UTF8_STRING, _IA5_STRING):
        return None
    skip = 2 if der[1] < 128 else 2 + (der[1] & 0x7F)
    return der[skip:].decode("utf-8", "replace")


def key_type(certificate: x509.Certificate) -> str:
    """The kind of its key, for people."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {key.curve.name}"
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        return f"{'RSA' if isinstance(key, rsa.RSAPublicKey) else 'DSA'} {key.key_size}"
    return type(key).__name__.removesuffix("PublicKey")
