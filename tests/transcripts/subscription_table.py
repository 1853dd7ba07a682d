"""Makes a transcript of each line of ``presence/appendix_a.table``: what two accounts see when one sends.

A cell lists stanzas in order: ``push`` with the item's subscription, ``ask`` and ``approved``; the name of a subscription stanza
(as it was sent: from the bare JID, with its id); ``presence`` and ``unavailable`` from the other's resource. Both
states are looked at afterwards: in the roster, and by what a new resource of each receives and causes.

Below a line may stand what Prosody does: ``@prosody verdict "{name}" | romeo receives | juliet receives``; the
quotations stand at the end of the table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from xmppchat.testing.transcript import Transcript, parse

_SECTION = re.compile(r"\[(A\.\d\.\d) (A\.\d\.\d) (\w+)\]")
_BEGIN = """
[Client] romeo       interested
[Client] romeo/new   offline
[Client] juliet      interested
[Client] juliet/new  offline
[Roster] romeo -> juliet: {before}

romeo sends:
    <presence type="{kind}" to="{{juliet.bare}}" id="a1"><status>Wherefore?</status></presence>
"""
_PUSH = """
    <iq type="set" from="{{{own}.bare}}" to="{{{own}.full}}" id="…">
        <query xmlns="jabber:iq:roster" ver="…">
            <item jid="{{{other}.bare}}" subscription="{subscription}"{ask}/>
        </query>
    </iq>"""
_SUBSCRIPTION = """
    <presence type="{kind}" from="{{{other}.bare}}" to="{{{own}.bare}}" id="a1">
        <status>Wherefore?</status>
    </presence>"""
_ROSTER = """
{own} sends:
    <iq type="get" id="state"><query xmlns="jabber:iq:roster"/></iq>
{own} receives:
    <iq type="result" id="state" from="{{{own}.bare}}" to="{{{own}.full}}">
        <query xmlns="jabber:iq:roster" ver="…">{item}</query>
    </iq>
"""
_NEW = """
{own}/new connects.
{own}/new sends:
    <presence/>
{own}/new receives in any order:
    <presence from="{{{own}/new.full}}" to="{{{own}.bare}}"/>
    <presence from="{{{own}.full}}" to="{{{own}/new.full}}"/>{gets}
{own} receives:
    <presence from="{{{own}/new.full}}" to="{{{own}.bare}}"/>
"""
_OTHERS = '\n    <presence from="{{{other}.full}}" to="{{{own}/new.full}}"/>'
_REQUEST = '\n    <presence type="subscribe" from="{{{other}.bare}}" to="{{{own}.bare}}" id="{id}">…</presence>'
_RESENT = """
{own} receives nothing.
@prosody both "RFC 6121 §3.1.2: SHOULD resend the request, e.g., whenever a new resource becomes available"{push}
{own}/new receives nothing.
@prosody both "RFC 6121 §3.1.3 asks for no answer to a request that waits"{acknowledgement}
"""
_SEEN = """
{other} receives:
    <presence from="{{{own}/new.full}}" to="{{{other}.bare}}"/>
