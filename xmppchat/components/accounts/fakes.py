"""Keys of names that have none: made up, the same ones every time, and of the shape that real ones have (V-15, V-17).

SCRAM shows salt and iterations to whoever names an account. Names without keys must not stand out, so they get them
in the proportion in which accounts have them.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from xmppchat.protocol.sasl import ScramKeys

#: Shapes that are told apart for each mechanism. One server writes one; each import may bring some.
_MAX_SHAPES = 100
_SALT_BYTES = 16
_KEY_BYTES = {"SCRAM-SHA-1": 20, "SCRAM-SHA-256": 32, "SCRAM-SHA-512": 64}


class Fakes:
    """Makes up keys from a `secret`; `iterations` is how many they have while no account has any."""

    def __init__(self, secret: bytes, iterations: int) -> None:
        self._secret = secret
        self._iterations = iterations
        # mechanism -> (iterations, bytes of salt) -> accounts
        self._shapes: dict[str, dict[tuple[int, int], int]] = {}

    def count(self, keys: Mapping[str, ScramKeys]) -> None:
        """There is one account more, with `keys`."""
        for mechanism, one in keys.items():
            self.count_shape(mechanism, one.iterations, len(one.salt), 1)

    def count_shape(self, mechanism: str, iterations: int, salt_bytes: int, accounts: int) -> None:
        """There are so many accounts more with keys of this shape."""
        shapes = self._shapes.setdefault(mechanism, {})
        shape = (iterations, salt_bytes)
        if shape in shapes or len(shapes) < _MAX_SHAPES:
            shapes[shape] = shapes.get(shape, 0) + accounts

    def keys(self, name: str, mechanism: str) -> ScramKeys:
        """Keys for `mechanism` that no password has, for an address."""

        def derived(what: str) -> bytes:
            return hmac.digest(self._secret, f"{what}\0{mechanism}\0{name}".encode(errors="replace"), "sha512")

        iterations, salt_bytes = self._shape(mechanism, int.from_bytes(derived("shape")[:8]) / 2**64)
        size = _KEY_BYTES[mechanism]
        salt = (derived("salt") * (salt_bytes // 64 + 1))[:salt_bytes]
        return ScramKeys(salt, iterations, derived("stored")[:size], derived("server")[:size])

    def _shape(self, mechanism: str, share: float) -> tuple[int, int]:
        """The shape at the place `share`, 0 to 1, were all accounts in a row: one account more moves few names."""
        shapes = self._shapes.get(mechanism)
        if not shapes:
            return self._iterations, _SALT_BYTES
        left = share * sum(shapes.values())
        for shape in sorted(shapes):
            left -= shapes[shape]
            if left < 0:
                return shape
        return max(shapes)
