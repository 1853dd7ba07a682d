"""Log records: one line each, bounded, unforgeable; other libraries' join them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from xmppchat.core import log_rate, logs


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


# --- how many -----------------------------------------------------------------------------------------------------

class Seconds:
    """A clock for the rate of records."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(log_rate.LogRate.__init__, "__defaults__", (lambda: self.now,))


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    return Seconds(monkeypatch)


@pytest.mark.parametrize("whose", ["ours", "a library's"])
def test_one_kind_of_record_does_not_fill_the_disk(
    capsys: pytest.CaptureFixture[str], seconds: Seconds, whose: str
) -> None:
    """Limit 54: ten a second of each kind; how many more there were stands in one record of the next second."""
    logs.configure("info", "json")
    log = structlog.get_logger("x")
    for number in range(1_000):
        if whose == "ours":
            log.info("login failed", peer=f"192.0.2.{number}")
        else:
            logging.getLogger("library").warning("number %d", number)
    log.info("another kind")
    found = records(capsys)
    assert len(found) == 11
    assert found[-1]["event"] == "another kind"
    seconds.now += 1
    log.info("another kind")
    summary, last = records(capsys)
    of = "login failed" if whose == "ours" else "library"
    assert (summary["event"], summary["of"], summary["number"]) == ("records left out", of, 990)
    assert summary["level"] == "warning"
    assert last["event"] == "another kind"
    log.info("login failed")
    assert [record["event"] for record in records(capsys)] == ["login failed"], "told once"


def test_debugging_is_not_limited(capsys: pytest.CaptureFixture[str], seconds: Seconds) -> None:
    logs.configure("debug", "json")
    for _ in range(100):
        structlog.get_logger("x").debug("received")
    assert len(records(capsys)) == 100


def test_kinds_without_end_are_one(seconds: Seconds) -> None:
    rate = log_rate.LogRate()
    admitted = [rate.admits(f"kind {number}") for number in range(log_rate.MAX_KINDS * 3)]
    assert admitted.count(True) == log_rate.MAX_KINDS + log_rate.PER_SECOND
    assert len(rate._counts) <= log_rate.MAX_KINDS + 1
    seconds.now += 1
    assert list(rate.left_out()) == [("…", 2 * log_rate.MAX_KINDS - log_rate.PER_SECOND)]


def test_a_summary_forges_nothing(capsys: pytest.CaptureFixture[str], seconds: Seconds) -> None:
    logs.configure("info", "console")
    for _ in range(20):
        logging.getLogger("a\nb").warning("x")
    seconds.now += 1
    logging.getLogger("c").warning("y")
    assert len(capsys.readouterr().err.splitlines()) == 12
