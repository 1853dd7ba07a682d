"""The counters of XEP-0198: prefixes, queues, numbers modulo 2^32."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppchat.protocol import stream_management as sm
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ItemNotFound
from xmppchat.protocol.namespaces import NS


@given(st.integers(0, 40).flatmap(lambda count: st.permutations(range(1, count + 1))), st.integers(0, 40))
def test_a_prefix_is_the_longest_run_of_what_was_added(order: list[int], length: int) -> None:
    prefix = sm.Prefix()
    added = order[:length]
    for number in added:
        prefix.add(number)
        prefix.add(number)
    longest = 0
    while longest + 1 in added:
        longest += 1
    assert prefix.value == longest


def test_a_prefix_goes_on_from_where_it_was() -> None:
    prefix = sm.Prefix(7)
    prefix.add(9)
    prefix.add(3)
    assert prefix.value == 7
    prefix.add(8)
    assert prefix.value == 9


@given(
    st.sampled_from([0, 1, sm.MODULUS - 5, sm.MODULUS - 1, 3 * sm.MODULUS - 2]),
    st.lists(st.one_of(st.integers(1, 30), st.tuples(st.just("ack"), st.floats(0, 1))), max_size=30),
)
def test_what_is_acknowledged_is_forgotten_in_order_over_any_wrap(start: int, steps: list[object]) -> None:
    unacknowledged: sm.Unacknowledged[int] = sm.Unacknowledged(start)
    model: list[int] = []
    sent = start
    for step in steps:
        if isinstance(step, int):
            for _ in range(step):
                sent += 1
                unacknowledged.add(sent, 10)
                model.append(sent)
        elif isinstance(step, tuple):
            number = int(step[1] * len(model))
            unacknowledged.acknowledge((sent - len(model) + number) % sm.MODULUS)
            model = model[number:]
        assert list(unacknowledged) == model
        assert (len(unacknowledged), unacknowledged.bytes) == (len(model), 10 * len(model))
        assert (unacknowledged.sent, unacknowledged.acknowledged) == (sent, sent - len(model))


def test_an_old_count_says_nothing_new() -> None:
    unacknowledged: sm.Unacknowledged[str] = sm.Unacknowledged(sm.MODULUS - 2)
    for name in "abcd":
        unacknowledged.add(name, 1)
    unacknowledged.acknowledge(1)
    assert list(unacknowledged) == ["d"]
    unacknowledged.acknowledge(sm.MODULUS - 1)
    assert unacknowledged.is_behind(0)
    assert list(unacknowledged) == ["d"]


def test_more_than_was_sent_is_a_stream_error_with_both_numbers() -> None:
    unacknowledged: sm.Unacknowledged[str] = sm.Unacknowledged()
    unacknowledged.add("a", 1)
    with pytest.raises(sm.HandledCountTooHigh) as raised:
        unacknowledged.acknowledge(3)
    detail = raised.value.details[0]
    assert (detail.name, detail.get("h"), detail.get("send-count")) == ("handled-count-too-high", "3", "1")
    assert raised.value.condition == "undefined-condition"
    assert list(unacknowledged) == ["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("17", 17), ("4294967295", 4294967295), ("4294967296", None), ("-1", None), ("", None), ("1.0", None),
     ("99999999999999999999", None), ("٣", None), (" 1", None)],
)  # fmt: skip
def test_a_count_is_an_unsigned_32_bit_number(text: str, value: int | None) -> None:
    assert sm.read_count(Element("a", NS.STREAM_MANAGEMENT, {"h": text})) == value


def test_what_is_said_counts_modulo_2_to_the_32() -> None:
    assert sm.answer(sm.MODULUS + 2).get("h") == "2"
    assert sm.resumed("x", sm.MODULUS).get("h") == "0"
    assert sm.failed(ItemNotFound(), sm.MODULUS + 1).get("h") == "1"
    assert "h" not in sm.failed(ItemNotFound()).attributes
    assert sm.enabled("", 600).attributes == {}
