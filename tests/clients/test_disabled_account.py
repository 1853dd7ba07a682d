"""A stock client of an account that is disabled is logged out, and told why it does not get in again."""

from __future__ import annotations

import pytest
from live_server import LiveServer, NewUser, ServerProcess, User
from slix import LoginRefused, MakeSlix
from waiting import until


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
async def test_the_owner_is_told_and_nobody_else(
    server: ServerProcess, slix: MakeSlix, new_user: NewUser, mechanism: str
) -> None:
    if not isinstance(server, LiveServer):
        pytest.skip("commands are each server's own")
    owner = new_user("romeo")
    client = await slix(owner, mechanism=mechanism).login()
    config = ("--config", str(server.config_file))
    server.run("user", "disable", owner.jid, *config)
    await until(lambda: not client.is_connected(), lambda: "still connected")

    refused: list[str] = []

    async def attempt(user: User) -> None:
        again = slix(user, mechanism=mechanism)
        again.add_event_handler("failed_auth", lambda stanza: refused.append(stanza["condition"]))
        with pytest.raises(LoginRefused):
            await again.login()

    await attempt(owner)
    await attempt(User(owner.jid, "a guess"))
    await attempt(User(f"nobody@{server.domain}", "a guess"))
    assert refused == ["account-disabled", "not-authorized", "not-authorized"]
    server.run("user", "enable", owner.jid, *config)
    await slix(owner, mechanism=mechanism).login()
