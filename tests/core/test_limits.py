"""Limits, their profiles, and the token bucket."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xmppchat.core import limits
from xmppchat.core.limits import COUNTED, PROFILES, LimitCounters, Limits
from xmppchat.core.rates import TokenBucket
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


def test_what_is_counted_has_a_name_that_is_shown() -> None:
    """What fires somewhere is in `xmppchat_limits_total`; that all of it does fire, `test_counted_limits.py` tells."""
    package = Path(limits.__file__).parents[1]
    fired: set[str] = set()
    for path in package.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("fired"):
                fired |= {c.value for c in ast.walk(call) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
    assert len(fired) > 20
    of_streams = {name for pair in limits._OF_STREAMS.values() for name in pair}
    assert fired | of_streams <= set(COUNTED)


def test_a_name_that_is_no_limit_is_told() -> None:
    with pytest.raises(KeyError):
        LimitCounters().fired("roster_itms")


@pytest.mark.parametrize("bound", [field.name for field in dataclasses.fields(xmlreader.ReaderLimits)])
def test_every_bound_of_the_reader_is_counted(bound: str) -> None:
    for is_bound in (False, True):
        counters = LimitCounters()
        counters.ended(StreamPolicyViolation("too much", limit=bound), is_bound=is_bound)
        assert sum(counters.counts.values()) == 1


def test_what_is_sent_on_has_a_bucket_that_is_paid_before_more_is_read() -> None:
    """V-44: the fan-out is told by the next stanza, whatever it is."""
    rates = Limits().account_rates(0.0)
    assert rates is not None
    rates.fan_out(0.0, 10_000)
    assert rates.take(0.0, 1, ["message"]) == 0.0
    rates.fan_out(0.0, 400)
    assert rates.take(1.0, 1, ["message"]) == pytest.approx(1.0)
    assert rates.exceeded == "account_fan_out_rate"
    assert rates.take(2.5, 1, ["message"]) == 0.0
    alone = Limits(profile="test", account_fan_out_rate=1, account_fan_out_burst=1).account_rates(0.0)
    assert alone is not None
    alone.fan_out(0.0, 3)
    assert alone.take(0.0, 10**9, ["presence"]) == 2.0


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
