"""Log records: one line each, bounded, unforgeable; other libraries' join them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from xmppchat.core import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_json_records(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.get_logger("x").info("bound", account="a@b", count=3)
    [record] = records(capsys)
    assert (record["event"], record["account"], record["count"], record["level"]) == ("bound", "a@b", 3, "info")


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json")
    log = structlog.get_logger("x")
    log.info("no")
    log.warning("yes")
    assert [record["event"] for record in records(capsys)] == ["yes"]


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[2Jb", "a\u2028b", "a\u202eb", "a\x85b"])
def test_nobody_forges_a_record(capsys: pytest.CaptureFixture[str], text: str) -> None:
    logs.configure("info", "console")
    structlog.get_logger("x").info("event", resource=text)
    logging.getLogger("library").warning("%s", text)
    output = capsys.readouterr().err
    assert len(output.splitlines()) == 2
    assert "\x1b" not in output
    assert "\u202e" not in output


def test_other_libraries_are_heard_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "json")
    logging.getLogger("library").info("no")
    logging.getLogger("library").warning("%s of %d", "one", 2)
    [record] = records(capsys)
    assert (record["event"], record["level"]) == ("one of 2", "warning")


@pytest.mark.parametrize("format", ["console", "json"])
def test_a_record_is_bounded(capsys: pytest.CaptureFixture[str], format: str) -> None:
    logs.configure("info", format)
    structlog.get_logger("x").info("long", **{f"value{number}": '"é' * 5_000 for number in range(20)})
    output = capsys.readouterr().err
    assert len(output.rstrip("\n").encode()) <= logs.MAX_BYTES
    if format == "json":
        json.loads(output)


@pytest.mark.parametrize("format", ["console", "json"])
def test_a_traceback_appears_once_and_without_values(capsys: pytest.CaptureFixture[str], format: str) -> None:
    logs.configure("info", format)

    def fail(password: str) -> None:
        raise ValueError("broken")

    for log in (structlog.get_logger("x"), logging.getLogger("library")):
        try:
            fail("geheim")
        except ValueError:
            log.exception("it failed")
    output = capsys.readouterr().err
    assert output.count("ValueError: broken") == 2
    assert "password = " not in output


def test_configuring_twice_logs_once(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logs.configure("info", "json")
    logging.getLogger("library").warning("once")
    assert len(records(capsys)) == 1
