"""Certificates of our own making, and what is said about those that administrators bring."""

from __future__ import annotations

import hashlib
import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import AuthorityInformationAccessOID

from xmppchat.network.certificate_findings import check
from xmppchat.network.certificates import (
    VALID_DAYS,
    CertificateFault,
    CertificateFiles,
    covers,
    create_self_signed,
    describe,
    end_point_binding,
    load,
    to_ascii,
    write_self_signed,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def files(folder: Path, host: str = "one.example", *names: str) -> CertificateFiles:
    return CertificateFiles(host, folder / "tls" / "host.crt", folder / "tls" / "host.key", names)


def made(folder: Path, host: str = "one.example", *names: str, days: int = VALID_DAYS) -> CertificateFiles:
    wanted = files(folder, host, *names)
    write_self_signed(wanted, days=days, now=NOW)
    return wanted


def texts(wanted: CertificateFiles, now: datetime = NOW) -> list[str]:
    return [f"{x.severity}: {x.text}" for x in check(wanted, now)]


def parse(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


# --- making one -----------------------------------------------------------------------------------------


def test_a_certificate_of_our_own(tmp_path: Path) -> None:
    wanted = made(tmp_path, "one.example", "rooms.one.example")
    info = describe(wanted.certificate)
    assert info.names == ("one.example", "rooms.one.example")
    assert (info.self_signed, info.key_type) == (True, "ECDSA secp256r1")
    assert info.not_before < NOW < info.not_after <= NOW + timedelta(days=VALID_DAYS)
    assert info.issuer == "CN=one.example"
    assert len(info.sha256) == 95
    assert stat.S_IMODE(wanted.key.stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(wanted.certificate, wanted.key)


def test_it_names_the_xmpp_services_too() -> None:
    certificate = parse(create_self_signed("b\u00fccher.example")[0])
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = {x.type_id.dotted_string: x.value for x in alternative.get_values_for_type(x509.OtherName)}
    name = "b\u00fccher.example".encode()
    assert found["1.3.6.1.5.5.7.8.5"] == b"\x0c" + bytes((len(name),)) + name
    assert alternative.get_values_for_type(x509.DNSName) == ["xn--bcher-kva.example"]


def test_the_longest_domain() -> None:
    domain = ".".join(["a" * 61] * 4)
    certificate = parse(create_self_signed(domain)[0])
    assert list(certificate.subject) == []
    assert covers(certificate, domain)


def test_nothing_is_overwritten_by_accident(tmp_path: Path) -> None:
    wanted = made(tmp_path)
    before = wanted.key.read_bytes()
    with pytest.raises(CertificateFault, match="exists already"):
        write_self_signed(wanted)
    assert wanted.key.read_bytes() == before
    write_self_signed(wanted, overwrite=True)
    assert wanted.key.read_bytes() != before
    assert stat.S_IMODE(wanted.key.stat().st_mode) == 0o600


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("a file where a folder should be")
    with pytest.raises(CertificateFault, match="cannot be written"):
        write_self_signed(files(tmp_path))


def test_to_ascii() -> None:
    assert to_ascii("B\u00fccher.Example.") == "xn--bcher-kva.example"
    assert to_ascii("stra\u00dfe.example") == "xn--strae-oqa.example"


def old(folder: Path) -> CertificateFiles:
    """Signed with SHA-1; only the command line still makes such."""
    wanted = files(folder)
    wanted.certificate.parent.mkdir()
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha1 -subj /CN=x.example"
    paths = ["-keyout", str(wanted.key), "-out", str(wanted.certificate)]
    subprocess.run([*command.split(), *paths], check=True, capture_output=True)
    return wanted


# --- names ----------------------------------------------------------------------------------------------


def signed(
    names: list[x509.GeneralName],
    *,
    common_name: str = "common.example",
    key: CertificateIssuerPrivateKeyTypes | None = None,
    algorithm: hashes.SHA256 | hashes.SHA384 | None = hashes.SHA256(),  # noqa: B008
    issuer: str = "",
    extension: x509.ExtensionType | None = None,
) -> x509.Certificate:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]) if issuer else subject
    builder = x509.CertificateBuilder(authority, subject, key.public_key(), 1, NOW, NOW + timedelta(days=90))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    # By another's key, where another is the issuer.
    return builder.sign(ec.generate_private_key(ec.SECP256R1()) if issuer else key, algorithm)


@pytest.mark.parametrize(
    ("name", "domain", "is_covered"),
    [
        ("one.example", "one.example", True),
        ("One.Example", "oNE.example", True),
        ("one.example", "two.example", False),
        ("one.example", "rooms.one.example", False),
        ("*.one.example", "rooms.one.example", True),
        ("*.one.example", "one.example", False),
        ("*.one.example", "a.b.one.example", False),
        ("*", "example", False),
        ("r*.one.example", "rooms.one.example", False),
        ("xn--bcher-kva.example", "b\u00fccher.example", True),
    ],
)
def test_dns_names(name: str, domain: str, is_covered: bool) -> None:
    assert covers(signed([x509.DNSName(name)]), domain) is is_covered


def test_xmpp_names() -> None:
    address = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5"), b"\x0c\x0bone.example")
    service = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x16\x18_xmpp-server.two.example")
    certificate = signed([address, service])
    assert covers(certificate, "one.example")
    assert covers(certificate, "two.example", "xmpp-server")
    assert not covers(certificate, "two.example")


def test_the_common_name_never_counts() -> None:
    assert not covers(signed([]), "common.example")
    assert not covers(signed([x509.DNSName("other.example")]), "common.example")


# --- tls-server-end-point -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "digest"), [(hashes.SHA256(), hashlib.sha256), (hashes.SHA384(), hashlib.sha384)]
)
def test_the_binding_uses_the_hash_of_the_signature(algorithm: hashes.SHA256, digest: object) -> None:
    certificate = signed([], algorithm=algorithm)
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert callable(digest)
    assert end_point_binding(certificate) == digest(der).digest()


