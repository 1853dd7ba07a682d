"""A stock client logs in by SASL2 all in one round trip, and comes back with a token for a password."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from live_server import LiveServer, NewUser, ServerProcess, User
from xmppjs import MakeXmppJs, XmppJs


def mechanisms(client: XmppJs) -> list[str]:
    """What it logged in by, in order."""
    return [seen["mechanism"] for seen in client.all("authenticate")]


def devices(server: ServerProcess, user: User) -> list[Mapping[str, Any]]:
    """What the admin is shown of the clients of `user`."""
    assert isinstance(server, LiveServer)
    return json.loads(server.run("devices", user.jid, "--config", str(server.config_file), "--json"))


async def test_a_client_comes_back_with_its_token(
    server: ServerProcess, xmppjs: MakeXmppJs, new_user: NewUser
) -> None:
    juliet = new_user("juliet")
    she = await xmppjs(juliet, "node").login()
    await she.sees("token")
    she.do("cut")
    await she.sees("resumed")
    assert mechanisms(she) == ["SCRAM-SHA-1", "HT-SHA-256-NONE"]
    assert len(she.all("online")) == 1, "its session went on, within the login"
    (device,) = devices(server, juliet)
    assert device["software"] == "node"


async def test_a_client_that_keeps_no_password(server: ServerProcess, xmppjs: MakeXmppJs, new_user: NewUser) -> None:
    """Another start of the same installation: same resource, a token only; after a restart of the server, too."""
    juliet = new_user("juliet")
    first = await xmppjs(juliet, "node").login()
    await first.sees("token")
    await first.stop()
    assert isinstance(server, LiveServer)
    server.stop()
    server.start()
    again = await xmppjs(juliet, "node", first.all("token")[0]).login()
    assert mechanisms(again) == ["HT-SHA-256-NONE"]
    assert again.all("online")[0]["jid"] == first.all("online")[0]["jid"]
    assert len(devices(server, juliet)) == 1


async def test_who_is_revoked_needs_the_password(
    server: ServerProcess, xmppjs: MakeXmppJs, new_user: NewUser
) -> None:
    """XEP-0494: its session ends, its token opens nothing; a client that has only that stays outside."""
    juliet = new_user("juliet")
    she = await xmppjs(juliet, "node").login()
    await she.sees("token")
    (device,) = devices(server, juliet)
    assert isinstance(server, LiveServer)
    server.run("device", "revoke", juliet.jid, device["id"], "--config", str(server.config_file))
    await she.sees("disconnect")
    await she.sees("online", 2)  # by its password, as the token is refused
    assert mechanisms(she) == ["SCRAM-SHA-1", "HT-SHA-256-NONE", "SCRAM-SHA-1"]
    thief = xmppjs(juliet, "node", she.all("token")[0])
    await thief.start()
    await thief.sees("error")
    assert mechanisms(thief)[0] == "HT-SHA-256-NONE"
    assert thief.all("online") == []


async def test_a_new_password_is_the_end_of_all_tokens(
    server: ServerProcess, xmppjs: MakeXmppJs, new_user: NewUser
) -> None:
    juliet = new_user("juliet")
    she = await xmppjs(juliet, "node").login()
    await she.sees("token")
    await she.stop()
    assert isinstance(server, LiveServer)
    server.run("user", "passwd", juliet.jid, "--password-stdin", "--config", str(server.config_file), given="another\n")
    again = xmppjs(juliet, "node", she.all("token")[0])
    await again.start()
    await again.sees("error")
    assert again.all("online") == []
