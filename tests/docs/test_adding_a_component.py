"""The tutorial is true: its code runs as it stands on the page."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from xmppchat.components import BUILTIN
from xmppchat.core.config import ServerConfig, load_config
from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.runner import run
from xmppchat.testing.transcript import parse

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-component.md"


def block(language: str) -> str:
    """The one code block in `language`."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 1
    return str(found[0])


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerConfig:
    """A configuration with the page's component and options."""
    (tmp_path / "last_words.py").write_text(block("python"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "last_words", raising=False)
    file = tmp_path / "xmppchat.toml"
    host = '[hosts."chat.example"]\ncertificate = "c.pem"\nkey = "k.pem"\n[limits]\nprofile = "test"\n'
    file.write_text(host + block("toml"), encoding="utf-8")
    return load_config(file, BUILTIN)


async def test_the_component_answers(config: ServerConfig, tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path)
    driver.server.config = dataclasses.replace(config, data_dir=tmp_path)
    await driver.start()
    try:
        await run(parse(block("xmpp"), PAGE), driver)
        assert await driver.server.execute("quote set", {"text": "The rest is silence."}) == {
            "quote": "The rest is silence."
        }
    finally:
        await driver.stop()
