"""Data forms: read, written, and held against what was asked for."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppchat.protocol.element import Element
from xmppchat.protocol.forms import (
    MAX_FIELDS,
    MAX_VALUES,
    Field,
    Form,
    FormError,
    Option,
    boolean,
    form_type,
    is_true,
    table,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.runner import read_stanzas

ASKED = Form(
    "form",
    title="Bot Configuration",
    instructions=("Fill this in.", "Then send it."),
    fields=(
        form_type("jabber:bot"),
        Field("", "fixed", ("Section 1",)),
        Field("name", label="Name of the bot", desc="what it is called", is_required=True),
        Field("password", "text-private"),
        Field("public", "boolean", boolean(False)),
        Field("description", "text-multi"),
        Field("colour", "list-single", ("red",), options=(Option("red", "Red"), Option("blue"))),
        Field("features", "list-multi", options=(Option("news"), Option("search"))),
        Field("owner", "jid-single"),
        Field("invited", "jid-multi"),
    ),
)


def submitted(**values: tuple[str, ...]) -> Form:
    return Form("submit", tuple(Field(var, "", value) for var, value in values.items()))


def read(xml: str) -> Form:
    return Form.from_element(read_stanzas(xml)[0])


def test_the_form_of_the_specification_is_written_as_it_is_there() -> None:
    wanted = """<x xmlns='jabber:x:data' type='form'><title>Bot Configuration</title>
        <instructions>Fill this in.</instructions><instructions>Then send it.</instructions>
        <field type='hidden' var='FORM_TYPE'><value>jabber:bot</value></field>
        <field type='fixed'><value>Section 1</value></field>
        <field type='text-single' label='Name of the bot' var='name'><desc>what it is called</desc><required/></field>
        <field type='text-private' var='password'/>
        <field type='boolean' var='public'><value>0</value></field>
        <field type='text-multi' var='description'/>
        <field type='list-single' var='colour'><value>red</value>
          <option label='Red'><value>red</value></option><option><value>blue</value></option></field>
        <field type='list-multi' var='features'><option><value>news</value></option>
          <option><value>search</value></option></field>
        <field type='jid-single' var='owner'/><field type='jid-multi' var='invited'/></x>"""
    assert Form.from_element(ASKED.to_element()) == read(wanted) == ASKED


def test_a_table_has_its_header_first_and_every_cell() -> None:
    made = table({"name": "Name", "url": "URL"}, [{"name": "Comune", "url": "http://x"}, {"name": "Benvolio"}])
    wanted = """<x xmlns='jabber:x:data' type='result'>
        <reported><field var='name' type='text-single' label='Name'/><field var='url' type='text-single' label='URL'/>
        </reported>
        <item><field var='name'><value>Comune</value></field><field var='url'><value>http://x</value></field></item>
        <item><field var='name'><value>Benvolio</value></field><field var='url'><value/></field></item></x>"""
    assert [child.name for child in made.to_element().elements()] == ["reported", "item", "item"]
    again = read(wanted)
    assert again.reported == made.reported
    assert [[field.value for field in item] for item in again.items] == [["Comune", "http://x"], ["Benvolio", ""]]


def test_what_was_submitted_by_the_types_of_what_was_asked() -> None:
    values = ASKED.check(submitted(
        name=("rosaline",), password=("s",), public=("true",), description=("a", "", "b"), colour=("blue",),
        features=("news", "search"), owner=("Romeo@Chat.Example",), unknown=("ignored",),
        invited=("a@x.example", "A@x.example", "b@x.example"),
    ))  # fmt: skip
    assert values == {
        "name": ("rosaline",), "password": ("s",), "public": ("true",), "description": ("a", "", "b"),
        "colour": ("blue",), "features": ("news", "search"), "owner": ("romeo@chat.example",),
        "invited": ("a@x.example", "b@x.example"),
    }  # fmt: skip
    assert is_true(values["public"])
    assert not is_true(())


def test_left_out_is_not_emptied() -> None:
    assert ASKED.check(submitted(name=("x",))) == {"name": ("x",)}
    assert ASKED.check(submitted(name=("x",), owner=("",), colour=("",), description=())) == {
        "name": ("x",), "owner": (), "colour": (), "description": (),
    }  # fmt: skip


@pytest.mark.parametrize(("values", "text"), [
    ({}, "name is required"),
    ({"name": ("",)}, "name is required"),
    ({"name": ()}, "name is required"),
    ({"name": ("a", "b")}, "name has more than one value"),
    ({"name": ("x",), "public": ("yes",)}, "public is either 1 or 0"),
    ({"name": ("x",), "public": ("",)}, "public is either 1 or 0"),
    ({"name": ("x",), "colour": ("green",)}, "colour is not 'green' but one of red, blue"),
    ({"name": ("x",), "features": ("news", "x" * 500)}, f"features is not '{'x' * 100}…' but one of news, search"),
    ({"name": ("x",), "owner": ("a@b@c",)}, "owner has 'a@b@c', which is no address"),
    ({"name": ("x",), "owner": ("a@x.example", "b@x.example")}, "owner has more than one value"),
    ({"name": ("x",), "invited": ("a@x.example", "@")}, "invited has '@', which is no address"),
    ({"public": ("2",), "owner": ("@",)},
     "name is required; public is either 1 or 0; owner has '@', which is no address"),
])
def test_faults_are_named_all_at_once(values: dict[str, tuple[str, ...]], text: str) -> None:
    with pytest.raises(FormError) as caught:
        ASKED.check(submitted(**values))
    assert caught.value.text == text
    assert caught.value.condition == "not-acceptable", "XEP-0004 §4"


def test_a_form_of_another_type_is_refused() -> None:
    name = Field("name", "", ("x",))
    with pytest.raises(FormError, match="'urn:other'; one of jabber:bot"):
        ASKED.check(Form("submit", (Field("FORM_TYPE", "", ("urn:other",)), name)))
    for kind in ("form", "result", "cancel"):
        with pytest.raises(FormError, match="'submit' is wanted"):
            ASKED.check(Form(kind, (name,)))
    assert ASKED.check(Form("submit", (Field("FORM_TYPE", "hidden", ("jabber:bot",)), name)))


@pytest.mark.parametrize(("xml", "expected"), [
    ("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>a</value></field></x>", "a"),
    ("<x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE'><value>a</value></field></x>", ""),
    ("<x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE' type='hidden'><value>a</value></field></x>", "a"),
    ("<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='fixed'><value>a</value></field></x>", ""),
    ("<x xmlns='jabber:x:data' type='result'/>", ""),
])
def test_form_type_counts_where_it_is_hidden(xml: str, expected: str) -> None:
    """XEP-0068 §4.3, §5."""
    assert read(xml).form_type == expected


@pytest.mark.parametrize(("xml", "text"), [
    ("<x xmlns='jabber:x:data'/>", "a form is an"),
    ("<x xmlns='jabber:x:data' type='odd'/>", "a form is an"),
    ("<x xmlns='urn:other' type='submit'/>", "a form is an"),
    ("<x xmlns='jabber:x:data' type='submit'><field/></x>", "no 'var'"),
    ("<x xmlns='jabber:x:data' type='submit'><field var='a'/><field var='a'/></x>", "'a' is there twice"),
    ("<x xmlns='jabber:x:data' type='submit'>" + "<field type='fixed'/>" * (MAX_FIELDS + 1) + "</x>", "at most"),
    (f"<x xmlns='jabber:x:data' type='result'>{'<item/>' * (MAX_FIELDS + 1)}</x>", "at most"),
    (f"<x xmlns='jabber:x:data' type='submit'><field var='a'>{'<value/>' * (MAX_VALUES + 1)}</field></x>", "more than"),
])
def test_what_is_no_form_is_refused(xml: str, text: str) -> None:
    with pytest.raises(FormError, match=text):
        read(xml)


def test_an_unknown_type_of_field_is_a_line_of_text() -> None:
    """XEP-0004 §3.3."""
    form = read("<x xmlns='jabber:x:data' type='form'><field var='a' type='colour'><value>b</value></field></x>")
    assert form.field("a") == Field("a", "text-single", ("b",))
    assert (form["a"], form["b"]) == ("b", "")


def test_a_form_is_found_among_other_payload() -> None:
    x = Element("x", NS.FORM, {"type": "submit"})
    assert Form.find(Element("command", "urn:c", None, [Element("note", "urn:c"), x])) == Form("submit")
    assert Form.find(Element("command", "urn:c")) is None


_TEXT = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=20)
_FIELDS = st.lists(
    st.builds(
        Field,
        var=_TEXT.filter(bool), type=st.sampled_from(["text-single", "hidden", "boolean", "jid-multi", "list-multi"]),
        values=st.lists(_TEXT, max_size=4).map(tuple), label=_TEXT, desc=_TEXT, is_required=st.booleans(),
        options=st.lists(st.builds(Option, _TEXT, _TEXT), max_size=3).map(tuple),
    ),
    max_size=6, unique_by=lambda field: field.var,
).map(tuple)  # fmt: skip


@given(st.sampled_from(["form", "submit", "cancel", "result"]), _FIELDS, _TEXT, _FIELDS)
def test_what_is_written_is_read_again(
    kind: str, fields: tuple[Field, ...], title: str, row: tuple[Field, ...]
) -> None:
    form = Form(kind, fields, title, (), row, (row,) if row else ())  # type: ignore[arg-type]
    assert Form.from_element(form.to_element()) == form


@given(_FIELDS, _FIELDS)
def test_whatever_is_submitted_is_checked_or_refused(asked: tuple[Field, ...], given_: tuple[Field, ...]) -> None:
    """Quotes, percent signs, controls: nothing but a FormError comes out (reliability.md V-52)."""
    form = Form("form", asked)
    values: dict[str, tuple[str, ...]] = {}
    with contextlib.suppress(FormError):
        values = form.check(Form("submit", given_))
    assert values.keys() <= {field.var for field in asked}
