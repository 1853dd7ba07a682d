"""profanity, a console client, typed into and read from the screen by tmux as a person would.

It has its own home, trusts one authority only, and logs what went over the wire, which the tests read too.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from live_server import DIRECT_TLS_PORT, STARTTLS_PORT, ServerProcess
from programs import need
from waiting import PATIENCE, until

_WIRE = re.compile(r"DBG: (SENT|RECV): (<.*)$", re.MULTILINE)
#: What profanity says when it gave up on a certificate, and when it asks what to do about it.
CERTIFICATE_REFUSED = "TLS certificate verification failed"


@dataclass(frozen=True, slots=True)
class Stanza:
    """A line of the wire log."""

    sent: bool
    xml: str

    @property
    def element(self) -> ET.Element | None:
        """The parsed element, or None for a stream header."""
        try:
            return ET.fromstring(self.xml)
        except ET.ParseError:
            return None


class Profanity:
    """One running profanity. `home` must be a new folder."""

    def __init__(self, server: ServerProcess, home: Path, *, ca: Path | None = None) -> None:
        need("profanity", "tmux", "openssl")
        self._server = server
        self._home = home
        self._certificates = home / "ca"
        self._certificates.mkdir(parents=True)
        (self._certificates / "ca.pem").write_bytes((ca or server.certificates.ca).read_bytes())
        subprocess.run(["openssl", "rehash", str(self._certificates)], check=True)
        # Kept short: the path of a Unix socket has at most 107 bytes.
        self._socket = home / "t"
        self._environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CACHE_HOME": str(home / "cache"),
        }

    async def start(self) -> Profanity:
        """Starts the program and makes it trust the authority."""
        self._tmux("new-session", "-d", "-x", "160", "-y", "60", "profanity -l DEBUG")
        await self.sees("Type '/help' to show complete help.")
        self.type(f"/tls certpath set {self._certificates}")
        await self.sees("Certificate path set to")
        return self

    async def connect(self, jid: str, password: str, *, direct_tls: bool = False) -> None:
        """Types the login; whether it succeeds is for the caller to see."""
        port, policy = (DIRECT_TLS_PORT, "legacy") if direct_tls else (STARTTLS_PORT, "force")
        self.type(f"/connect {jid} server {self._server.address} port {port} tls {policy}")
        await self.sees("Enter password:")
        self.type(password)

    async def login(self, jid: str, password: str, *, direct_tls: bool = False) -> Profanity:
        """Logs in and goes online."""
        await self.connect(jid, password, direct_tls=direct_tls)
        await until(
            lambda: re.search(rf"{re.escape(jid)}/\S+\s+logged in successfully", self.screen()),
            lambda: f"{jid} logged in\n{self.screen()}",
        )
        return self

    async def settle(self) -> None:
        """Returns once the server has handled all that was sent to itself: it answers a ping typed last."""
        before = len(self._pings())
        self.type("/ping")
        await until(lambda: len(self._pings()) > before, lambda: f"ping answered\n{self.screen()}")

    def type(self, line: str) -> None:
        """Types a line and presses Enter."""
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def screen(self) -> str:
        """What stands on the screen."""
        return self._tmux("capture-pane", "-p")

    async def sees(self, text: str, seconds: float = PATIENCE) -> None:
        """Returns once `text` stands on the screen."""
        await until(lambda: text in self.screen(), lambda: f"{text!r} on the screen\n{self.screen()}", seconds)

    def wire(self) -> list[Stanza]:
        """All that was sent and received so far."""
        log = self._home / "data/profanity/logs/profanity.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        return [Stanza(kind == "SENT", xml) for kind, xml in _WIRE.findall(text)]

    def received_messages(self) -> list[ET.Element]:
        """Received message stanzas with a body, in order."""
        return [
            element
            for stanza in self.wire()
            if not stanza.sent and (element := stanza.element) is not None
            if element.tag.endswith("message") and _child(element, "body") is not None
        ]

    def received_bodies(self) -> list[str]:
        """Their bodies."""
        return [body.text or "" for m in self.received_messages() if (body := _child(m, "body")) is not None]

    @property
    def mechanism(self) -> str:
        """The SASL mechanism of the latest login."""
        used = re.findall(r'<auth [^>]*?mechanism="([^"]+)"', "\n".join(s.xml for s in self.wire() if s.sent))
        return str(used[-1])

    def close(self) -> None:
        """Ends the program and its terminal."""
        subprocess.run(self._command("kill-server"), capture_output=True, env=self._environment)

    def _pings(self) -> list[str]:
        """Answers to pings, of whatever kind."""
        pings: set[str | None] = set()
        answers = []
        for stanza in self.wire():
            element = stanza.element
            if element is None:
                continue
            if stanza.sent and "urn:xmpp:ping" in stanza.xml:
                pings.add(element.get("id"))
            elif not stanza.sent and element.get("id") in pings:
                answers.append(stanza.xml)
        return answers

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(self._command(*arguments), capture_output=True, text=True, env=self._environment)
        assert done.returncode == 0, f"tmux {arguments}: {done.stderr}"
        return done.stdout

    def _command(self, *arguments: str) -> list[str]:
        return ["tmux", "-f", "/dev/null", "-S", str(self._socket), *arguments]


def _child(element: ET.Element, name: str) -> ET.Element | None:
    return next((child for child in element if child.tag.rpartition("}")[2] == name), None)


StartProfanity = Callable[..., Awaitable[Profanity]]
