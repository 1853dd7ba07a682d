"""What foreign tools find (reliability.md V-05, V-21, V-22): sslscan and openssl against our ports."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest
from network_support import Handlers, Listen, Recorder

from xmppchat.network.certificates import CertificateFiles
from xmppchat.network.tls import TlsContexts

pytestmark = pytest.mark.foreign
#: There a missing program is a failure.
IS_CI = bool(os.environ.get("CI"))
needs_sslscan = pytest.mark.skipif(not IS_CI and shutil.which("sslscan") is None, reason="needs sslscan")
needs_openssl = pytest.mark.skipif(not IS_CI and shutil.which("openssl") is None, reason="needs openssl")

NS = "http://etherx.jabber.org/streams"


class XmppHandler(Recorder):
    """As much of a stream as a scanner needs to come to STARTTLS."""

    def received(self, data: bytes) -> None:
        if b"<starttls" in data:
            self.data.clear()
            super().received(b"<starttls/>")
            return
        super().received(data)
        if b"<stream:stream" in data and not self.transport.is_secure:
            self.transport.write(
                b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
                b" from='one.example' version='1.0' id='x'><stream:features>"
                b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
            )


class XmppHandlers(Handlers):
    def __call__(self) -> XmppHandler:
        handler = XmppHandler(self._tls)
        self.made.append(handler)
        self._changed.set()
        return handler


async def run(*command: str, words: bytes | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(100):
        output, _ = await process.communicate(words)
    return output.decode("utf-8", "replace")


@needs_sslscan
@pytest.mark.parametrize("is_direct", [True, False])
async def test_sslscan_finds_nothing_weak(listen: Listen, contexts: TlsContexts, is_direct: bool) -> None:
    listener = await listen(
        XmppHandlers(contexts), mode="direct" if is_direct else "starttls", contexts=contexts
    )
    options = [] if is_direct else ["--starttls-xmpp"]
    report = await run(
        "sslscan", "--no-colour", "--show-certificate", "--sni-name=one.example", "--xml=-", *options,
        f"127.0.0.1:{listener.port}",
    )  # fmt: skip
    scan = ET.fromstring(report[report.index("<?xml") :])
    enabled = [x for x in scan.iter("protocol") if x.get("enabled") == "1"]
    assert [(x.get("type"), x.get("version")) for x in enabled] == [("tls", "1.2"), ("tls", "1.3")]
    # Some builds cannot ask for compression and say nothing.
    assert {x.get("supported") for x in scan.iter("compression")} <= {"0"}
    assert {x.get("supported") for x in scan.iter("renegotiation")} == {"0"}
    assert {x.get("vulnerable") for x in scan.iter("heartbleed")} == {"0"}
    ciphers = list(scan.iter("cipher"))
    assert {x.get("sslversion") for x in ciphers} == {"TLSv1.2", "TLSv1.3"}
    for found in ciphers:
        cipher = found.get("cipher", "")
        assert int(found.get("bits", "0")) >= 128, cipher
        if found.get("sslversion") == "TLSv1.2":
            assert cipher.startswith("ECDHE-"), cipher
            assert "GCM" in cipher or "CHACHA20" in cipher, cipher
    groups = {x.get("name", "").split(" ")[0] for x in scan.iter("group")}
    assert groups <= {"secp256r1", "secp384r1", "secp521r1", "x25519", "x448"}


@needs_openssl
async def test_renegotiation_is_refused(listen: Listen, contexts: TlsContexts) -> None:
    factory = Handlers(echo=True)
    listener = await listen(factory, mode="direct", contexts=contexts)
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.port}", "-tls1_2"]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(60):
        process.stdin.write(b"hello\n")
        await process.stdout.readuntil(b"hello")
        process.stdin.write(b"R\n")  # a command only at the start of what it reads
        await process.stdout.readuntil(b"RENEGOTIATING")
        process.stdin.write(b"again\n")
        output = (await process.communicate())[0].decode()
    assert "no renegotiation" in output
    handler = await factory.next()
    assert b"again" not in handler.data


@needs_openssl
async def test_no_early_data_and_no_resumption(
    listen: Listen, contexts: TlsContexts, one: CertificateFiles
) -> None:
    listener = await listen(Handlers(), mode="direct", contexts=contexts)
    output = await run(
        "openssl", "s_client", "-connect", f"127.0.0.1:{listener.port}", "-tls1_3", "-reconnect",
        "-CAfile", str(one.certificate), words=b"Q\n",
    )  # fmt: skip
    assert "New, TLSv1.3" in output
    assert "Reused" not in output
    assert "NewSessionTicket" not in output
    assert "Early data was not sent" in output


@needs_openssl
@pytest.mark.parametrize("groups", ["ffdhe8192", "ffdhe8192:X25519"])
async def test_finite_field_diffie_hellman_is_refused(
    listen: Listen, contexts: TlsContexts, groups: str
) -> None:
    listener = await listen(Handlers(), mode="direct", contexts=contexts)
    port = f"127.0.0.1:{listener.port}"
    output = await run("openssl", "s_client", "-connect", port, "-groups", groups, words=b"")
    assert "alert number 40" in output


@needs_openssl
async def test_the_wrong_alpn_gets_its_alert(listen: Listen, contexts: TlsContexts) -> None:
    listener = await listen(Handlers(), mode="direct", contexts=contexts)
    port = f"127.0.0.1:{listener.port}"
    refused = await run("openssl", "s_client", "-connect", port, "-alpn", "http/1.1", words=b"")
    assert "alert number 120" in refused
    accepted = await run("openssl", "s_client", "-connect", port, "-alpn", "xmpp-client", words=b"")
    assert "ALPN protocol: xmpp-client" in accepted
