"""Clients of accounts: which there are (XEP-0494), and the tokens that they log in with (XEP-0484).

A token is never stored. It is made of a key that is not in the database and of what stands there, so neither a copy
of the database nor a backup lets anybody in (reliability.md V-24). Whoever loses the key voids all tokens; clients
then log in with the password, and get others.

- :mod:`.component` does what logins, changes of passwords and revocations need,
- :mod:`.listing` is what people are shown,
- :mod:`.tokens` gives and takes tokens, :mod:`.keys` makes them, :mod:`.store` keeps the rest.
"""

from xmppchat.components.devices.component import Devices

__all__ = ["Devices"]