"""
_END = """
nobody receives anything.
{own}/new disconnects.
everybody reads the rest.
"""


def expand(path: Path, name: Path) -> Iterator[tuple[str, Transcript]]:
    """A name and a transcript for each line of the table."""
    text, _, end = path.read_text().partition("[quotations]\n")
    quotations = dict(line.split(": ", 1) for line in end.splitlines())
    sections, kind = "", ""
    lines = [*text.splitlines(), ""]
    for number, line in enumerate(lines[:-1], 1):
        found = _SECTION.fullmatch(line)
        if found is not None:
            sections, kind = f"{found[1]} {found[2]}", found[3]
        elif line and line[0] not in "# ":
            annotation = _cells(lines[number].format(**quotations)) if "@prosody" in lines[number] else None
            before = _cells(line)[0]
            transcript = parse(_transcript(kind, _cells(line), annotation), Path(f"{name}:{number}"))
            transcript.title = f"RFC 6121 Appendix {sections}: {kind} in state {before!r}"
            yield f"{sections.replace(' ', '+')} {kind} in {before}", transcript


def _transcript(kind: str, line: list[str], annotation: list[str] | None) -> str:
    before, romeo, juliet, after = line
    prosody, *instead = annotation or ("", romeo, juliet)
    text = _BEGIN.format(before=before, kind=kind)
    text += _received("romeo", "juliet", romeo, instead[0], kind, prosody)
    text += _received("juliet", "romeo", juliet, instead[1], kind, prosody)
    return text + _look("romeo", "juliet", before, after) + _look("juliet", "romeo", _mirror(before), _mirror(after))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def _received(own: str, other: str, cell: str, instead: str, kind: str, prosody: str) -> str:
    text = (f"\n{own} receives:" if cell else "") + _stanzas(own, other, cell, kind)
    more = instead.removeprefix(cell).lstrip(", ") if instead.startswith(cell) else ""
    if instead != cell and not more:
        text += f"\n{prosody}{_stanzas(own, other, instead, kind)}"
    text += f"\n{own} receives nothing."
    return text + (f"\n{prosody}{_stanzas(own, other, more, kind)}\n" if more else "\n")


def _stanzas(own: str, other: str, cell: str, kind: str) -> str:
    text = ""
    for stanza in filter(None, re.split(r", *", cell)):
        words = stanza.split()
        if words[0] == "push":
            ask = ' ask="subscribe"' if "ask" in words else ""
            ask += ' approved="true"' if "approved" in words else ""
            text += _PUSH.format(own=own, other=other, subscription=words[1], ask=ask)
        elif words[0] == kind:
            text += _SUBSCRIPTION.format(own=own, other=other, kind=kind)
        elif words[0] == "acknowledgement":
            text += f'\n    <presence type="unavailable" from="{{{other}.bare}}" to="{{{own}.bare}}"/>'
        else:
            type_ = ' type="unavailable"' if words[0] == "unavailable" else ""
            text += f'\n    <presence{type_} from="{{{other}.full}}" to="{{{own}.bare}}"/>'
    return text


def _look(own: str, other: str, before: str, after: str) -> str:
    """What shows the state `after`: the roster, and what a new resource receives and causes."""
    gets = ""
    if after.startswith(("to", "both")):
        gets += _OTHERS
    if after.endswith("in"):
        gets += _REQUEST.replace("{id}", "…|")
    text = _ROSTER.format(own=own, item=_item(other, before, after))
    text += _NEW.format(own=own, gets=gets.format(own=own, other=other))
    if "out" in after:
        text += _RESENT.format(
            own=own, push=_stanzas(own, other, f"push {_subscription(after)} ask, acknowledgement", ""),
            acknowledgement=_stanzas(own, other, "acknowledgement", ""),
        )  # fmt: skip
    if after.startswith(("from", "both")):
        text += _SEEN.format(own=own, other=other)
    return text + _END.format(own=own)


def _item(contact: str, before: str, after: str) -> str:
    """A contact is listed once there was a subscription or a request of one's own (RFC 6121 §3.1.2, §3.1.3)."""
    if {before, after} <= {"none", "none + pending in"}:  # an approval makes an item too (§3.4.2)
        return ""
    ask = ' ask="subscribe"' if "out" in after else ""
    ask += ' approved="true"' if "approved" in after else ""
    return f'<item jid="{{{contact}.bare}}" subscription="{_subscription(after)}"{ask}/>'


def _subscription(state: str) -> str:
    return state.replace(",", "").split()[0]


def _mirror(state: str) -> str:
    """The state of the contact when one's own is `state`."""
    subscription, _, pending = state.removesuffix(", approved").partition(" + pending ")
    mirrored = {"to": "from", "from": "to"}.get(subscription, subscription)
    return f"{mirrored} + pending { {'out': 'in', 'in': 'out'}.get(pending, pending)}" if pending else mirrored
