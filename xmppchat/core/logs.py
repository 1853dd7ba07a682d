"""Logs: structured records to standard error, for people or as JSON; other libraries' records join them.

A record is bounded and cannot forge another: control characters are escaped, and so are line separators.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from xmppchat.core.log_rate import Limiter, LogRate

MAX_BYTES = 8_192
"""The size of a record (docs/reliability.md, limit 54)."""

_MAX_VALUE = 2_000
_SHORT = structlog.processors.JSONRenderer(ensure_ascii=False)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str = "info", format: str = "console") -> None:
    """Log records of `level` and above, in `format` "console" or "json". May be called again."""
    minimum = _LEVELS[level]
    common: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.add_log_level,
        _one_exception_text,
        escape,
    ]
    renderer = _renderer(format)
    limiter = Limiter(LogRate(), lambda kind, number: _summarise([*common, renderer, _clip], kind, number))
    # Not cached: a module's logger would keep the settings of its first use beyond a reload or test.
    structlog.configure(
        processors=[limiter, *common, renderer, _clip],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=_StderrFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _StderrHandler()
    handler.addFilter(limiter)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer, _clip],
            keep_exc_info=False,
            pass_foreign_args=False,
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _StderrHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    # Libraries are heard when something is wrong; their debugging is not ours.
    root.setLevel(max(minimum, logging.WARNING))
    logging.captureWarnings(True)


def _summarise(processors: list[Any], kind: str, number: int) -> None:
    """One record about those of a kind that were left out (limit 54)."""
    record: Any = {"event": "records left out", "of": kind, "number": number}
    for processor in processors:
        record = processor(None, "warning", record)
    _Stderr().write(f"{record}\n")


def escape(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters in all texts and bound their length; anything else is shown by its repr."""
    for key, value in event.items():
        if value is None or isinstance(value, bool | int | float):
            continue
        text = value if isinstance(value, str) else repr(value)
        limit = MAX_BYTES if key == "exception" else _MAX_VALUE
        if len(text) > limit:
            text = f"{text[:limit]}… ({len(text)} characters)"
        event[key] = _UNSAFE.sub(_escaped, text) if key != "exception" else _indented(text)
    return event


def escaped(text: str) -> str:
    """`text` without control characters, line separators and what turns the direction of writing."""
    return _UNSAFE.sub(_escaped, text)


def _indented(traceback: str) -> str:
    """A traceback keeps its lines, each indented, so that none looks like a record of its own."""
    return "\n".join("    " + _UNSAFE.sub(_escaped, line) for line in traceback.split("\n"))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _one_exception_text(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Tracebacks as text, without local variables: those could hold passwords or messages."""
    return structlog.processors.format_exc_info(logger, method, dict(event))


def _renderer(format: str) -> Any:
    if format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=30
    )


def _clip(logger: Any, method: str, record: Any) -> str:
    assert isinstance(record, str)
    if len(record) * 4 <= MAX_BYTES:
        return record
    data = record.encode("utf-8", "backslashreplace")
    if len(data) <= MAX_BYTES:
        return record
    if record.startswith("{"):
        # Half an object is no JSON, so a record too long becomes a text in a short one.
        head = data[: MAX_BYTES // 3].decode("utf-8", "ignore")
        return str(_SHORT(logger, method, {"event": "record too long", "start": head}))
    return data[: MAX_BYTES - 8].decode("utf-8", "ignore") + " …"


class _StderrFactory:
    """Loggers that write to what `sys.stderr` is at that moment."""

    def __call__(self, *arguments: Any) -> Any:
        return structlog.WriteLogger(_Stderr())  # type: ignore[arg-type]


class _Stderr:
    """`sys.stderr`, whatever it is now. A log that cannot be written stops nobody."""

    def write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
        except (OSError, ValueError):
            pass

    def flush(self) -> None:
        try:
            sys.stderr.flush()
        except (OSError, ValueError):
            pass


class _StderrHandler(logging.StreamHandler[Any]):
    """The handler of other libraries' records."""

    def __init__(self) -> None:
        super().__init__(_Stderr())
