"""Admission: who is let in, in bounded tables, with a clock of the test's own."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from xmppchat.network.admission import Admission, Place, plain_address


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def enter(admission: Admission, address: str) -> Place:
    place = admission.enter(address)
    assert place is not None
    return place


def test_strangers_per_address() -> None:
    admission = Admission(per_address=20, now=Clock())
    places = [enter(admission, "192.0.2.1") for _ in range(20)]
    assert admission.enter("192.0.2.1") is None
    assert admission.enter("192.0.2.2") is not None
    places[0].leave()
    places[0].leave()  # authenticated first, gone later
    assert admission.strangers == 20
    enter(admission, "192.0.2.1")
    assert admission.enter("192.0.2.1") is None
    assert admission.refusals == {"address": 2}


def test_strangers_per_network() -> None:
    admission = Admission(per_address=2, per_network=5, now=Clock())
    for number in range(5):
        enter(admission, f"192.0.2.{number}")
    assert admission.enter("192.0.2.99") is None
    enter(admission, "192.0.3.99")
    assert admission.refusals == {"network": 1}


def test_ipv6_is_counted_by_64_and_48() -> None:
    admission = Admission(per_address=2, per_network=3, now=Clock())
    enter(admission, "2001:db8:1:1::1")
    enter(admission, "2001:db8:1:1:ffff::2")
    assert admission.enter("2001:db8:1:1::3") is None
    enter(admission, "2001:db8:1:2::1")
    assert admission.enter("2001:db8:1:3::1") is None
    enter(admission, "2001:db8:2::1")
    assert admission.refusals == {"address": 1, "network": 1}


def test_strangers_in_total() -> None:
    admission = Admission(total=2, now=Clock())
    first = enter(admission, "192.0.2.1")
    enter(admission, "198.51.100.1")
    assert admission.enter("203.0.113.1") is None
    first.leave()
    enter(admission, "203.0.113.1")
    assert admission.refusals == {"total": 1}


def test_new_connections_have_a_rate_and_a_burst() -> None:
    clock = Clock()
    admission = Admission(rate=10, burst=40, now=clock)
    for _ in range(40):
        enter(admission, "192.0.2.1").leave()
    assert admission.enter("192.0.2.1") is None
    enter(admission, "192.0.2.2").leave()
    clock.time += 0.1001
    enter(admission, "192.0.2.1").leave()
    assert admission.enter("192.0.2.1") is None
    clock.time += 100
    for _ in range(40):
        enter(admission, "192.0.2.1").leave()
    assert admission.enter("192.0.2.1") is None
    assert admission.refusals == {"rate": 3}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "10.1.2.3"])
def test_exempt_networks_are_not_counted(address: str) -> None:
    admission = Admission(
        per_address=1, total=1, rate=1, burst=1, exempt=["127.0.0.0/8", "::1/128", "10.0.0.0/8"], now=Clock()
    )
    for _ in range(100):
        enter(admission, address)
    assert admission.strangers == 0
    assert not admission.refusals


def test_loopback_is_exempt_unless_said_otherwise() -> None:
    assert all(Admission(burst=1, now=Clock()).enter("127.0.0.1") for _ in range(3))
    strict = Admission(burst=1, exempt=(), now=Clock())
    enter(strict, "127.0.0.1")
    assert strict.enter("127.0.0.1") is None


def test_tables_are_bounded_and_empty_again() -> None:
    clock = Clock()
    admission = Admission(table=1000, now=clock)
    first = int(IPv4Address("198.51.0.0"))
    for number in range(20_000):
        enter(admission, str(IPv4Address(first + number))).leave()
        clock.time += 0.00001
    assert len(admission._full_at) <= 1000
    assert admission._strangers == {}
    clock.time += 10
    for number in range(1001):
        enter(admission, str(IPv4Address(first + number))).leave()
    assert len(admission._full_at) <= 1000


def test_who_hammers_is_not_forgotten_for_those_who_come_and_go() -> None:
    clock = Clock()
    admission = Admission(table=100, burst=40, now=clock)
    for _ in range(40):
        enter(admission, "192.0.2.1").leave()
    for number in range(1000):
        admission.enter(f"203.0.{113 + number // 256}.{number % 256}")
        assert admission.enter("192.0.2.1") is None


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("192.0.2.1", 5222), "192.0.2.1"),
        (("::ffff:192.0.2.1", 5222), "192.0.2.1"),
        (("fe80::1%eth0", 5222), "fe80::1"),
        (None, ""),
    ],
)
def test_plain_address(name: tuple[str, int] | None, address: str) -> None:
    assert plain_address(name) == address


def test_members_of_an_address_are_bounded_apart_from_strangers() -> None:
    refused: list[str] = []
    admission = Admission(per_address=2, members=3, exempt=(), refused=refused.append, now=Clock())
    places = []
    for _ in range(3):
        place = admission.enter("192.0.2.1")
        assert place is not None
        assert place.authenticated()
        assert place.authenticated(), "said twice is said once"
        places.append(place)
    assert admission.strangers == 0
    one_more = admission.enter("192.0.2.1")
    assert one_more is not None
    assert not one_more.authenticated()
    assert admission.strangers == 1, "who may not join stays a stranger"
    assert refused == ["authenticated_per_address"]
    elsewhere = admission.enter("192.0.2.2")
    assert elsewhere is not None
    assert elsewhere.authenticated()
    places[0].leave()
    places[0].leave()
    assert one_more.authenticated()
    for place in (*places, one_more, elsewhere):
        place.leave()
    assert admission._members == {}
    assert admission.strangers == 0


def test_refusals_are_told_by_the_name_of_the_limit() -> None:
    refused: list[str] = []
    admission = Admission(per_address=1, burst=2, exempt=(), refused=refused.append, now=Clock())
    assert [admission.enter("192.0.2.1") is not None for _ in range(3)] == [True, False, False]
    assert refused == ["connections_per_address", "connection_rate"]


def test_limits_change_for_those_who_come() -> None:
    admission = Admission(exempt=("0.0.0.0/0", "::/0"), now=Clock())
    for _ in range(50):
        enter(admission, "192.0.2.1")
    admission.set_limits(per_address=1, rate=1000, burst=1000)
    place = enter(admission, "192.0.2.1")
    assert admission.enter("192.0.2.1") is None
    place.leave()
    assert admission.enter("192.0.2.1") is not None
    admission.set_limits(exempt=("0.0.0.0/0",))
    assert all(admission.enter("192.0.2.1") is not None for _ in range(50))


def test_who_is_refused_for_others_is_counted_by_the_name_of_the_limit() -> None:
    refused: list[str] = []
    admission = Admission(per_network=1, total=2, now=Clock(), refused=refused.append)
    enter(admission, "2001:db8:1:1::1")
    assert admission.enter("2001:db8:1:2::1") is None
    enter(admission, "2001:db8:2::1")
    assert admission.enter("2001:db8:3::1") is None
    assert refused == ["connections_per_network", "connections_in_all"]


def test_listed_networks_are_exempt() -> None:
    admission = Admission(per_address=1, per_network=1, total=1, exempt=["192.0.2.0/24", "2001:db8::/32"], now=Clock())
    for address in ("192.0.2.7", "2001:db8:ffff::1"):
        assert all(admission.enter(address) is not None for _ in range(50))
    assert admission.enter("127.0.0.1") is not None
    assert admission.enter("127.0.0.1") is None, "the loopback is one of them only by default"
