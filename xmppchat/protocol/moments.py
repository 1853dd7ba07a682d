"""Moments as XEP-0082 writes them: DateTime in, milliseconds since 1970 (UTC) out, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final

# §3.2: CCYY-MM-DDThh:mm:ss[.sss]TZD. ASCII digits only: \d would take others.
_DATE_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,12}))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(milliseconds: int) -> str:
    """XEP-0082 DateTime in UTC of a time in ms since 1970."""
    seconds, rest = divmod(milliseconds, 1_000)
    return f"{_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=4_096)
def _second(seconds: int) -> str:
    # In archives, many messages share a second; to write it costs as much as all the rest of a result.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_timestamp(text: str, *, up: bool = False) -> int:
    """Milliseconds since 1970 of an XEP-0082 DateTime; what is finer is cut off, or with `up` rounded up.

    Raises ValueError where it is none.
    """
    found = _DATE_TIME.fullmatch(text.strip(" \t\r\n"))
    if found is None:
        raise ValueError("a moment looks like 2026-01-31T12:00:00Z")
    fields = [int(part) for part in found.groups()[:6]]
    sign, hours, minutes = found.group(8, 9, 10)
    zone = UTC
    if sign:
        if int(hours) > 14 or int(minutes) > 59:
            raise ValueError("there is no such time zone")
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        zone = timezone(-offset if sign == "-" else offset)
    moment = datetime(*fields, tzinfo=zone)  # type: ignore[misc, arg-type]
    since = moment - _EPOCH
    whole = (since.days * 86_400 + since.seconds) * 1_000
    fraction = (found.group(7) or "").ljust(12, "0")
    thousandths, finer = divmod(int(fraction), 10**9)
    return whole + thousandths + (1 if up and finer else 0)


__all__ = ["parse_timestamp", "timestamp"]
