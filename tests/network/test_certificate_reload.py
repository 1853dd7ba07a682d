"""A renewed certificate is served to new clients on SIGHUP, and nobody who is connected notices."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
from pathlib import Path

from live_server import LiveServer, make_certificates, wait_for

from xmppchat.testing.wire_client import TcpClient


def served(server: LiveServer) -> bytes:
    """The certificate a new client is shown on the port for direct TLS."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((server.address, 5223), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=server.domain) as secure,
    ):
        certificate = secure.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


async def test_certificates_are_read_again_without_dropping_anyone(tmp_path: Path) -> None:
    old = make_certificates(tmp_path / "old")
    new = make_certificates(tmp_path / "new")
    with LiveServer(tmp_path / "server", old) as server:
        server.add_user("romeo", "secret")
        client = await TcpClient.connect(server.address, 5222, server.domain)
        await client.log_in("romeo", "secret", "x")
        before = served(server)

        old.chain.write_text("not a certificate")
        os.kill(server.pid, signal.SIGHUP)
        wait_for(lambda: "everything stays as it was" in server.log(), 10, "the broken file to be refused")
        assert served(server) == before

        shutil.copy(new.chain, old.chain)
        shutil.copy(new.key, old.key)
        os.kill(server.pid, signal.SIGHUP)
        wait_for(lambda: served(server) != before, 10, "the new certificate to be served")
        await client.barrier()
        assert not client.is_closed
        await client.close()
