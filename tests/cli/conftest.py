"""The command line, run in this process as `xmppchat` does, in an empty directory."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from xmppchat.cli import app


@dataclass(frozen=True)
class Result:
    """What a run gave."""

    status: int
    out: str
    err: str


class Cli:
    """Runs command lines: ``cli("user", "list")``."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        status = app.run(arguments)
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return Result(status, captured.out, captured.err)

    def done(self, *arguments: str, stdin: str = "") -> str:
        """What a command prints that has to work."""
        result = self(*arguments, stdin=stdin)
        assert result.status == 0, result
        return result.out


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Cli]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(app.CONFIG_VARIABLE, raising=False)
    yield Cli(capsys, monkeypatch)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
