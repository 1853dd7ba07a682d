"""Commands on the running server: sessions, numbers, announcements."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from components.command_support import A, B, Hosts, run, status, two_hosts

from xmppchat.components.administration import MAX_ANNOUNCEMENT
from xmppchat.core.commands import CommandError
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import settle


@pytest.fixture
async def hosts(tmp_path: Path, storage_url: str) -> AsyncIterator[Hosts]:
    async with two_hosts(tmp_path, storage_url=storage_url) as made:
        yield made


async def test_numbers(hosts: Hosts) -> None:
    await hosts.log_in(f"romeo@{A}", "desk")
    await hosts.log_in(f"romeo@{A}", "phone")
    await hosts.log_in(f"bob@{B}")
    await hosts.execute("user disable", jid=f"romeo@{B}")
    assert await hosts.execute("stats") == {"accounts": 6, "disabled": 1, "online": 2, "sessions": 3}
    assert [row["session"] for row in await hosts.execute("sessions")] == [
        f"bob@{B}/x", f"romeo@{A}/desk", f"romeo@{A}/phone",
    ]  # fmt: skip


async def test_an_admin_announces_to_the_own_host_only(hosts: Hosts) -> None:
    alice, romeo = await hosts.log_in(f"alice@{A}"), await hosts.log_in(f"romeo@{A}")
    stranger = await hosts.log_in(f"romeo@{B}")
    answer = await run(alice, f"{NS.ADMIN}#announce", {"announcement": ("We go down.", "<b>Now</b>")})
    assert status(answer) == "completed"
    await settle(hosts.kernel)
    (message,) = romeo.inbox
    assert (message.get("type"), message.get("from")) == ("headline", A)
    assert message.child_text("body") == "We go down.\n<b>Now</b>"
    assert stranger.inbox == []
    assert await hosts.execute("announce", text="All of you") == {"recipients": 3}
    await settle(hosts.kernel)
    assert [message.get("from") for message in stranger.inbox] == [B]


async def test_many_are_told(hosts: Hosts) -> None:
    """More than are routed at once."""
    for number in range(15):
        await hosts.log_in(f"romeo@{A}", f"r{number}")
    assert await hosts.execute("announce", text="x") == {"recipients": 1}


@pytest.mark.parametrize("text", ["", " \n", "x" * (MAX_ANNOUNCEMENT + 1), "bell\x07", "\ufffe", "\ud800"])
async def test_what_cannot_be_announced(hosts: Hosts, text: str) -> None:
    romeo = await hosts.log_in(f"romeo@{A}")
    with pytest.raises(CommandError):
        await hosts.execute("announce", text=text)
    await settle(hosts.kernel)
    assert romeo.inbox == []


async def test_a_kicked_account_may_come_back(hosts: Hosts) -> None:
    romeo = await hosts.log_in(f"romeo@{A}")
    assert await hosts.execute("user kick", jid=f"romeo@{A}") == {"ended": [f"romeo@{A}/x"]}
    await romeo.until_closed()
    await hosts.log_in(f"romeo@{A}")
    with pytest.raises(CommandError, match="is not connected"):
        await hosts.execute("user kick", jid=f"romeo@{A}/other")
    with pytest.raises(CommandError, match="is not connected"):
        await hosts.execute("user kick", jid=A)


async def test_an_admin_may_end_the_own_session_and_is_answered(hosts: Hosts) -> None:
    alice = await hosts.log_in(f"alice@{A}")
    answer = await run(alice, f"{NS.ADMIN}#end-user-session", {"accountjids": (f"alice@{A}",)})
    assert status(answer) == "completed"
    await alice.until_closed()
