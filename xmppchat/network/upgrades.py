"""Tasks of a login that give its account keys for further mechanisms (XEP-0480), made by its client."""

from __future__ import annotations

import base64

from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import AccountService
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.sasl2 import InvalidRequest, read_data
from xmppchat.protocol.stream import Stream

_PREFIX = "UPGR-"


class Upgrades:
    """What one client does, mechanism by mechanism, between proof and success (§2.2, §3)."""

    __slots__ = ("_account", "_accounts", "_is_begun", "_kernel", "_names", "_parameters", "_stream")

    def __init__(self, kernel: Kernel, stream: Stream, account: Account, names: list[str]) -> None:
        self._kernel = kernel
        self._stream = stream
        self._account = account
        self._accounts = kernel.services.get(AccountService)
        self._names = names
        self._parameters = (b"", 0)
        self._is_begun = False

    def ask(self, data: bytes | None) -> None:
        """Tell the client its next task; `data` is what the exchange before it has to say."""
        self._is_begun = False
        self._stream.ask_task(data, _PREFIX + self._names[0])

    def begin(self, task: str) -> None:
        """The client begins. Raises :class:`InvalidRequest` where it should do another task."""
        if self._is_begun or task != _PREFIX + self._names[0]:
            raise InvalidRequest("malformed-request", f"the task is {_PREFIX}{self._names[0]}")
        self._is_begun = True
        self._parameters = salt, iterations = self._accounts.upgrade_parameters(self._names[0])
        text = base64.b64encode(salt).decode()
        self._stream.task_data(Element("salt", NS.SCRAM_UPGRADE, {"iterations": str(iterations)}, (text,)))

    async def finish(self, answer: Element) -> bool:
        """The client's keys: on disk when this returns, which says whether that was the last task.

        Raises :class:`InvalidRequest` for what is none, a stanza error where they cannot be stored.
        """
        salted = answer.find("hash", NS.SCRAM_UPGRADE)
        if salted is None or not self._is_begun:
            raise InvalidRequest("malformed-request", "a <hash/> is expected here (XEP-0480 §3)")
        data, name, turn = read_data(salted), self._names.pop(0), self._kernel.new_turn()
        try:
            self._accounts.store_salted(self._account, name, data, *self._parameters, turn)
        except ValueError as fault:
            raise InvalidRequest("malformed-request", str(fault)) from None
        await self._kernel.settled(turn)
        return not self._names
