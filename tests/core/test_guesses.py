"""Who guesses passwords waits (limit 12): by host, by network, by account and network, and for each answer."""

from __future__ import annotations

import pytest

from xmppchat.core import guesses
from xmppchat.core.guesses import Backoff, Guesses
from xmppchat.core.limits import LimitCounters, Limits
from xmppchat.core.networks import host_of, network_of, site_of
from xmppchat.testing.clock import FakeClock

DOMAIN = "chat.example"


class Books:
    """The books, and what they count."""

    def __init__(self, **limits: object) -> None:
        self.clock = FakeClock()
        self.counters = LimitCounters()
        self.guesses = Guesses(Limits.model_validate(limits), self.counters, self.clock)

    def fail(self, peer: str, times: int = 1, name: str = "") -> None:
        """Failures; each at an account of its own, where no `name` is given."""
        for number in range(times):
            self.guesses.failed(name or f"{peer} {number}", DOMAIN, peer)

    def fired(self) -> dict[str, int]:
        """How often each limit stopped somebody, of those that did."""
        return {name.removeprefix("auth_failures_per_"): n for name, n in self.counters.counts.items() if n}


@pytest.mark.parametrize(("address", "host", "network", "site"), [
    ("192.0.2.77", "192.0.2.77/32", "192.0.2.0/24", "192.0.2.0/24"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2::/64", "2001:db8:1::/48"),
    ("", "", "", ""),
    ("memory", "memory", "memory", "memory"),
])
def test_what_an_address_is_counted_with(address: str, host: str, network: str, site: str) -> None:
    assert (host_of(address), network_of(address), site_of(address)) == (host, network, site)


@pytest.mark.parametrize(("same", "other"), [
    (["192.0.2.1"], "192.0.2.2"),
    (["2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:1:ffff:ffff:ffff:ffff"], "2001:db8:1:2::1"),
])
def test_a_host_waits_whatever_address_it_gives_itself(same: list[str], other: str) -> None:
    """Ten failures; with IPv6 each from another address of the /64 that its host has."""
    books = Books()
    for number in range(10):
        assert books.guesses.may_try(same[-1])
        books.fail(same[number % len(same)], name=f"user{number}")
    assert not any(books.guesses.may_try(peer) for peer in same)
    assert books.guesses.may_try(other)
    assert books.fired() == {"address": 1 + len(same)}
    books.clock.advance(301)
    assert books.guesses.may_try(same[0])


@pytest.mark.parametrize(("peers", "other"), [
    ([f"192.0.2.{n}" for n in range(50)], "192.0.3.1"),
    ([f"2001:db8:1:{n:x}::1" for n in range(50)], "2001:db8:2::1"),
])
def test_a_network_waits_whose_hosts_take_turns(peers: list[str], other: str) -> None:
    """Fifty hosts with one failure each: none has failed too often, their network has."""
    books = Books()
    for peer in peers:
        assert books.guesses.may_try(peer)
        books.fail(peer)
    assert not books.guesses.may_try(peers[0])
    assert not books.guesses.may_guess("romeo", DOMAIN, peers[7])
    assert books.guesses.may_try(other)
    assert books.fired() == {"network": 3}
    books.clock.advance(301)
    assert books.guesses.may_try(peers[0])


@pytest.mark.parametrize(("peers", "near", "far"), [
    (["192.0.2.1", "192.0.2.2"], "192.0.2.3", "192.0.3.1"),
    (["2001:db8:1:1::1", "2001:db8:1:1::2"], "2001:db8:1:1::3", "2001:db8:1:2::1"),
])
def test_an_account_is_never_locked(peers: list[str], near: str, far: str) -> None:
    """Five failures at one account: the guesser's network waits for it, and for no other; nobody else does."""
    books = Books()
    for number in range(5):
        assert books.guesses.may_guess("romeo", DOMAIN, near)
        books.fail(peers[number % 2], name="ROMEO")
    assert not books.guesses.may_guess("Romeo", DOMAIN, near)
    assert books.guesses.may_guess("juliet", DOMAIN, near)
    assert books.guesses.may_guess("romeo", "other.example", near)
    assert books.guesses.may_guess("romeo", DOMAIN, far)
    assert books.fired() == {"account": 2}


@pytest.mark.parametrize(("peers", "exempt"), [
    ([f"127.0.0.{n}" for n in range(1, 60)], {}),
    ([f"192.0.2.{n}" for n in range(1, 60)], {"exempt_networks": ["192.0.2.0/24"]}),
    ([f"2001:db8:1:{n:x}::1" for n in range(60)], {"exempt_networks": ["2001:db8::/32"]}),
])
def test_networks_can_be_exempt(peers: list[str], exempt: dict[str, object]) -> None:
    """As a whole: each of their hosts waits by itself."""
    books = Books(**exempt)
    for peer in peers:
        books.fail(peer)
    assert all(books.guesses.may_try(peer) for peer in peers)
    books.fail(peers[0], times=10)
    assert not books.guesses.may_try(peers[0])


def test_what_is_no_network() -> None:
    with pytest.raises(ValueError, match=r"a network looks like 192\.0\.2\.0/24"):
        Limits(exempt_networks=("office",))


def test_each_can_be_off() -> None:
    books = Books(auth_failures_per_address=0, auth_failures_per_network=0, auth_failures_per_account=0)
    books.fail("192.0.2.1", times=200, name="romeo")
    assert books.guesses.may_guess("romeo", DOMAIN, "192.0.2.1")
    assert books.fired() == {}


def test_the_answer_comes_later_with_each_failure() -> None:
    books = Books()
    delays = []
    for number in range(6):
        books.fail("2001:db8:1:1::1" if number % 2 else "2001:db8:1:1::2")
        delays.append(books.guesses.delay("2001:db8:1:1::3"))
    assert delays == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert books.guesses.delay("2001:db8:1:2::1") == 0.5, "who has not failed before waits least"
    books.fail("2001:db8:1:1::1", times=4)
    assert books.guesses.delay("2001:db8:1:1::3") == 2.0, "also while it waits for the end of a penalty"
    books.clock.advance(601)
    assert books.guesses.delay("2001:db8:1:1::3") == 0.5
    assert Books(auth_failure_delay=0).guesses.delay("192.0.2.1") == 0.0


def test_penalties_double_and_end() -> None:
    clock = FakeClock()
    backoff = Backoff(clock, failures=2, window=600, first=300, longest=3600)
    waits = []
    for _ in range(6):
        while backoff.may_try("x"):
            backoff.failed("x")
        start = clock.monotonic()
        while not backoff.may_try("x"):
            clock.advance(60)
        waits.append(clock.monotonic() - start)
    assert waits == [300, 600, 1200, 2400, 3600, 3600]


def test_the_books_are_bounded() -> None:
    books = Books()
    books.fail("192.0.2.1", times=10)
    for number in range(guesses._TABLE * 2):
        books.guesses._hosts.failed(f"host{number}")
    assert len(books.guesses._hosts._entries) <= guesses._TABLE
