"""go-sendxmpp logs in by PLAIN over both kinds of checked TLS, sends to profanity and hears from slixmpp."""

from __future__ import annotations

import pytest
from live_server import NewUser, ServerProcess, User
from sendxmpp import MakeGoSendxmpp
from slix import MakeSlix

both_ports = pytest.mark.parametrize("direct_tls", [False, True], ids=["starttls", "direct-tls"])


@both_ports
async def test_it_sends(
    server: ServerProcess, sendxmpp: MakeGoSendxmpp, slix: MakeSlix, new_user: NewUser, direct_tls: bool
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    recipient = await slix(juliet).login()
    done = sendxmpp(romeo, direct_tls=direct_tls).send(juliet.jid, "Wherefore? <&> “’”")
    assert done.returncode == 0, done.stderr
    await recipient.sees_bodies("Wherefore? <&> “’”")
    assert recipient.seen_messages[0]["from"].bare == romeo.jid


@both_ports
async def test_it_listens(
    server: ServerProcess, sendxmpp: MakeGoSendxmpp, slix: MakeSlix, new_user: NewUser, direct_tls: bool
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    listener = sendxmpp(juliet, direct_tls=direct_tls)
    listener.listen()
    sender = await slix(romeo).login()
    # Whether it is online already does not matter: the offline store keeps the order.
    for number in range(10):
        sender.say(juliet.jid, f"line {number}")
    await listener.hears(*((romeo.jid, f"line {number}") for number in range(10)))


@both_ports
def test_a_certificate_of_another_authority_is_refused(
    server: ServerProcess, sendxmpp: MakeGoSendxmpp, user: User, direct_tls: bool
) -> None:
    client = sendxmpp(user, ca=server.certificates.foreign_ca, direct_tls=direct_tls)
    done = client.send(user.jid, "secret")
    assert done.returncode != 0
    assert "certificate signed by unknown authority" in done.stderr
