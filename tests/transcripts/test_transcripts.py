"""Runs every transcript: the files here, the tables, and the examples in the docstrings of components.

`--server prosody` runs them against Prosody instead, where the @prosody blocks hold.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from transcripts.subscription_table import expand

import xmppchat.components
from xmppchat.testing.runner import Driver, Mismatch, run
from xmppchat.testing.transcript import Transcript, examples, parse

HERE = Path(__file__).parent
COMPONENTS = Path(xmppchat.components.__file__).parent
_CITATION = re.compile(r"^# .*(RFC \d{4}|XEP-\d{4}) (§\d|Appendix)", re.MULTILINE)

Named = list[tuple[str, Transcript]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each transcript with each driver that can run it."""
    if "transcript" not in metafunc.fixturenames:
        return
    is_prosody = metafunc.config.getoption("--server") == "prosody"
    drivers = ["prosody"] if is_prosody else ["memory", "postgresql", "tcp", "tls"]
    # What an example shows is this server.
    named = _files() + _tables() + ([] if is_prosody else _examples())
    cases = [
        pytest.param(driver, transcript, id=f"{driver}-{name}")
        for driver in drivers
        for name, transcript in named
        if _may_run(transcript, name, driver)
    ]
    metafunc.parametrize(("driver", "transcript"), cases, indirect=["driver"], scope="session")


def _may_run(transcript: Transcript, name: str, driver: str) -> bool:
    if driver == "tls":  # above TLS it is what "tcp" is: a few show that it gets there
        return name.startswith(("ping/", "messages/payload"))
    return driver in ("memory", "postgresql") or not transcript.is_memory_only


def _files() -> Named:
    paths = sorted(HERE.rglob("*.xmpp"))
    names = [path.relative_to(HERE) for path in paths]
    return [
        (str(name.with_suffix("")), parse(path.read_text(), name)) for name, path in zip(names, paths, strict=True)
    ]


def _tables() -> Named:
    return [case for path in sorted(HERE.rglob("*.table")) for case in expand(path, path.relative_to(HERE))]


def _examples() -> Named:
    found = []
    for path in sorted(COMPONENTS.rglob("*.py")):
        name = path.relative_to(COMPONENTS.parent.parent)
        for number, transcript in enumerate(examples(path.read_text(), name), 1):
            found.append((f"{name.with_suffix('')}-{number}", transcript))
    return found


@pytest.mark.asyncio(loop_scope="session")
async def test_transcript(transcript: Transcript, driver: Driver) -> None:
    problem = ""
    try:
        await run(transcript, driver)
    except Mismatch as mismatch:
        problem = f"{transcript.title}\n{mismatch}"
    if problem:
        pytest.fail(problem, pytrace=False)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in sorted(HERE.rglob("*.xmpp"))])
def test_transcript_cites_what_decides(path: Path) -> None:
    assert _CITATION.search(path.read_text())
