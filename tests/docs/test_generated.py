"""What is generated is up to date, and the example configurations load."""

from __future__ import annotations

import tomllib
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from xmppchat.cli import generate
from xmppchat.components import BUILTIN
from xmppchat.core.component import Xep
from xmppchat.core.config import load_config
from xmppchat.core.options import toml_value

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", generate.files())
def test_is_up_to_date(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == generate.files()[name], "run python -m xmppchat.cli.generate"


def test_check_finds_what_is_out_of_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"], tmp_path) == 1
    assert not list(tmp_path.iterdir())
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    (tmp_path / "doap.xml").write_text("old")
    capsys.readouterr()
    assert generate.main(["--check"], tmp_path) == 1
    assert "out of date: doap.xml" in capsys.readouterr().err


def test_the_default_file_changes_nothing(tmp_path: Path) -> None:
    text = (ROOT / "config/xmppchat.toml").read_text(encoding="utf-8")
    path = tmp_path / "xmppchat.toml"
    path.write_text(text, encoding="utf-8")
    as_it_is = load_config(path, BUILTIN)
    # With every comment that is an option taken at its word, the outcome is the same.
    keys = {f"# {option.name} = {toml_value(option.default)}" for option in generate.explain(BUILTIN)}
    path.write_text("\n".join(line[2:] if line in keys else line for line in text.splitlines()), encoding="utf-8")
    assert len(tomllib.loads(path.read_text())["limits"]) > 20
    assert load_config(path, BUILTIN) == as_it_is


@pytest.mark.parametrize("path", sorted((ROOT / "config/examples").glob("*.toml")), ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    assert load_config(path, BUILTIN).hosts


def test_doap_names_every_specification() -> None:
    root = ET.parse(ROOT / "doap.xml").getroot()
    resource = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"
    named = {element.get(resource, "")[-8:-5] for element in root.iter("{https://linkmauve.fr/ns/xmpp-doap#}xep")}
    declared = {item.number for cls in BUILTIN for item in cls.implements if isinstance(item, Xep)}
    assert {f"{number:03}" for number in declared} <= named
