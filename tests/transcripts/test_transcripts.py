"""Runs every transcript: the files here, the tables, and the examples in the docstrings of components."""

from __future__ import annotations

from pathlib import Path

import pytest
from subscription_table import expand

import xmppchat.components
from xmppchat.testing.runner import Driver, Mismatch, run
from xmppchat.testing.transcript import Transcript, examples, parse

HERE = Path(__file__).parent
COMPONENTS = Path(xmppchat.components.__file__).parent


def _files() -> list[tuple[str, Transcript]]:
    found = []
    for path in sorted(HERE.rglob("*.xmpp")):
        name = path.relative_to(HERE)
        found.append((str(name.with_suffix("")), parse(path.read_text(), name)))
    return found


def _examples() -> list[tuple[str, Transcript]]:
    found = []
    for path in sorted(COMPONENTS.rglob("*.py")):
        name = path.relative_to(COMPONENTS.parent.parent)
        for number, transcript in enumerate(examples(path.read_text(), name), 1):
            found.append((f"{name.with_suffix('')}-{number}", transcript))
    return found


def _parameters(transcripts: list[tuple[str, Transcript]]) -> list[object]:
    return [pytest.param(transcript, id=name) for name, transcript in transcripts]


def _tables() -> list[tuple[str, Transcript]]:
    return [case for path in sorted(HERE.rglob("*.table")) for case in expand(path, path.relative_to(HERE))]


async def _run(transcript: Transcript, driver: Driver) -> None:
    problem = ""
    try:
        await run(transcript, driver)
    except Mismatch as mismatch:
        problem = f"{transcript.title}\n{mismatch}"
    if problem:
        pytest.fail(problem, pytrace=False)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("transcript", _parameters(_tables()))
async def test_subscription(transcript: Transcript, driver: Driver) -> None:
    await _run(transcript, driver)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("transcript", _parameters(_files()))
async def test_transcript(transcript: Transcript, driver: Driver) -> None:
    await _run(transcript, driver)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("transcript", _parameters(_examples()))
async def test_example(transcript: Transcript, driver: Driver) -> None:
    if driver.name == "prosody":
        pytest.skip("an example shows this server")
    await _run(transcript, driver)