def test_sha_1_is_replaced_by_sha_256(tmp_path: Path) -> None:
    certificate = parse(old(tmp_path).certificate.read_bytes())
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert end_point_binding(certificate) == hashlib.sha256(der).digest()


def test_ed25519_has_no_binding() -> None:
    certificate = signed([], key=ed25519.Ed25519PrivateKey.generate(), algorithm=None)
    assert end_point_binding(certificate) is None


# --- what is said about them ----------------------------------------------------------------------------


def bring(
    folder: Path, certificates: list[x509.Certificate], key: CertificateIssuerPrivateKeyTypes, *names: str
) -> CertificateFiles:
    wanted = files(folder, "one.example", *names)
    wanted.certificate.parent.mkdir()
    pem = serialization.Encoding.PEM
    wanted.certificate.write_bytes(b"".join(x.public_bytes(pem) for x in certificates))
    plain = serialization.NoEncryption()
    wanted.key.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    wanted.key.chmod(0o600)
    return wanted


def test_nothing_to_say_about_a_good_one(tmp_path: Path) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("one.example", "rooms.one.example", key_type=trustme.KeyType.ECDSA)
    wanted = files(tmp_path, "one.example", "rooms.one.example")
    wanted.certificate.parent.mkdir()
    wanted.certificate.write_bytes(issued.cert_chain_pems[0].bytes() + authority.cert_pem.bytes())
    wanted.key.write_bytes(issued.private_key_pem.bytes())
    wanted.key.chmod(0o640)
    assert check(wanted) == []
    assert not describe(wanted.certificate).self_signed


