"""The component on the page about bots runs as it stands there."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from xmppchat.components import BUILTIN
from xmppchat.core.config import load_config
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

PAGE = Path(__file__).parents[2] / "docs" / "admin" / "bots.md"


def echo() -> str:
    """The one code block of the page."""
    (found,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


async def test_the_echo_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo.py").write_text(echo(), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "echo", raising=False)
    file = tmp_path / "xmppchat.toml"
    host = '[hosts."chat.example"]\ncertificate = "c.pem"\nkey = "k.pem"\n[limits]\nprofile = "test"\n'
    file.write_text(f'{host}[components]\nload = ["echo"]\n', encoding="utf-8")
    driver = MemoryDriver(tmp_path)
    driver.server.config = dataclasses.replace(load_config(file, BUILTIN), data_dir=tmp_path)
    await driver.start()
    try:
        for bot in ("one", "two"):
            await driver.server.execute("bot add", {"jid": f"{bot}@chat.example"})
        await driver.create_account("romeo", "secret")
        client = await driver.connect()
        assert isinstance(client, MemoryClient)
        await client.log_in("romeo", "secret", "x")
        client.write("<presence/><message to='one@chat.example' type='chat'><body>Good morrow</body></message>")
        await client.take(lambda element: element.child_text("body") == "Good morrow")
        await driver.server.execute(
            "send", {"bot": "one@chat.example", "to": "two@chat.example", "text": "Hi", "encrypt": True}
        )
        await settle(driver.server.kernel)
        assert not [one for one in client.inbox if one.name == "message"]
    finally:
        await driver.stop()
