"""What ``{…}`` in a transcript stands for (see :mod:`xmppchat.testing.transcript`)."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator

from xmppchat.protocol.namespaces import NS
from xmppchat.testing import matching
from xmppchat.testing.transcript import Transcript

_REPLACED = re.compile(r"\{(error [a-z]+ [a-z-]+|letters \d+|plain [a-z][\w-]*|[a-z][\w./-]*)\}")


class Names:
    """What ``{…}`` in a transcript stands for in one run."""

    def __init__(self, transcript: Transcript, domain: str, admins: Iterator[str]) -> None:
        suffix = secrets.token_hex(4)
        self.domain = domain
        self.password = f"secret-{suffix}"
        self.captured: dict[str, str] = {}
        self.handled: dict[str, int] = {}
        self._suffix = suffix
        self._accounts = transcript.accounts
        flagged = {line.account for line in transcript.clients if line.is_admin}
        self._admins = {account: next(admins) for account in transcript.accounts if account in flagged}
        self._resources = {line.name: line.resource for line in transcript.clients}

    def local(self, account: str) -> str:
        """The localpart."""
        return self._admins.get(account) or f"{account}-{self._suffix}"

    def bare(self, account: str) -> str:
        """The bare JID."""
        return f"{self.local(account)}@{self.domain}"

    def replace(self, text: str) -> str:
        """`text` with everything replaced. Raises ValueError."""
        return _REPLACED.sub(self._value, text)

    def _value(self, found: re.Match[str]) -> str:
        name = found[1]
        if name == "domain":
            return self.domain
        if name.startswith("error "):
            _, kind, condition = name.split()
            number = ' code="404|"' if condition == "item-not-found" else ""  # as nodes have it, for old clients
            return f'<error type="{kind}"{number}><{condition} xmlns="{NS.STANZA_ERROR}"/>{matching.ANYTHING}</error>'
        if name.startswith("plain "):
            account = name.split()[1]
            return base64.b64encode(f"\0{self.local(account)}\0{self.password}".encode()).decode()
        if name.startswith("letters "):
            return "x" * int(name.split()[1])
        if name in self.captured:
            return self.captured[name]
        client, _, part = name.rpartition(".")
        account = client.partition("/")[0]
        if part == "handled" and client in self.handled:
            return str(self.handled[client])
        if account in self._accounts:
            if part == "full" and client in self._resources:
                return f"{self.bare(account)}/{self._resources[client]}"
            parts = {"bare": self.bare(account), "local": self.local(account), "password": self.password}
            if part in parts:
                return parts[part]
        raise ValueError(f"{found[0]} stands for nothing")
