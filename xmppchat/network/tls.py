"""TLS between memory buffers: one context per virtual host, one small layer per connection.

The event loops' own TLS costs 1.7 times the CPU and up to 280 KiB per idle connection; this layer feeds
`ssl.MemoryBIO` in slices of 4 KiB, because OpenSSL's memory buffers never shrink below their largest content.
The ClientHello is read here first (see `client_hello`): its server name chooses the context, so no callback
out of OpenSSL is needed, and a wrong ALPN offer gets the alert that the standard module cannot send.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from cryptography import x509

from xmppchat.network.certificates import (
    CertificateFault,
    CertificateFiles,
    end_point_binding,
    is_unchanged,
    load,
    names_of,
    to_ascii,
)
from xmppchat.network.client_hello import Alert, BadHello, ClientHello, HelloReader, alert_record

SLICE = 4096
"""Bytes given to OpenSSL at once: 16 KiB would save 0.4 ms per MiB and keep 32 KiB more after a burst."""

MAX_RECORD = 16_384
"""Plaintext bytes of the largest TLS record (RFC 8446 §5.1); one read returns one record."""

CIPHERS = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256"
)
"""TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has nothing else."""

_REFUSED = {"TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", "SSLV3_ALERT_CERTIFICATE_UNKNOWN"}


class TlsFailed(Exception):
    """The TLS connection is over; what `take_output` still returns (an alert) is sent before the close."""


class TlsChannel(Protocol):
    """One side of one TLS connection, whatever engine is behind it."""

    @property
    def is_established(self) -> bool:
        """Whether the handshake is complete."""
        ...

    @property
    def is_ended(self) -> bool:
        """Whether the peer said that it sends nothing more (close_notify)."""
        ...

    @property
    def has_output(self) -> bool:
        """Whether `take_output` would return anything."""
        ...

    @property
    def server_name(self) -> str | None:
        """The host the client asked for (SNI), lower case, A-labels."""
        ...

    def receive(self, ciphertext: bytes) -> bytes: ...
    def send(self, plaintext: bytes) -> None: ...
    def take_output(self) -> bytes: ...
    def close(self) -> None: ...
    def version(self) -> str | None: ...
    def channel_bindings(self) -> dict[str, bytes]: ...


class TlsSource(Protocol):
    """Where a transport gets its TLS from."""

    def layer(self) -> TlsChannel: ...


@dataclass(frozen=True, slots=True)
class HostContext:
    """What one virtual host shows its clients; replaced as a whole by a reload."""

    host: str
    context: ssl.SSLContext
    certificate: x509.Certificate
    end_point: bytes | None
    """Its `tls-server-end-point` channel binding, if the certificate has one."""


class TlsContexts:
    """The TLS contexts of all virtual hosts, chosen by server name; the first host answers for unknown names.

    `protocol` is the only ALPN name accepted: an offer without it ends the handshake, none is fine.
    Raises `CertificateFault` for files that cannot be used.
    """

    def __init__(self, hosts: Sequence[CertificateFiles], *, protocol: str = "xmpp-client") -> None:
        if not hosts:
            raise ValueError("TLS needs the certificate of at least one host")
        self.protocol = protocol.encode("ascii")
        self._hosts = tuple(hosts)
        self._default, self._by_name = self._build(self._hosts)

    @property
    def hosts(self) -> Mapping[str, HostContext]:
        """Names and wildcard patterns, and who answers for them."""
        return MappingProxyType(self._by_name)

    @property
    def default(self) -> HostContext:
        """Who answers clients that ask for no host or an unknown one."""
        return self._default

    def reload(self, hosts: Sequence[CertificateFiles] | None = None) -> None:
        """Read all files again, or those of a new list of hosts; open connections keep what they have.

        Raises `CertificateFault` and changes nothing if one of them cannot be used.
        """
        wanted = self._hosts if hosts is None else tuple(hosts)
        if not wanted:
            raise ValueError("TLS needs the certificate of at least one host")
        self._default, self._by_name = self._build(wanted)
        self._hosts = wanted

    def choose(self, server_name: str | None) -> HostContext:
        """The context for the name a client asked for."""
        if server_name is None:
            return self._default
        by_name = self._by_name
        wildcard = "*." + server_name.partition(".")[2]
        return by_name.get(server_name) or by_name.get(wildcard) or self._default

    def layer(self) -> TlsLayer:
        """TLS for one new connection."""
        return TlsLayer(self)

    def _build(self, hosts: Sequence[CertificateFiles]) -> tuple[HostContext, dict[str, HostContext]]:
        built = [self._load(files) for files in hosts]
        by_name: dict[str, HostContext] = {}
        for files, context in zip(hosts, built, strict=True):
            for name in (files.host, *files.names):
                by_name.setdefault(to_ascii(name), context)
        # Services are asked by their own names: whoever has the name in its certificate answers.
        for context in built:
            for name in names_of(context.certificate):
                by_name.setdefault(name, context)
        return built[0], by_name

    def _load(self, files: CertificateFiles) -> HostContext:
        loaded = load(files)
        context = server_context(self.protocol.decode("ascii"))
        try:
            context.load_cert_chain(files.certificate, files.key)
        except (ssl.SSLError, OSError) as error:
            raise CertificateFault(f"{files.certificate}: OpenSSL cannot use it: {error}") from error
        # OpenSSL reads the files itself; a renewal in between would make the channel binding a wrong one.
        if not is_unchanged(files, loaded):
            raise CertificateFault(f"{files.certificate}: changed while it was read; reload once more")
        return HostContext(files.host, context, loaded.certificate, end_point_binding(loaded.certificate))


def server_context(protocol: str) -> ssl.SSLContext:
    """A server context without certificate: TLS 1.2 and 1.3, no tickets, renegotiation or compression."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(CIPHERS)
    context.num_tickets = 0
    context.set_alpn_protocols([protocol])
    return context


