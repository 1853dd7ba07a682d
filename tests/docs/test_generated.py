"""Files that are generated from the code are up to date, and say what they should."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from xmppchat.cli import generate
from xmppchat.components import BUILTIN
from xmppchat.core.config import ServerConfig, load_config

EXAMPLES = sorted((generate.ROOT / "config" / "examples").glob("*.toml"))


def test_generated_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().err


def test_stale_files_are_named_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    (tmp_path / "doap.xml").write_text("old")
    capsys.readouterr()
    assert generate.main(["--check"], tmp_path) == 1
    assert "out of date: doap.xml;" in capsys.readouterr().err
    assert (tmp_path / "doap.xml").read_text() == "old"


def test_the_default_configuration_is_the_defaults() -> None:
    config = load_config(generate.ROOT / "config" / "xmppchat.toml", BUILTIN)
    assert config.limits == ServerConfig.for_tests(limits=type(config.limits)()).limits
    assert list(config.hosts) == ["chat.example"]


def test_the_default_configuration_holds_with_every_option_written_out(tmp_path: Path) -> None:
    text = (generate.ROOT / "config" / "xmppchat.toml").read_text()
    lines = [
        line.removeprefix("# ") if line.startswith("# ") and (" = " in line or line.startswith("# [")) else line
        for line in text.splitlines()
    ]
    path = tmp_path / "xmppchat.toml"
    path.write_text("\n".join(lines))
    (tmp_path / "PATH").write_text("where secrets are said to be, each as long as a key")
    written = load_config(path, BUILTIN)
    assert written.limits == load_config(generate.ROOT / "config" / "xmppchat.toml", BUILTIN).limits
    assert written.component_options.keys() == {cls.name for cls in BUILTIN if cls.Config.model_fields}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_can_be_loaded(path: Path) -> None:
    assert load_config(path, BUILTIN).limits.profile == "default"


def test_there_are_examples() -> None:
    assert {"company", "family"} <= {path.stem for path in EXAMPLES}


def test_doap_names_what_components_implement() -> None:
    root = ET.parse(generate.ROOT / "doap.xml").getroot()
    resource = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
    xeps = {element.get(resource) for element in root.iter("{https://linkmauve.fr/ns/xmpp-doap#}xep")}
    assert "https://xmpp.org/extensions/xep-0199.html" in xeps


def test_every_command_is_documented() -> None:
    page = (generate.ROOT / "docs" / "reference" / "commands.md").read_text()
    assert all(f"## `xmppchat user {name}" in page for name in ("add", "passwd", "list", "disable", "delete"))
