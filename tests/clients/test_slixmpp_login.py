"""slixmpp logs in by SCRAM over both kinds of TLS, and only to a server whose certificate it trusts."""

from __future__ import annotations

import pytest
from live_server import DOMAIN, NewUser, ServerProcess, User
from slix import LoginRefused, MakeSlix

both_ports = pytest.mark.parametrize("direct_tls", [False, True], ids=["starttls", "direct-tls"])


@both_ports
async def test_login_by_the_strongest_scram(
    server: ServerProcess, slix: MakeSlix, user: User, direct_tls: bool
) -> None:
    client = await slix(user, direct_tls=direct_tls).login()
    assert client.boundjid.bare == user.jid
    assert client.mechanism == server.mechanisms[0]
    assert client.verified_names == [DOMAIN]


@both_ports
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
async def test_login_by_each_mechanism(
    server: ServerProcess, slix: MakeSlix, user: User, mechanism: str, direct_tls: bool
) -> None:
    if mechanism not in server.mechanisms:
        pytest.skip("the server does not have it")
    client = await slix(user, mechanism=mechanism, direct_tls=direct_tls).login()
    assert client.mechanism == mechanism


@both_ports
async def test_a_certificate_of_another_authority_is_refused(
    server: ServerProcess, slix: MakeSlix, user: User, direct_tls: bool
) -> None:
    client = slix(user, ca=server.certificates.foreign_ca, direct_tls=direct_tls)
    with pytest.raises(LoginRefused, match=r"CERTIFICATE_VERIFY_FAILED"):
        await client.login()


@both_ports
async def test_a_wrong_password_is_refused(
    server: ServerProcess, slix: MakeSlix, new_user: NewUser, direct_tls: bool
) -> None:
    client = slix(new_user("romeo"), direct_tls=direct_tls)
    client.password = "wrong"
    with pytest.raises(LoginRefused, match=r"authentication"):
        await client.login()


async def test_an_unknown_account_is_refused_like_a_wrong_password(
    server: ServerProcess, slix: MakeSlix, new_user: NewUser
) -> None:
    conditions = []
    for user in (User(new_user("romeo").jid, "wrong"), User(f"nobody@{server.domain}", "wrong")):
        client = slix(user)
        client.add_event_handler("failed_auth", lambda failure: conditions.append(failure["condition"]))
        with pytest.raises(LoginRefused):
            await client.login()
    assert set(conditions) == {"not-authorized"}