class TlsLayer:
    """The server's side of one TLS connection: bytes in, bytes out, no socket, no clock.

    Until the client's first flight is complete it is a few bytes; OpenSSL comes after that.
    """

    __slots__ = (
        "_client", "_contexts", "_hello", "_host", "_incoming", "_object", "_outgoing", "_ready",
        "is_ended", "is_established",
    )  # fmt: skip

    def __init__(self, contexts: TlsContexts) -> None:
        self.is_established = False
        self.is_ended = False
        self._contexts = contexts
        self._hello: HelloReader | None = HelloReader()
        self._client = _UNKNOWN_CLIENT
        # Output that does not stand in `_outgoing`: an alert of our own, records of a large write.
        self._ready = b""
        # Set when the ClientHello is complete; nobody reads them earlier.
        self._host: HostContext
        self._object: ssl.SSLObject
        self._incoming: ssl.MemoryBIO
        self._outgoing: ssl.MemoryBIO

    @property
    def server_name(self) -> str | None:
        """The host that the client asked for (SNI), None if for none."""
        return self._client.server_name

    @property
    def host(self) -> str | None:
        """The virtual host whose certificate the client sees; None before the ClientHello."""
        return None if self._hello is not None else self._host.host

    @property
    def has_output(self) -> bool:
        """Whether `take_output` would return anything."""
        return bool(self._ready) or (self._hello is None and self._outgoing.pending > 0)

    def receive(self, ciphertext: bytes) -> bytes:
        """Take what came from the network; the plaintext that it completes. Raises `TlsFailed`."""
        if self.is_ended:
            return b""  # OpenSSL would gather it for ever
        try:
            if self.is_established:
                return self._decrypt(ciphertext)
            return self._negotiate(ciphertext)
        except ssl.SSLError as error:
            raise TlsFailed(_explain(error)) from error

    def send(self, plaintext: bytes) -> None:
        """Encrypt; the records wait for `take_output`. Only on an established connection."""
        try:
            if len(plaintext) <= SLICE:
                self._object.write(plaintext)
            else:
                self._send_slices(plaintext)
        except ssl.SSLError as error:
            raise TlsFailed(_explain(error)) from error

    def take_output(self) -> bytes:
        """What has to go to the network now."""
        output = self._outgoing.read() if self._hello is None else b""
        if self._ready:
            output = self._ready + output
            self._ready = b""
        return output

    def close(self) -> None:
        """Say close_notify; nothing can be sent any more, receiving is still possible."""
        if not self.is_established:
            return
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # "want read": the peer's own close_notify is not waited for

    def version(self) -> str | None:
        """``TLSv1.2`` or ``TLSv1.3``; None before the handshake."""
        return self._object.version() if self.is_established else None

    def cipher(self) -> str | None:
        """The cipher suite; None before the handshake."""
        cipher = self._object.cipher() if self.is_established else None
        return cipher[0] if cipher else None

    def channel_bindings(self) -> dict[str, bytes]:
        """The channel binding types (XEP-0440) that can be used now, with their data.

        `tls-unique` only where RFC 9266 §3 allows it: TLS 1.2 with the extended master secret, which OpenSSL
        always uses if the client offers it.
        """
        if not self.is_established:
            return {}
        bindings: dict[str, bytes] = {}
        if self._host.end_point is not None:
            bindings["tls-server-end-point"] = self._host.end_point
        if self._object.version() == "TLSv1.2" and self._client.has_extended_master_secret:
            unique = self._object.get_channel_binding("tls-unique")
            if unique is not None:
                bindings["tls-unique"] = unique
        return bindings

    # --- handshake --------------------------------------------------------------------------------------

    def _negotiate(self, data: bytes) -> bytes:
        if self._hello is not None:
            if not self._read_hello(self._hello, data):
                return b""
            data, self._hello = bytes(self._hello.flight), None
        parts: list[bytes] = []
        for start in range(0, len(data), SLICE):
            self._incoming.write(data[start : start + SLICE])
            if not self.is_established:
                self._shake_hands()
            if self.is_established:
                self._drain(parts)
        return b"".join(parts)

    def _read_hello(self, reader: HelloReader, data: bytes) -> bool:
        """Whether the ClientHello is complete now and OpenSSL has been set up."""
        try:
            client = reader.receive(data)
            if client is None:
                return False
            if client.protocols is not None and self._contexts.protocol not in client.protocols:
                offer = b", ".join(client.protocols).decode("ascii", "backslashreplace")
                text = f"the client offers {offer or 'nothing'} by ALPN"
                raise BadHello(text, Alert.NO_APPLICATION_PROTOCOL)
            if client.wants_finite_field:
                raise BadHello("the client wants finite-field Diffie-Hellman", Alert.HANDSHAKE_FAILURE)
        except BadHello as error:
            self._ready = b"" if error.alert is None else alert_record(error.alert)
            raise TlsFailed(str(error)) from error
        self._client = client
        self._host = self._contexts.choose(client.server_name)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = self._host.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        return True

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        # A second ClientHello (after HelloRetryRequest) might have offered something else than the first.
        if self._client.protocols is not None and self._object.selected_alpn_protocol() is None:
            raise TlsFailed("the client changed its ALPN offer")
        self.is_established = True

    # --- records ----------------------------------------------------------------------------------------

    def _decrypt(self, ciphertext: bytes) -> bytes:
        if len(ciphertext) <= SLICE:
            self._incoming.write(ciphertext)
            plaintext = self._read_record()
            # OpenSSL takes a record at a time out of the buffer, so an empty one spares the read that finds
            # nothing: its exception costs more than the decryption.
            if plaintext is None or not self._incoming.pending:
                return plaintext or b""
            parts = [plaintext]
            self._drain(parts)
        else:
            parts = []
            for start in range(0, len(ciphertext), SLICE):
                self._incoming.write(ciphertext[start : start + SLICE])
                self._drain(parts)
        return b"".join(parts)

    def _drain(self, parts: list[bytes]) -> None:
        while self._incoming.pending:
            plaintext = self._read_record()
            if plaintext is None:
                return
            parts.append(plaintext)

    def _read_record(self) -> bytes | None:
        """One record's plaintext; None if none is complete or the peer has ended."""
        try:
            plaintext = self._object.read(MAX_RECORD)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            plaintext = b""
        if not plaintext:
            self.is_ended = True
            return None
        return plaintext

    def _send_slices(self, plaintext: bytes) -> None:
        records = [self._ready, self._outgoing.read()]
        view = memoryview(plaintext)
        for start in range(0, len(plaintext), SLICE):
            self._object.write(view[start : start + SLICE])
            records.append(self._outgoing.read())
        self._ready = b"".join(records)


_UNKNOWN_CLIENT = ClientHello()


def _explain(error: ssl.SSLError) -> str:
    reason = str(getattr(error, "reason", None) or error)
    text = reason.replace("_", " ").lower()
    return f"the peer refuses our certificate ({text})" if reason in _REFUSED else text
