"""profanity logs in by SCRAM over both kinds of TLS, and every question it asks at login is answered."""

from __future__ import annotations

import pytest
from live_server import NewUser, ServerProcess, User
from profanity import CERTIFICATE_REFUSED, Profanity, StartProfanity
from waiting import until

both_ports = pytest.mark.parametrize("direct_tls", [False, True], ids=["starttls", "direct-tls"])


@both_ports
async def test_login_by_the_strongest_scram(
    server: ServerProcess, profanity: StartProfanity, new_user: NewUser, direct_tls: bool
) -> None:
    user = new_user("juliet")  # of its own: it asks other devices of the account, too
    client = await profanity()
    await client.login(user.jid, user.password, direct_tls=direct_tls)
    assert client.mechanism == server.mechanisms[0]
    assert "[TLS] [online]" in client.screen()
    assert CERTIFICATE_REFUSED not in client.screen()
    await client.settle()
    await until(lambda: not unanswered(client), lambda: f"answers to {unanswered(client)}")


@both_ports
async def test_a_certificate_of_another_authority_is_refused(
    server: ServerProcess, profanity: StartProfanity, user: User, direct_tls: bool
) -> None:
    client = await profanity(ca=server.certificates.foreign_ca)
    await client.connect(user.jid, user.password, direct_tls=direct_tls)
    await client.sees(CERTIFICATE_REFUSED)
    client.type("/tls deny")
    await client.sees("Login failed.")
    assert not any("<auth" in stanza.xml for stanza in client.wire())


async def test_a_wrong_password_is_refused(profanity: StartProfanity, new_user: NewUser) -> None:
    user = new_user("juliet")
    client = await profanity()
    await client.connect(user.jid, "wrong")
    await client.sees("Login failed.")
    assert any("not-authorized" in stanza.xml for stanza in client.wire() if not stanza.sent)


def unanswered(client: Profanity) -> list[str]:
    """Requests of this client without a result or an error."""
    requests: dict[str, str] = {}
    for stanza in client.wire():
        element = stanza.element
        if element is None or element.tag.rpartition("}")[2] != "iq":
            continue
        if stanza.sent and element.get("type") in ("get", "set"):
            requests[element.get("id", "")] = stanza.xml
        elif not stanza.sent and element.get("type") in ("result", "error"):
            requests.pop(element.get("id", ""), None)
    return list(requests.values())
