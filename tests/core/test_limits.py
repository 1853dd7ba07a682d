"""Limits, their profiles, and the token bucket."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xmppchat.core import limits
from xmppchat.core.limits import COUNTED, PROFILES, LimitCounters, Limits, TokenBucket
from xmppchat.protocol import xmlreader
from xmppchat.protocol.errors import StreamPolicyViolation


def test_the_defaults_are_those_of_the_reader() -> None:
    assert Limits().reader_trusted() == xmlreader.TRUSTED
    assert Limits().reader_untrusted() == xmlreader.UNTRUSTED


def test_every_limit_limits_something() -> None:
    package = Path(limits.__file__).parents[1]
    sources = [path for path in package.rglob("*.py") if "cli" not in path.relative_to(package).parts]
    used = set(re.findall(r"(?:limits|self)\.(\w+)", "\n".join(path.read_text() for path in sources)))
    assert set(Limits.model_fields) - {"profile"} <= used


def test_a_profile_sets_defaults_and_an_override_wins() -> None:
    found = Limits(profile="test", roster_items=3, session_stanza_rate=5)
    assert (found.roster_items, found.session_stanza_rate, found.session_byte_rate) == (3, 5, 0)


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_are_within_the_bounds(profile: str) -> None:
    assert Limits.model_validate({"profile": profile}).profile == profile


@pytest.mark.parametrize(
    "values",
    [{"stanza_bytes": 9_999}, {"roster_items": -1}, {"roster_itms": 1}, {"profile": "fast"}, {"profile": ["a"]}],
)
def test_nonsense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Limits.model_validate(values)


def test_no_buckets_where_rates_are_off() -> None:
    for profile in ("test", "benchmark"):
        limits = Limits(profile=profile)
        assert limits.session_rates(0.0) is None
        assert limits.account_rates(0.0) is None


def test_one_rate_can_be_off() -> None:
    rates = Limits(session_byte_rate=0).session_rates(0.0)
    assert rates is not None
    assert rates.take(0.0, 900_000_000, ["iq"]) == 0.0
    assert rates.take(0.0, 1, ["iq"] * 200) > 0.0


@pytest.mark.parametrize(("kind", "burst", "rate"), [("message", 100, 10), ("presence", 100, 5), ("iq", 300, 15)])
def test_an_account_has_a_bucket_for_each_kind(kind: str, burst: int, rate: int) -> None:
    rates = Limits().account_rates(0.0)
    assert rates is not None
    assert rates.take(0.0, 1, [kind] * burst) == 0.0
    assert rates.take(0.0, 1, [kind]) == pytest.approx(1 / rate)
    others = {"message", "presence", "iq"} - {kind}
    assert rates.take(0.0, 1, list(others)) == 0.0


def test_the_longest_stanza_passes_a_full_bucket() -> None:
    found = Limits()
    for rates in (found.session_rates(5.0), found.account_rates(5.0)):
        assert rates is not None
        assert rates.take(5.0, found.stanza_bytes, ["message"]) == 0.0


def test_a_bucket_lends_and_tells_the_wait() -> None:
    bucket = TokenBucket(10, 20, now=100.0)
    assert bucket.take(100.0, 20) == 0.0
    assert bucket.take(100.0, 5) == 0.5
    assert bucket.take(100.5, 0) == 0.0
    assert bucket.take(100.6, 1) == 0.0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(10, 10, now=100.0)
    bucket.take(100.0, 10)
    assert bucket.take(50.0, 1) == 0.1
    assert bucket.take(100.0, 0) == 0.1


def test_a_bucket_without_rate_is_a_mistake() -> None:
    with pytest.raises(ValueError):
        TokenBucket(0, 10)


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 50)), max_size=30))
def test_who_waits_as_told_never_gets_more_than_burst_and_rate(steps: list[tuple[float, float]]) -> None:
    bucket, now, total = TokenBucket(7, 50, 0.0), 0.0, 0.0
    for pause, amount in steps:
        now += pause
        wait = bucket.take(now, amount)
        total += amount
        now += wait
        assert total <= 50 + 7 * now + 1e-6


def test_every_limit_is_counted_by_its_name() -> None:
    """What `xmppchat_limits_total` shows is what somewhere fires, and what fires is shown."""
    package = Path(limits.__file__).parents[1]
    elsewhere = [path for path in package.rglob("*.py") if path != Path(limits.__file__)]
    source = "\n".join(path.read_text() for path in elsewhere)
    of_streams = {name for pair in limits._OF_STREAMS.values() for name in pair}
    rates = (Limits().session_rates(0.0), Limits().account_rates(0.0))
    of_rates = {name for found in rates if found is not None for name in found._buckets}
    assert set(COUNTED) <= of_streams | of_rates | set(re.findall(r'"([a-z_]+)"', source))
    fired = set(re.findall(r'fired\("([a-z_]+)"', source))
    assert len(fired) > 15
    assert fired | of_streams | of_rates <= set(COUNTED)


@pytest.mark.parametrize("bound", [field.name for field in dataclasses.fields(xmlreader.ReaderLimits)])
def test_every_bound_of_the_reader_is_counted(bound: str) -> None:
    for is_bound in (False, True):
        counters = LimitCounters()
        counters.ended(StreamPolicyViolation("too much", limit=bound), is_bound=is_bound)
        assert sum(counters.counts.values()) == 1


def test_the_exceeded_rate_is_told() -> None:
    rates = Limits().account_rates(0.0)
    assert rates is not None
    rates.take(0.0, 1, ["message"] * 101)
    assert rates.exceeded == "account_message_rate"
    rates.take(0.0, 100_000_000, ["presence"] * 101)
    assert rates.exceeded == "account_byte_rate"


def test_counters() -> None:
    counters = LimitCounters()
    counters.fired("roster_items")
    counters.fired("roster_items")
    assert counters.counts["roster_items"] == 2
