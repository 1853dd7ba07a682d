"""The hash of what a server offers, for clients to compare with what reached them (XEP-0474).

SCRAM signs it with the password, so somebody in between who takes mechanisms or channel bindings out of the offer is
found out.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection

from xmppchat.protocol.sasl.passwords import digest_of

#: Between two of a list, and between the lists: characters that cannot stand in XML (§8).
_BETWEEN = "\x1e"
_LISTS = "\x1f"


def offer_hash(mechanisms: Collection[str], channel_bindings: Collection[str], hash_name: str) -> str:
    """The value of ``h=`` (§5.1): base64 of the hash that `hash_name`, of SCRAM, has.

    `mechanisms` are those of the SASL profile in use, `channel_bindings` the types of XEP-0440; without any there is
    no such list in the stream's features.
    """
    text = _BETWEEN.join(sorted(mechanisms))
    if channel_bindings:
        text += _LISTS + _BETWEEN.join(sorted(channel_bindings))
    return base64.b64encode(hashlib.new(digest_of(hash_name), text.encode()).digest()).decode()
