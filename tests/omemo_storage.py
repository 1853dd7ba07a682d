"""What an OMEMO device of the tests keeps: the storage of the library `omemo`, in a dictionary."""

from __future__ import annotations

import json

from omemo import JSONType, Just, Maybe, Nothing, Storage

#: All that a device keeps, as JSON texts: nothing else of a client outlives it.
Keys = dict[str, str]


class KeptKeys(Storage):
    """The storage; the next client of the same device gets it, or its `keys`."""

    def __init__(self, keys: Keys | None = None) -> None:
        super().__init__(disable_cache=True)
        self.keys: Keys = {} if keys is None else keys

    async def _load(self, key: str) -> Maybe[JSONType]:
        return Just(json.loads(self.keys[key])) if key in self.keys else Nothing()

    async def _store(self, key: str, value: JSONType) -> None:
        self.keys[key] = json.dumps(value)

    async def _delete(self, key: str) -> None:
        self.keys.pop(key, None)
