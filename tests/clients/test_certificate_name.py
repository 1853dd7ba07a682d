"""A trusted certificate for another domain is no better than an untrusted one: clients check the name, too.

So the other tests, which connect to an address, have proved that the certificate is the domain's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import ServerProcess, User, make_certificates
from profanity import CERTIFICATE_REFUSED, Profanity
from sendxmpp import GoSendxmpp
from slix import LoginRefused, Slix

both_ports = pytest.mark.parametrize("direct_tls", [False, True], ids=["starttls", "direct-tls"])


@pytest.fixture(scope="module")
def impostor(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of the kind under test whose certificate is good, but another domain's."""
    certificates = make_certificates(tmp_path_factory.mktemp("tls-other"), "other.test")
    with type(server)(tmp_path_factory.mktemp("impostor"), certificates) as running:
        yield running


@pytest.fixture(scope="module")
def victim(impostor: ServerProcess) -> User:
    """An account there."""
    return impostor.add_user("romeo", "secret")


@both_ports
async def test_slixmpp(impostor: ServerProcess, victim: User, direct_tls: bool) -> None:
    client = Slix(impostor, victim.jid, victim.password, direct_tls=direct_tls)
    with pytest.raises(LoginRefused, match=r"Hostname mismatch"):
        await client.login()
    await client.logout()


@both_ports
async def test_profanity(impostor: ServerProcess, victim: User, short_path: Path, direct_tls: bool) -> None:
    client = Profanity(impostor, short_path / "home")
    try:
        await client.start()
        await client.connect(victim.jid, victim.password, direct_tls=direct_tls)
        await client.sees(CERTIFICATE_REFUSED)
    finally:
        client.close()
    assert not any("<auth" in stanza.xml for stanza in client.wire())


@both_ports
def test_go_sendxmpp(impostor: ServerProcess, victim: User, tmp_path: Path, direct_tls: bool) -> None:
    client = GoSendxmpp(impostor, victim.jid, victim.password, tmp_path, direct_tls=direct_tls)
    done = client.send(victim.jid, "secret")
    assert done.returncode != 0
    assert "certificate is valid for other.test, not chat.test" in done.stderr
