"""The transcript language: readable files of who sends and who receives what.

Example::

    # Messages to a bare JID reach every available resource.
    # RFC 6121 §8.5.2.1.1
    [Client] romeo
    [Client] juliet/phone
    [Client] juliet/tablet  priority=-1
    [Roster] romeo -> juliet: both

    romeo sends:
        <message to="{juliet.bare}" id="m1"><body>Hi</body></message>
    juliet/phone receives:
        <message from="{romeo.full}" to="{juliet.bare}|{juliet/phone.full}" id="m1"><body>Hi</body>…</message>
    nobody receives anything.

Above the steps:

- the first comment is the title; the sections that decide follow as comments,
- ``memory only``: it moves the clock, which no server outside this process lets us do,
- ``with ids``: it speaks of stanza ids (XEP-0359), so one that is not shown must not be there. A transcript that shows
  one anywhere does so anyway; in others, those that archives give to their owners are not looked at,
- ``[Client] account`` or ``[Client] account/resource`` with flags: ``offline`` (only the account is there),
  ``unavailable`` (logged in, no presence), ``interested`` (asked for the roster), ``carbons`` (enabled them, XEP-0280),
  ``priority=N``, ``lang=xx`` (of its stream), ``stream`` (no account, only a secure stream that awaits
  authentication), ``admin`` (its account administers the host),
- ``[Roster] romeo -> juliet: state``: one of the nine states of RFC 6121 Appendix A.1, as ``none + pending out``.

Set-up goes through the protocol, with accounts that are new in each run; what it causes is not seen.

Steps: :data:`STEPS`. "connects" logs in (a ``stream`` does not) and sends nothing; "vanishes" cuts the connection
without a word; "comes back" logs in and, instead of binding a resource, sends what is shown (XEP-0198 §5); "is offered"
shows the features of its stream (RFC 6120 §4.3.2); "reads the rest" drops what was received and not yet shown. At the
end nobody may have received anything that is not shown. Clients answer each ``<r/>`` by themselves.

A client that has sent ``<inactive/>`` (XEP-0352) sends nothing until it is told to, not even what tells on a real
transport that everything has arrived: what it is shown to receive is waited for there, and "receives nothing" is exact
in memory only.

Elements are compared as :mod:`xmppchat.testing.matching` says. Replaced are ``{domain}``, ``{romeo.bare}``,
``{romeo.full}``, ``{romeo.local}``, ``{romeo.password}``, ``{romeo.handled}`` (what it counts for XEP-0198),
``{error cancel item-not-found}`` (the whole element, with or without a text), ``{plain romeo}`` (what logs in to the
account by PLAIN), ``{letters 2000}`` (so many), and ``{name}`` by what ``id="{=name}"`` of an earlier expectation saw.

Behind a "receives" step may stand what Prosody sends instead, with who is right by the quoted section::

    @prosody ours "RFC 6121 §8.5.2.1.1: …"
        <message …/>

``ours`` and ``theirs`` say who follows the section, ``both`` that it allows both; nothing below means that Prosody
does not send that; with ``and ends`` behind the quotation the transcript ends there on Prosody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

#: The states of RFC 6121 Appendix A.1, as they are written in a ``[Roster]`` line.
STATES = (
    "none", "none + pending out", "none + pending in", "none + pending out+in", "to", "to + pending in",
    "from", "from + pending out", "both",
)  # fmt: skip


class TranscriptError(Exception):
    """A transcript is not written as it should be; the message begins with file and line."""


@dataclass(frozen=True, slots=True)
class ClientLine:
    """``[Client] account/resource flags``."""

    name: str
    is_offline: bool = False
    is_unavailable: bool = False
    is_interested: bool = False
    is_stream: bool = False
    has_carbons: bool = False
    is_admin: bool = False
    priority: int | None = None
    lang: str = ""

    @property
    def account(self) -> str:
        """The name of its account."""
        return self.name.partition("/")[0]

    @property
    def resource(self) -> str:
        """The resource it binds."""
        return self.name.partition("/")[2] or "client"


@dataclass(frozen=True, slots=True)
class RosterLine:
    """``[Roster] account -> contact: state``."""

    account: str
    contact: str
    state: str


@dataclass(slots=True)
class Step:
    """One step; `kind` is a key of :data:`STEPS`. `line` is its number in the file, `said` how it is written."""

    kind: str
    client: str
    to: str
    line: int
    said: str
    xml: str = ""
    seconds: int = 0
    difference: Difference | None = None

    @property
    def shown(self) -> str:
        """All stanzas that stand there."""
        return self.xml if self.difference is None else self.xml + self.difference.xml


@dataclass(slots=True)
class Difference:
    """What Prosody sends instead, and who follows the quoted section."""

    verdict: str
    quotation: str
    is_end: bool
    line: int
    xml: str = ""


@dataclass(slots=True)
class Transcript:
    """A whole transcript."""

    path: Path
    title: str = ""
    is_memory_only: bool = False
    is_with_ids: bool = False
    clients: list[ClientLine] = field(default_factory=list)
    rosters: list[RosterLine] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def accounts(self) -> list[str]:
        """The names in it, each once."""
        return list(dict.fromkeys(client.account for client in self.clients))

    @property
    def speaks_of_ids(self) -> bool:
        """Whether each stanza id counts, also one that is not shown."""
        return self.is_with_ids or any("<stanza-id" in step.shown for step in self.steps)


_NAME = r"(?P<client>[a-z0-9]+(?:/[\w-]+)?)"
#: The steps, and how they are written. Those that end with a colon are followed by stanzas.
STEPS = {
    "sends to": re.compile(_NAME + r" sends to (?P<to>[a-z0-9]+(?:/[\w-]+)?):"),
    "sends": re.compile(_NAME + r" sends:"),
    "receives in any order": re.compile(_NAME + r" receives in any order:"),
    "receives": re.compile(_NAME + r" receives:"),
    "is offered": re.compile(_NAME + r" is offered:"),
    "receives nothing": re.compile(_NAME + r" receives nothing\."),
    "nobody receives": re.compile(r"nobody receives anything\."),
    "everybody reads": re.compile(r"everybody reads the rest\."),
    "reads": re.compile(_NAME + r" reads the rest\."),
    "connects": re.compile(_NAME + r" connects\."),
    "logs in": re.compile(_NAME + r" logs in\."),
    "disconnects": re.compile(_NAME + r" disconnects\."),
    "comes back": re.compile(_NAME + r" comes back:"),
    "vanishes": re.compile(_NAME + r" vanishes\."),
    "is disconnected": re.compile(_NAME + r" is disconnected\."),
    "time passes": re.compile(r"(?P<seconds>\d+) seconds pass\."),
}
_WITH_STANZAS = ("comes back", "is offered", "receives", "receives in any order")
_ROSTER = re.compile(r"\[Roster\] ([a-z0-9]+) -> ([a-z0-9]+): (.+)")
_PROSODY = re.compile(r'@prosody (ours|theirs|both) "(.+)"( and ends)?')


def parse(text: str, path: Path, first_line: int = 1) -> Transcript:
    """The transcript `text` is; `path` and `first_line` say where it stands. Raises :class:`TranscriptError`."""
    transcript = Transcript(path)
    block: Step | Difference | None = None
    for number, line in enumerate(text.splitlines(), first_line):
        stripped = line.strip()
        if not stripped:
            continue
        if line[0].isspace() and block is not None:
            block.xml += line + "\n"
            continue
        if stripped.startswith("#"):
            transcript.title = transcript.title or stripped.lstrip("# ")
            continue
        try:
            block = _line(transcript, stripped, number)
        except ValueError as error:
            raise TranscriptError(f"{path}:{number}: {error}") from None
    _check(transcript)
    return transcript


def _line(transcript: Transcript, line: str, number: int) -> Step | Difference | None:
    if line.startswith("[Client] "):
        transcript.clients.append(_client(line.split()[1:]))
        return None
    if line == "memory only":
        transcript.is_memory_only = True
        return None
    if line == "with ids":
        transcript.is_with_ids = True
        return None
    if line.startswith("["):
        found = _ROSTER.fullmatch(line)
        if found is None or found[3].lower() not in STATES:
            raise ValueError(f"expected [Roster] a -> b: one of {', '.join(STATES)}")
        transcript.rosters.append(RosterLine(found[1], found[2], found[3].lower()))
        return None
    if line.startswith("@"):
        return _annotation(transcript, line, number)
    for kind, pattern in STEPS.items():
        found = pattern.match(line)
        if found is not None:
            part = found.groupdict()
            client, to = part.get("client") or "", part.get("to") or ""
            step = Step(kind, client, to, number, found[0], line[found.end() :], int(part.get("seconds") or 0))
            transcript.steps.append(step)
            return step
    raise ValueError(f"{line!r} is no step")


def _client(words: list[str]) -> ClientLine:
    name, *flags = words
    given = {}
    for flag in flags:
        key, is_value, value = flag.partition("=")
        if key not in _FLAGS or bool(is_value) != _FLAGS[key]:
            raise ValueError(f"{flag!r} is no flag of a client")
        given[key] = value or "yes"
    return ClientLine(
        name,
        is_offline="offline" in given,
        is_unavailable="unavailable" in given,
        is_interested="interested" in given,
        is_stream="stream" in given,
        has_carbons="carbons" in given,
        is_admin="admin" in given,
        priority=int(given["priority"]) if "priority" in given else None,
        lang=given.get("lang", ""),
    )


#: The flags of a client, and whether they have a value.
_FLAGS = {
    "offline": False, "unavailable": False, "interested": False, "stream": False, "carbons": False, "admin": False,
    "priority": True, "lang": True,
}  # fmt: skip


def _annotation(transcript: Transcript, line: str, number: int) -> Difference:
    found = _PROSODY.fullmatch(line)
    if found is None:
        raise ValueError('expected @prosody ours|theirs|both "section: quotation"')
    step = transcript.steps[-1] if transcript.steps else None
    if step is None or not step.kind.startswith(("receives", "is offered")) or step.difference is not None:
        raise ValueError("@prosody stands behind a step in which one client receives something, or nothing")
    step.difference = Difference(found[1], found[2], bool(found[3]), number)
    return step.difference


def _check(transcript: Transcript) -> None:
    names = {client.name for client in transcript.clients}
    if not names:
        raise TranscriptError(f"{transcript.path}: there is no [Client]")
    for roster in transcript.rosters:
        for name in {roster.account, roster.contact} - set(transcript.accounts):
            raise TranscriptError(f"{transcript.path}: [Roster] names {name}, of whom there is no [Client]")
    for step in transcript.steps:
        place = f"{transcript.path}:{step.line}:"
        for name in (step.client, step.to):
            if name and name not in names:
                raise TranscriptError(f"{place} there is no [Client] {name}")
        takes_stanzas = step.kind.startswith("sends") or step.kind in _WITH_STANZAS
        if takes_stanzas != bool(step.xml.strip()):
            raise TranscriptError(f"{place} {'no stanza follows' if takes_stanzas else 'nothing may follow here'}")
        if step.kind == "time passes" and not transcript.is_memory_only:
            raise TranscriptError(f"{place} the clock moves only in a transcript that is 'memory only'")


def examples(source: str, path: Path) -> list[Transcript]:
    """The transcripts in the docstring of the module `source`: what is indented behind ``Example::``."""
    found: list[Transcript] = []
    lines = source.splitlines()
    for start, line in enumerate(lines):
        if line.strip() == '"""' and start:
            break
        if line.strip() != "Example::":
            continue
        margin = len(line) - len(line.lstrip())
        block: list[str] = []
        for inner in lines[start + 1 :]:
            if inner.strip() and len(inner) - len(inner.lstrip()) <= margin:
                break
            block.append(inner[margin + 4 :])
        if any(inner.startswith("[Client]") for inner in block):
            transcript = parse("\n".join(block), path, start + 2)
            transcript.title = transcript.title or f"The example of {path.stem}"
            found.append(transcript)
    return found
