"""Somebody whose bcrypt hash was imported logs in with PLAIN once, and with SCRAM from then on."""

from __future__ import annotations

from pathlib import Path

import bcrypt
import pytest
from live_server import LiveServer, ServerProcess, User
from slix import LoginRefused, MakeSlix

PASSWORD = "pass word of another system"


@pytest.fixture
def moved(server: ServerProcess, tmp_path: Path) -> User:
    """An account with an imported password."""
    if not isinstance(server, LiveServer):
        pytest.skip("imports are each server's own")
    name = f"romeo-{tmp_path.name}"[:40].lower()
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    file = tmp_path / "users.csv"
    file.write_text(f"account,bcrypt\n{name},{hashed}\n")
    server.run("user", "import", str(file), "--config", str(server.config_file))
    return User(f"{name}@{server.domain}", PASSWORD)


async def test_plain_first_then_scram(slix: MakeSlix, moved: User) -> None:
    with pytest.raises(LoginRefused, match="authentication"):
        await slix(moved, mechanism="SCRAM-SHA-256").login()
    with pytest.raises(LoginRefused, match="authentication"):
        await slix(User(moved.jid, "wrong"), mechanism="PLAIN").login()
    first = await slix(moved, mechanism="PLAIN").login()
    assert first.mechanism == "PLAIN"
    await first.logout()
    for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"):
        again = await slix(moved, mechanism=mechanism).login()
        assert again.mechanism == mechanism
        await again.logout()


async def test_a_client_that_goes_down_its_list_gets_in_by_itself(slix: MakeSlix, moved: User) -> None:
    assert (await slix(moved).login()).mechanism == "PLAIN"
    assert (await slix(moved).login()).mechanism == "SCRAM-SHA-512"
