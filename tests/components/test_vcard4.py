"""vCard4 and vcard-temp in terms of each other (XEP-0292 §9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pubsub_support import Client, befriend, condition, started

from xmppchat.components.vcard.vcard4 import from_vcard4, overlaid, to_vcard4
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.testing.memory import MemoryDriver

FULL = """<FN>Romeo</FN><N><FAMILY>Montague</FAMILY><MIDDLE>M</MIDDLE></N><NICKNAME>R</NICKNAME>
<EMAIL><WORK/><PREF/><USERID>r@example.org</USERID></EMAIL><TEL><FAX/><NUMBER>1</NUMBER></TEL>
<ADR><HOME/><POBOX>1</POBOX><EXTADD>2</EXTADD><STREET>3</STREET><PCODE>4</PCODE></ADR><BDAY>1580-01-01</BDAY>
<ORG><ORGNAME>House</ORGNAME><ORGUNIT>Stables</ORGUNIT></ORG><TITLE>T</TITLE><ROLE>R</ROLE><NOTE>N</NOTE>
<URL>https://example.org</URL><JABBERID>r@example.org</JABBERID>"""


def vcard(inner: str) -> Element:
    return parse_stored(f"<vCard xmlns='vcard-temp'>{inner}</vCard>")


def vcard4(inner: str) -> Element:
    return parse_stored(f"<vcard xmlns='{NS.VCARD_4}'>{inner}</vcard>")


def made(inner: str, before: Element | None = None) -> Element:
    found = to_vcard4(vcard(inner), before)
    assert found is not None
    return found


def test_what_comes_back_is_what_was_said() -> None:
    """What the other form cannot say (a unit, which of two kinds of notes) is not lost: the own one is shown."""
    stored = vcard(FULL)
    assert overlaid(stored, to_vcard4(stored)) is stored
    names = [one.name for one in from_vcard4(made(FULL))]
    assert names == [
        "FN", "N", "NICKNAME", "EMAIL", "TEL", "ADR", "BDAY", "ORG", "TITLE", "ROLE", "DESC", "URL", "JABBERID",
    ]  # fmt: skip


def test_what_says_the_same_is_left_alone() -> None:
    before = vcard4("<fn><text>R</text></fn><nickname><parameters><altid><text>1</text></altid></parameters>"
                    "<text>x</text></nickname><gender><sex>M</sex></gender>")
    assert to_vcard4(vcard("<FN>R</FN><NICKNAME>x</NICKNAME><MAILER>m</MAILER>"), before) is before
    other = made("<FN>R</FN>", before)
    assert [child.name for child in other.elements()] == ["fn", "gender"]
    without = to_vcard4(vcard("<MAILER>m</MAILER>"), before)
    assert without is not None
    assert without.to_xml() == vcard4("<fn><text/></fn><gender><sex>M</sex></gender>").to_xml()
    assert to_vcard4(vcard("<MAILER>m</MAILER>"), vcard4("<fn><text>R</text></fn>")) is None
    assert to_vcard4(vcard("<N><FAMILY/></N><FN> </FN>")) is None


def test_there_is_always_a_name() -> None:
    """RFC 6350 §6.2.1."""
    assert [child.name for child in made("<TITLE>x</TITLE>").elements()] == ["fn", "title"]
    assert overlaid(None, vcard4("<fn><text/></fn>")) is None


def test_what_a_vcard4_says_takes_its_place() -> None:
    stored = vcard("<FN>R</FN><TITLE>old</TITLE><MAILER>m</MAILER>")
    newer = vcard4("<fn><text> Romeo </text></fn><impp><uri>sip:r@example.org</uri></impp>"
                   "<impp><uri>xmpp:r@x</uri></impp><tel><parameters><type><text>CELL</text></type>"
                   "<pref><integer>1</integer></pref></parameters><text>7</text></tel><bday><text>spring</text></bday>")
    shown = overlaid(stored, newer)
    assert shown is not None
    assert shown.to_xml() == vcard(
        "<FN>Romeo</FN><JABBERID>r@x</JABBERID><TEL><CELL/><PREF/><NUMBER>7</NUMBER></TEL><BDAY>spring</BDAY>"
        "<MAILER>m</MAILER>"
    ).to_xml()
    assert overlaid(stored, None) is stored
    assert overlaid(vcard("<FN>R</FN>"), vcard4("<gender/>")) is None


# --- at accounts -----------------------------------------------------------------------------------------------------

@pytest.fixture
async def driver(tmp_path: Path, storage_url: str) -> AsyncIterator[MemoryDriver]:
    driver = await started(tmp_path, storage_url, "juliet", "romeo")
    yield driver
    await driver.stop()


async def shown(client: Client, to: str = "") -> str:
    answer = (await client.request("get", "<vCard xmlns='vcard-temp'/>", to)).find("vCard", NS.VCARD)
    return "" if answer is None else "".join(one.to_xml(NS.VCARD) for one in answer.elements())


async def put(client: Client, inner: str) -> str:
    return condition(await client.request("set", f"<vCard xmlns='vcard-temp'>{inner}</vCard>"))


async def publish(client: Client, inner: str, item: str = "current") -> str:
    payload = f"<vcard xmlns='{NS.VCARD_4}'>{inner}</vcard>"
    published = f"<publish node='{NS.VCARD_4_NODE}'><item id='{item}'>{payload}</item></publish>"
    return condition(await client.ask("set", published))


async def test_an_item_of_another_name_is_found_and_replaced(driver: MemoryDriver) -> None:
    juliet = await Client.log_in(driver, "juliet")
    assert await publish(juliet, "<fn><text>J</text></fn><gender><sex>F</sex></gender>", "some-id") == ""
    assert await shown(juliet) == "<FN>J</FN>"
    assert await put(juliet, "<FN>Juliet</FN>") == ""
    assert list(await juliet.items(NS.VCARD_4_NODE)) == ["current"]
    assert await shown(juliet) == "<FN>Juliet</FN>"


async def test_a_node_that_others_may_not_read_tells_them_nothing_here(driver: MemoryDriver) -> None:
    juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
    await befriend(juliet, romeo)
    assert await put(juliet, "<FN>J</FN><MAILER>m</MAILER>") == ""
    assert await juliet.configure(NS.VCARD_4_NODE, access_model="whitelist") == ""
    assert await shown(romeo, juliet.bare) == "<FN>J</FN><MAILER>m</MAILER>", "that is what the vCard says"
    assert await publish(juliet, "<fn><text>secret</text></fn>") == ""
    assert await shown(juliet) == "<FN>secret</FN><MAILER>m</MAILER>"
    assert await shown(romeo, juliet.bare) == "<MAILER>m</MAILER>"


async def test_vcards_one_behind_the_other(driver: MemoryDriver) -> None:
    juliet = await Client.log_in(driver, "juliet")
    assert await put(juliet, "<FN>0</FN>") == ""
    for number in range(1, 10):
        juliet.client.write(
            f"<iq type='set' id='s{number}'><vCard xmlns='vcard-temp'><FN>{number}</FN></vCard></iq>"
            f"<iq type='get' id='g{number}'><vCard xmlns='vcard-temp'/></iq>"
        )
    await driver.settle([juliet.client])
    answers = {one.get("id"): one.to_xml() for one in juliet.client.inbox}
    for number in range(1, 10):
        assert f"<FN>{number}</FN>" in answers[f"g{number}"]