def test_a_self_signed_one_and_missing_names(tmp_path: Path) -> None:
    wanted = made(tmp_path)
    asked = CertificateFiles("one.example", wanted.certificate, wanted.key, ("rooms.one.example",))
    found = texts(asked)
    assert found == [
        f"warning: {wanted.certificate}: the name rooms.one.example is missing (there: one.example);"
        " get a certificate that has it",
        f"warning: {wanted.certificate}: self-signed; clients will ask their users to trust it,"
        " other servers may refuse it",
    ]
    asked = CertificateFiles("three.example", wanted.certificate, wanted.key)
    assert texts(asked)[0].startswith(f"error: {wanted.certificate}: the name three.example is missing")


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (-1, "error: {}: not valid before 2026-05-01 11:00 UTC; check the clock"),
        (80, "warning: {}: expires on 2026-07-30, in 9 days; renew it"),
        (91, "error: {}: expired on 2026-07-30; renew it and reload"),
    ],
)
def test_validity(tmp_path: Path, days: int, text: str) -> None:
    wanted = made(tmp_path, days=90)
    assert text.format(wanted.certificate) in texts(wanted, NOW + timedelta(days=days))


def test_a_missing_issuer_and_an_rsa_key(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("one.example", key_type=trustme.KeyType.RSA)
    wanted = files(tmp_path)
    wanted.certificate.parent.mkdir()
    wanted.certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    wanted.key.write_bytes(issued.private_key_pem.bytes())
    wanted.key.chmod(0o644)
    found = "\n".join(texts(wanted, datetime.now(UTC)))
    assert "which this machine does not know; clients have to trust it, and if it is no root, append its" in found
    assert "an RSA key; ECDSA P-256 costs half" in found
    assert f"error: {wanted.key}: other users can read or change this key" in found


def test_a_missing_intermediate(tmp_path: Path) -> None:
    """An intermediate authority writes where its own certificate can be had."""
    key = ec.generate_private_key(ec.SECP256R1())
    where = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://ca.example/r10.der")
    )
    certificate = signed([x509.DNSName("one.example")], key=key, issuer="R10",
                         extension=x509.AuthorityInformationAccess([where]))
    wanted = bring(tmp_path, [certificate], key)
    [text] = texts(wanted)
    assert text.startswith(f"warning: {wanted.certificate}: the certificate of CN=R10 is missing; append it")


def test_a_certificate_of_a_known_root_misses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    root = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(root))
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    issued = authority.issue_cert("one.example")
    wanted = files(tmp_path)
    wanted.certificate.parent.mkdir()
    wanted.certificate.write_bytes(issued.cert_chain_pems[0].bytes())
    wanted.key.write_bytes(issued.private_key_pem.bytes())
    wanted.key.chmod(0o600)
    assert texts(wanted, datetime.now(UTC)) == []


def test_a_weak_key(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)
    wanted = bring(tmp_path, [signed([x509.DNSName("one.example")], key=key)], key)
    assert f"error: {wanted.certificate}: a weak key (RSA 1024); use ECDSA P-256" in texts(wanted)


def test_an_old_signature(tmp_path: Path) -> None:
    assert any("signed with sha1, which clients refuse" in x for x in texts(old(tmp_path)))


def test_faults_are_sentences(tmp_path: Path) -> None:
    wanted = made(tmp_path)
    other = create_self_signed("one.example")

    wanted.key.write_bytes(other[1])
    assert texts(wanted) == [
        f"error: {wanted.key}: this key does not belong to the certificate in {wanted.certificate}"
    ]
    wanted.certificate.write_bytes(wanted.certificate.read_bytes() + other[0])
    assert texts(wanted)[0].endswith("(the host's own certificate must come first in its file)")

    key = serialization.load_pem_private_key(other[1], None)
    locked = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    wanted.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    with pytest.raises(CertificateFault, match="the key is encrypted; store it without a passphrase"):
        load(wanted)

    wanted.key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(CertificateFault, match="no private key in PEM format"):
        load(wanted)

    wanted.certificate.write_text("")
    with pytest.raises(CertificateFault, match="no certificate in PEM format"):
        describe(wanted.certificate)

    wanted.certificate.unlink()
    with pytest.raises(CertificateFault, match="cannot be read: No such file or directory"):
        describe(wanted.certificate)
