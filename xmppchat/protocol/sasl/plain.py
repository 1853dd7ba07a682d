"""PLAIN (RFC 4616): the password itself, only ever inside TLS."""

from __future__ import annotations

from xmppchat.protocol.sasl.base import ExchangeContext, NeedPasswordCheck, Step, Success, TextExchange, WaitsFor


class PlainExchange(TextExchange):
    """``[authzid] NUL authcid NUL password``, exactly so, in one message."""

    __slots__ = ("_username",)

    def __init__(self, name: str, context: ExchangeContext) -> None:
        super().__init__(name, context)
        self._username = ""

    def _receive_text(self, text: str) -> Step:
        parts = text.split("\0")
        if len(parts) != 3:
            return self._fail(
                "malformed-request",
                "PLAIN is an identity, a user name and a password, with one NUL between each two.",
            )
        authzid, username, password = parts
        if not username or not password:
            return self._fail("malformed-request", "The user name or the password is missing.")
        if failure := self._check_identity(username, authzid):
            return failure
        self._username = username
        self._waits_for = WaitsFor.PASSWORD_CHECK
        return NeedPasswordCheck(username, password)

    def _take_verdict(self, ok: bool) -> Step:
        if not ok:
            return self._fail("not-authorized", "The user name or the password is wrong.")
        self._waits_for = WaitsFor.NOTHING
        return Success(self._username, None)
