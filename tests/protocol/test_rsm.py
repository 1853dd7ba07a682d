"""Result set management (XEP-0059): what a request says, and what cannot be said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import BadRequest, FeatureNotImplemented
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.rsm import PageRequest, page_element


def query(*children: tuple[str, str]) -> Element:
    inner = [text_element(name, NS.RSM, text) for name, text in children]
    return Element("query", "urn:x", None, (Element("set", NS.RSM, None, inner),))


@pytest.mark.parametrize(("children", "wanted"), [
    ((), PageRequest()),
    ((("max", "10"),), PageRequest(10)),
    ((("max", " 0\n"),), PageRequest(0)),
    ((("after", "x"), ("max", "2")), PageRequest(2, after="x")),
    ((("before", ""),), PageRequest(None, before="")),
    ((("before", "y"), ("unknown", "z")), PageRequest(None, before="y")),
])  # fmt: skip
def test_requests(children: tuple[tuple[str, str], ...], wanted: PageRequest) -> None:
    found = PageRequest.find(query(*children))
    assert found == wanted
    assert found.is_backwards == (wanted.before is not None)


def test_without_a_set_everything_is_asked_for() -> None:
    assert PageRequest.find(Element("query", "urn:x")) == PageRequest()


@pytest.mark.parametrize("children", [
    (("max", "-1"),), (("max", ""),), (("max", "1.5"),), (("max", "١"),), (("max", "9" * 30),),
    (("max", "1"), ("max", "2")), (("after", "a"), ("before", "b")), (("after", "a"), ("before", "")),
    (("after", "a"), ("after", "b")),
])  # fmt: skip
def test_what_means_nothing_is_malformed(children: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(BadRequest):
        PageRequest.find(query(*children))


def test_pages_by_number_are_not_implemented() -> None:
    with pytest.raises(FeatureNotImplemented):
        PageRequest.find(query(("max", "10"), ("index", "371")))


@given(st.none() | st.integers(0, 10**9 - 1), st.integers(1, 50), st.integers(50, 250))
def test_sizes_are_clamped(maximum: int | None, default: int, most: int) -> None:
    size = PageRequest(maximum).size(default=default, most=most)
    assert size == (default if maximum is None else min(maximum, most))


def test_answers() -> None:
    assert page_element().to_xml() == f"<set xmlns='{NS.RSM}'/>"
    assert page_element(count=0).to_xml() == f"<set xmlns='{NS.RSM}'><count>0</count></set>"
    whole = page_element("a", "b", count=2, index=0).to_xml()
    assert whole == f"<set xmlns='{NS.RSM}'><first index='0'>a</first><last>b</last><count>2</count></set>"
    assert page_element("a", "b").to_xml() == f"<set xmlns='{NS.RSM}'><first>a</first><last>b</last></set>"
