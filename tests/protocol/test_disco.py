"""disco#info as data, and verification strings: the examples of XEP-0115, and what is ill-formed."""

from __future__ import annotations

import pytest

from xmppchat.protocol.disco import DiscoForm, DiscoInfo, IllFormed
from xmppchat.protocol.element import Element
from xmppchat.protocol.forms import Field, Form, form_type
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.runner import read_stanzas

FEATURES = """
    <feature var='http://jabber.org/protocol/muc'/>
    <feature var='http://jabber.org/protocol/disco#items'/>
    <feature var='http://jabber.org/protocol/caps'/>
    <feature var='http://jabber.org/protocol/disco#info'/>
"""
SOFTWARE = """
    <x xmlns='jabber:x:data' type='result'>
      <field var='os_version'><value>10.5.1</value></field>
      <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
      <field var='ip_version' type='text-multi'><value>ipv6</value><value>ipv4</value></field>
      <field var='os'><value>Mac</value></field>
      <field var='software_version'><value>0.11</value></field>
      <field var='software'><value>Psi</value></field>
    </x>
"""
PSI = """
    <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
    <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>
"""


def query(xml: str) -> Element:
    return read_stanzas(f"<query xmlns='{NS.DISCO_INFO}'>{xml}</query>")[0]


def test_simple_example() -> None:
    """XEP-0115 §5.2."""
    info = DiscoInfo.from_element(query(f"<identity category='client' name='Exodus 0.9.1' type='pc'/>{FEATURES}"))
    assert info.verification_string("sha-1") == "QgayPKawpkPSDYmwT/WM94uAlu0="
    assert info.is_unambiguous


def test_complex_example() -> None:
    """XEP-0115 §5.3."""
    info = DiscoInfo.from_element(query(PSI + FEATURES + SOFTWARE))
    assert info.verification_string("sha-1") == "q07IKJEyjvHSyhy//CH0CxmKi8w="
    assert info.is_unambiguous


def test_order_does_not_count() -> None:
    there = DiscoInfo.from_element(query(SOFTWARE + FEATURES + PSI))
    assert there.verification_string("sha-1") == "q07IKJEyjvHSyhy//CH0CxmKi8w="


def test_identities_are_sorted_by_category_then_type() -> None:
    """Not by the texts they make: "-" comes before "/"."""
    info = DiscoInfo.from_element(query("<identity category='a-b' type='x'/><identity category='a' type='x'/>"))
    assert info._parts() == ["a/x//", "a-b/x//"]


@pytest.mark.parametrize("twice", [
    "<identity category='client' type='pc' name='a'/><identity category='client' type='pc' name='a'/>",
    "<feature var='a'/><feature var='b'/><feature var='a'/>",
    SOFTWARE + SOFTWARE,
    "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>a</value><value>b</value></field></x>",
    "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>a</value></field>"
    "<field var='FORM_TYPE' type='hidden'><value>a</value></field></x>",
])
def test_ill_formed(twice: str) -> None:
    """XEP-0115 §5.4, items 3.3 to 3.5."""
    with pytest.raises(IllFormed):
        DiscoInfo.from_element(query(twice))


def test_identities_in_several_languages_and_names_are_several() -> None:
    assert len(DiscoInfo.from_element(query(PSI)).identities) == 2


@pytest.mark.parametrize("form", [
    "<x xmlns='jabber:x:data'><field var='FORM_TYPE'><value>a:b</value></field></x>",
    "<x xmlns='jabber:x:data'><field var='os'><value>x</value></field></x>",
    "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'/></x>",
])
def test_forms_without_a_hidden_type_are_ignored(form: str) -> None:
    """XEP-0115 §5.4, item 3.6."""
    info = DiscoInfo.from_element(query(PSI + FEATURES + SOFTWARE + form))
    assert info.verification_string("sha-1") == "q07IKJEyjvHSyhy//CH0CxmKi8w="


def test_a_repeated_value_of_the_type_is_one() -> None:
    field = "<field var='FORM_TYPE' type='hidden'><value>a:b</value><value>a:b</value></field>"
    assert DiscoInfo.from_element(query(f"<x xmlns='jabber:x:data'>{field}</x>")).forms == [DiscoForm("a:b", [])]


def test_only_disco_info() -> None:
    with pytest.raises(IllFormed):
        DiscoInfo.from_element(Element("query", NS.DISCO_ITEMS))


def test_a_form_reads_back() -> None:
    form = Form("result", (form_type("urn:example:x"), Field("a", "list-multi", ("1", "2")), Field("b", values=("3",))))
    info = DiscoInfo.from_element(Element("query", NS.DISCO_INFO, None, [form.to_element()]))
    assert info.forms == [DiscoForm("urn:example:x", [("a", ["1", "2"]), ("b", ["3"])])]
