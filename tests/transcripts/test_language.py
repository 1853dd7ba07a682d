"""The transcript language itself: what it must let pass, and above all what it must not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from xmppchat.protocol.element import Element
from xmppchat.testing import matching
from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.runner import Driver, Habit, Mismatch, read_stanzas, run
from xmppchat.testing.transcript import TranscriptError, examples, parse

HERE = Path("here.xmpp")
DOMAIN = "chat.example"


# --- parsing --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "there is no [Client]"),
        ("[Client] romeo\njuliet connects.", "there is no [Client] juliet"),
        ("[Client] romeo\nromeo sings:\n    <message/>", "is no step"),
        ("[Client] romeo\nromeo sends:", "no stanza follows"),
        ("[Client] romeo\nromeo receives:\n\nnobody receives anything.", "no stanza follows"),
        ("[Client] romeo\nromeo receives nothing.\n    <message/>", "nothing may follow"),
        ("[Client] romeo\nromeo connects twice", "is no step"),
        ("[Client] romeo\n5 seconds pass.", "memory only"),
        ("[Client] romeo absent", "is no flag"),
        ("[Client] romeo offline=yes", "is no flag"),
        ("[Client] romeo priority", "is no flag"),
        ("[Client] romeo\n[Roster] romeo -> juliet: friends", "expected [Roster]"),
        ("[Client] romeo\n[Roster] romeo -> juliet: both", "[Roster] names juliet"),
        ("[Client] romeo\n@prosody ours \"RFC 6121 §1\"", "@prosody stands behind"),
        ("[Client] romeo\nromeo receives nothing.\n@prosody wrong \"RFC 6121 §1\"", "expected @prosody"),
    ],
)  # fmt: skip
def test_faults_are_found_when_it_is_read(text: str, complaint: str) -> None:
    with pytest.raises(TranscriptError) as caught:
        parse(text, HERE)
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("here.xmpp")


def test_title_clients_and_steps_are_read() -> None:
    transcript = parse(
        "# Title\n# RFC 6121 §1\nmemory only\n[Client] romeo/phone  interested priority=-1 lang=de\n\n"
        "romeo/phone sends:  <presence/>\n3 seconds pass.\n",
        HERE,
    )
    (client,) = transcript.clients
    assert (transcript.title, transcript.is_memory_only) == ("Title", True)
    assert (client.account, client.resource, client.priority, client.lang) == ("romeo", "phone", -1, "de")
    assert client.is_interested
    assert [(step.kind, step.line) for step in transcript.steps] == [("sends", 6), ("time passes", 7)]


def test_examples_are_found_in_a_docstring() -> None:
    source = '"""Module.\n\nExample::\n\n    [Client] romeo\n    romeo sends:  <presence/>\n\nText.\n"""\n'
    (transcript,) = examples(source, Path("ping.py"))
    assert transcript.steps[0].line == 6


# --- matching -------------------------------------------------------------------------------------------------------

def _one(xml: str) -> Element:
    (element,) = read_stanzas(xml)
    return element


@pytest.mark.parametrize(
    ("pattern", "actual"),
    [
        ("<a b='1' c='2'/>", "<a c='2' b='1'/>"),
        ("<a> <b/>\n</a>", "<a><b></b></a>"),
        ("<a> some  text </a>", "<a>some text</a>"),
        ("<a>…</a>", "<a>text<b/></a>"),
        ("<a>…</a>", "<a/>"),
        ("<a>…<b/><c/></a>", "<a><c/><x/><b/></a>"),
        ("<a>⇅<b/><c/></a>", "<a><c/><b/></a>"),
        ("<a b='…'/>", "<a b='anything'/>"),
        ("<a b='1|2'/>", "<a b='2'/>"),
        ("<a b='1|'/>", "<a/>"),
        ("<a b='…|'/>", "<a/>"),
        ("<a b='{=name}'/>", "<a b='x|y'/>"),
        ("<a xmlns='urn:a'/>", "<p:a xmlns:p='urn:a'/>"),
        ("<a xml:lang='de'/>", "<a xml:lang='de'/>"),
    ],
)
def test_matches(pattern: str, actual: str) -> None:
    assert matching.difference(_one(pattern), _one(actual)) is None


@pytest.mark.parametrize(
    ("pattern", "actual"),
    [
        ("<a/>", "<b/>"),
        ("<a/>", "<a xmlns='urn:a'/>"),
        ("<a/>", "<a b='1'/>"),
        ("<a b='1'/>", "<a/>"),
        ("<a b='1'/>", "<a b='2'/>"),
        ("<a b='…'/>", "<a/>"),
        ("<a/>", "<a xml:lang='de'/>"),
        ("<a/>", "<a>text</a>"),
        ("<a>text</a>", "<a/>"),
        ("<a/>", "<a><b/></a>"),
        ("<a><b/></a>", "<a/>"),
        ("<a><b/><c/></a>", "<a><c/><b/></a>"),
        ("<a>…<b/></a>", "<a><c/></a>"),
        ("<a>…<b/><b/></a>", "<a><b/></a>"),
        ("<a>⇅<b/><c/></a>", "<a><c/><b/><d/></a>"),
        ("<a>⇅<b/></a>", "<a>text<b/></a>"),
        ("<a><b><c d='1'/></b></a>", "<a><b><c d='2'/></b></a>"),
    ],
)
def test_does_not_match(pattern: str, actual: str) -> None:
    assert matching.difference(_one(pattern), _one(actual))


def test_what_was_captured_is_told() -> None:
    pattern = _one("<a x='{=first}'>…<b y='2'/><b y='{=second}'/></a>")
    actual = _one("<a x='1'><c/><b y='3'/><b y='2'/></a>")
    assert matching.matches(pattern, actual)
    assert matching.captured(pattern, actual) == {"first": "1", "second": "3"}


def test_each_element_is_assigned_once() -> None:
    patterns = [_one("<a b='…'/>"), _one("<a b='1'/>")]
    received = [_one("<a b='1'/>"), _one("<a b='2'/>")]
    assert matching.assign(patterns, received) == received[::-1]
    assert matching.assign(patterns, [received[1], received[1]]) is None


def test_an_element_without_an_end_is_a_fault() -> None:
    with pytest.raises(ValueError, match=r"mismatched|no end"):
        read_stanzas("<message><body>")


# --- running --------------------------------------------------------------------------------------------------------

@dataclass
class Masquerade:
    """The server in memory under the name of another, with its habits."""

    inner: MemoryDriver
    name: str = "prosody"
    habits: list[Habit] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def memory(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path_factory.mktemp("language"), DOMAIN)
    await driver.start()
    yield driver
    await driver.stop()


CLIENTS = "[Client] romeo\n[Client] juliet\n"
SENT = CLIENTS + "romeo sends to juliet:\n    <message id='m1'><body>Hi</body></message>\n"
RECEIVED = "juliet receives:\n    <message id='m1' from='{romeo.full}' to='{juliet.full}'><body>Hi</body></message>\n"
ID = "<stanza-id xmlns='urn:xmpp:sid:0' by='{juliet.bare}' id='…'/>"
OTHER = RECEIVED.replace("Hi", "Ho")
QUOTED = '@prosody ours "RFC 6121 §8.5.3.1"'


async def _run(text: str, driver: object) -> None:
    await run(parse(text, HERE), driver)  # type: ignore[arg-type]


PASS = {
    "received": SENT + RECEIVED + "nobody receives anything.",
    "read and forgotten": SENT + "juliet reads the rest.",
    "captured": SENT + RECEIVED.replace("id='m1'", "id='{=id}'")
    + "juliet sends to romeo:\n    <message id='re-{id}'/>\n"
    + "romeo receives:\n    <message id='re-m1' from='{juliet.full}' to='{romeo.full}'/>",
    "annotation elsewhere": SENT + RECEIVED + QUOTED + "\n    <message/>\n",
    "with carbons": "[Client] romeo\n[Client] juliet\n[Client] juliet/laptop  carbons\n" + SENT.removeprefix(CLIENTS)
    + RECEIVED + "juliet/laptop receives:\n    <message from='{juliet.bare}' to='{juliet/laptop.full}'>…</message>\n",
    "inactive": CLIENTS + "juliet sends:\n    <inactive xmlns='urn:xmpp:csi:0'/>\n"
    + "romeo sends to juliet:\n    <presence/>\njuliet receives nothing.\n" + SENT.removeprefix(CLIENTS)
    + "juliet receives:\n    <presence from='{romeo.full}' to='{juliet.full}'/>\n" + RECEIVED.partition("\n")[2],
    "an id that is not shown": SENT.replace("m1'>", "m1' type='chat'>") + RECEIVED.replace("m1'", "m1' type='chat'"),
    "an id that is shown": "with ids\n" + SENT + RECEIVED.replace("</body>", "</body>" + ID),
    "cut off": CLIENTS + "romeo vanishes.\nnobody receives anything.",
}  # fmt: skip
FAIL = {
    "other text": SENT + OTHER,
    "nothing expected": SENT + "juliet receives nothing.",
    "nobody expected": SENT + "nobody receives anything.",
    "left over": SENT,
    "not received": CLIENTS + RECEIVED,
    "received by another": SENT + RECEIVED.replace("juliet receives", "romeo receives"),
    "received once": SENT + RECEIVED + RECEIVED,
    "no carbons": "[Client] romeo\n[Client] juliet\n[Client] juliet/laptop\n" + SENT.removeprefix(CLIENTS)
    + RECEIVED + "juliet/laptop receives:\n    <message from='{juliet.bare}' to='{juliet/laptop.full}'>…</message>\n",
    "not inactive": CLIENTS + "romeo sends to juliet:\n    <presence/>\njuliet receives nothing.\n",
    "an id that counts": "with ids\n" + SENT + RECEIVED,
    "an id where others are shown": SENT + RECEIVED.replace("</body>", "</body>" + ID)
    + SENT.removeprefix(CLIENTS) + RECEIVED,
    "an id of another": SENT + RECEIVED.replace("</body>", "</body>" + ID.replace("juliet", "romeo")),
    "still connected": CLIENTS + "romeo is disconnected.",
    "not connected": "[Client] romeo\n[Client] juliet offline\njuliet sends:\n    <presence/>",
}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in PASS.items()])
async def test_passes(text: str, memory: MemoryDriver) -> None:
    await _run(text, memory)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in FAIL.items()])
async def test_fails(text: str, memory: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xmppchat.testing.wire_client.PATIENCE", 0.5)  # of a login, too
    with pytest.raises(Mismatch, match=r"here\.xmpp"):
        await _run(text, memory)


PROSODY_PASS = {
    "the difference occurs": SENT + OTHER + QUOTED + RECEIVED.split(":\n", 1)[1].join(("\n", "")),
    "it sends something": SENT + "juliet receives nothing.\n" + QUOTED + "\n" + RECEIVED.split(":\n", 1)[1],
    "it sends nothing": CLIENTS + RECEIVED + QUOTED + "\nnobody receives anything.",
    "it ends there": CLIENTS + RECEIVED + QUOTED + " and ends\n" + RECEIVED,
}
PROSODY_FAIL = {
    "the difference is stale": (SENT + RECEIVED + QUOTED + "\n    <message/>\n", "stale"),
    "nothing is stale": (CLIENTS + "juliet receives nothing.\n" + QUOTED + "\n    <message/>\n", "stale"),
    "another difference": (SENT + OTHER + QUOTED + "\n    <message/>\n", "on Prosody"),
    "more than the difference": (SENT + OTHER + QUOTED, "received something"),
    "an unmarked difference": (SENT + OTHER, "text"),
}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in PROSODY_PASS.items()])
async def test_marked_differences_pass(text: str, memory: MemoryDriver) -> None:
    await _run(text, Masquerade(memory))


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("text", "why"), [pytest.param(text, why, id=name) for name, (text, why) in PROSODY_FAIL.items()]
)
async def test_other_differences_fail(text: str, why: str, memory: MemoryDriver) -> None:
    with pytest.raises(Mismatch, match=why):
        await _run(text, Masquerade(memory))


@pytest.mark.asyncio(loop_scope="session")
async def test_a_habit_counts_where_it_makes_the_difference(memory: MemoryDriver) -> None:
    def any_body(pattern: Element) -> Element:
        return pattern.replace(children=[Element("body", pattern.namespace, None, ["…"])])

    driver = Masquerade(memory, habits=[Habit("both", "RFC 6121 §1", any_body)])
    await _run(SENT + RECEIVED, driver)
    assert driver.habits[0].uses == 0
    await _run(SENT + OTHER, driver)
    assert driver.habits[0].uses == 1


def test_drivers_are_drivers(memory: MemoryDriver) -> None:
    driver: Driver = memory
    assert driver.domain == DOMAIN
