"""Moments (XEP-0082)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppchat.protocol.moments import parse_timestamp, timestamp


@given(st.integers(0, 4_000_000_000_000))
def test_there_and_back(moment: int) -> None:
    assert parse_timestamp(timestamp(moment)) == moment
    assert parse_timestamp(timestamp(moment), up=True) == moment


@pytest.mark.parametrize(("text", "wanted"), [
    ("1970-01-01T00:00:00Z", 0), ("1970-01-01T00:00:00.5Z", 500), ("1970-01-01T02:00:00+02:00", 0),
    ("1969-12-31T18:30:00-05:30", 0), ("1969-12-31T23:59:59.999Z", -1), ("1970-01-01T00:00:01.0000Z", 1_000),
    (" 1970-01-01T00:00:00Z\n", 0),
])  # fmt: skip
def test_moments(text: str, wanted: int) -> None:
    assert parse_timestamp(text) == wanted


def test_what_is_finer_is_rounded_as_is_wanted() -> None:
    assert parse_timestamp("1970-01-01T00:00:00.0011Z") == 1
    assert parse_timestamp("1970-01-01T00:00:00.0011Z", up=True) == 2


@pytest.mark.parametrize("text", [
    "", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "1970-02-30T00:00:00Z", "1970-01-01T24:00:00Z",
    "1970-01-01T00:00:00z", "1970-01-01T00:00:00+15:00", "1970-01-01T00:00:00+00:60", "١970-01-01T00:00:00Z",
    "19700101T00:00:00", "1970-01-01T00:00:00.Z", "0000-01-01T00:00:00Z", "1970-01-01T00:00:00Z; DROP",
])  # fmt: skip
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        parse_timestamp(text)
