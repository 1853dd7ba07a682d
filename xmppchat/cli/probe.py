"""What a port shows to whoever connects: its certificate, ALPN, the first bytes. Nobody logs in here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

from xmppchat.core.config import HostConfig, ServerConfig
from xmppchat.network import certificates
from xmppchat.network.certificates import CertificateFault, CertificateFiles, to_ascii

#: How long one connection may take, s.
SECONDS = 10.0
ALPN = "xmpp-client"


class ProbeFailed(Exception):
    """The port could not be looked at; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What was shown. `distrust` says why a client with the authorities of this machine refuses it, "" if it does not.

    `first` are the first bytes of the server's stream.
    """

    certificate: bytes
    alpn: str
    first: bytes
    distrust: str = ""


@dataclass(frozen=True, slots=True)
class Door:
    """A port of a server. `is_direct`: TLS from the first byte (XEP-0368), else STARTTLS."""

    address: str
    port: int
    is_direct: bool

    def __str__(self) -> str:
        return f"{self.address} port {self.port}"


def doors(config: ServerConfig, at: str = "") -> list[Door]:
    """The ports of the configuration on each of its addresses, or on the address or name `at`."""
    listen = config.listen
    kinds = [(port, is_direct) for port, is_direct in
             ((listen.direct_tls_port, True), (listen.starttls_port, False)) if port]
    addresses = [at] if at else list(dict.fromkeys(_reachable(address) for address in listen.addresses))
    return [Door(address, port, is_direct) for address in addresses for port, is_direct in kinds]


def _reachable(address: str) -> str:
    """An address to connect to where the server listens on `address`: "any" has none of its own."""
    parsed = ip_address(address)
    if not parsed.is_unspecified:
        return address
    takes_v4 = parsed.version == 4 or socket.has_dualstack_ipv6()  # as the listener does; not all machines have ::1
    return "127.0.0.1" if takes_v4 else "::1"


async def look(door: Door, domain: str, ca: Path | None = None) -> Presented:
    """Connect as a client of `domain` and see. `ca` are more authorities to trust. Raises :class:`ProbeFailed`."""
    seen = await _look(door, domain, _any_certificate())
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(cafile=ca)
    context.check_hostname = False  # names are compared by the rules of XMPP (RFC 9525), elsewhere
    try:
        await _look(door, domain, context)
    except ProbeFailed as failure:
        return replace(seen, distrust=str(failure))
    return seen


async def _look(door: Door, domain: str, context: ssl.SSLContext) -> Presented:
    try:
        async with asyncio.timeout(SECONDS), _secured(door, domain, context) as (reader, writer):
            channel = writer.get_extra_info("ssl_object")
            writer.write(_header(domain))
            return Presented(
                channel.getpeercert(binary_form=True), channel.selected_alpn_protocol() or "",
                await reader.readexactly(5),
            )
    except ssl.SSLCertVerificationError as error:
        raise ProbeFailed(error.verify_message) from None
    except TimeoutError:
        text = f"{door}: no answer in {SECONDS:g} s; look whether a firewall drops the packets"
    except ConnectionRefusedError:
        text = f"{door}: nobody listens there; look at [listen] and the server's log"
    except asyncio.IncompleteReadError:
        text = f"{door}: the connection was closed before the server's stream began; its log may say why"
    except ssl.SSLError as error:
        text = f"{door}: no TLS: {error.reason or error}; something else may listen there"
    except OSError as error:
        text = f"{door}: cannot be reached: {error.strerror or error}"
    raise ProbeFailed(text)


@contextlib.asynccontextmanager
async def _secured(
    door: Door, domain: str, context: ssl.SSLContext
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    name = to_ascii(domain)
    if door.is_direct:
        context.set_alpn_protocols([ALPN])
        reader, writer = await asyncio.open_connection(door.address, door.port, ssl=context, server_hostname=name)
    else:
        reader, writer = await asyncio.open_connection(door.address, door.port)
    try:
        if not door.is_direct:
            writer.write(_header(domain))
            await reader.readuntil(b"</stream:features>")
            writer.write(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            await reader.readuntil(b">")
            await writer.start_tls(context, server_hostname=name)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await writer.wait_closed()


def _header(domain: str) -> bytes:
    # A domain is prepared: it holds nothing that XML would read otherwise.
    return (
        f"<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>"
    ).encode()


def _any_certificate() -> ssl.SSLContext:
    """Looks at whatever is shown; nothing of worth is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def difference(seen: Presented, domain: str, host: HostConfig) -> str:
    """How the certificate that was shown differs from the one on disk (reliability.md V-20); "" if it does not."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    try:
        on_disk = certificates.load(CertificateFiles(domain, host.certificate, host.key)).certificate
    except CertificateFault as fault:
        return str(fault)
    if on_disk.public_bytes(serialization.Encoding.DER) == seen.certificate:
        return ""
    shown = x509.load_der_x509_certificate(seen.certificate)
    return (
        f"shows another certificate (SHA-256 {shown.fingerprint(hashes.SHA256()).hex()[:16]}…, until "
        f"{shown.not_valid_after_utc:%Y-%m-%d}) than {host.certificate} holds: run `xmppchat reload`; if that changes "
        "nothing, somebody stands between you and the server"
    )
