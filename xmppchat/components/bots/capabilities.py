"""What a bot says of itself (XEP-0030, XEP-0115)."""

from __future__ import annotations

from typing import Final

from xmppchat.protocol.disco import DiscoIdentity, DiscoInfo
from xmppchat.protocol.namespaces import NS

#: What software its string is of (XEP-0115 §4): a URI that is only a name.
NODE: Final = "urn:x-xmppchat:bot"
#: The key of the device that reads what is encrypted for this address is held by its server.
SERVER_HELD: Final = "urn:x-xmppchat:server-held-device"
#: What a device of a bot is called in its account's list of devices (XEP-0384 §5.3.1).
LABEL: Final = "bot, key held by the server"
IDENTITY: Final = DiscoIdentity("client", "bot", name="xmppchat")


def information(*, encrypts: bool) -> DiscoInfo:
    """Identity and features of a bot's session; one that `encrypts` asks for lists of devices (XEP-0384 §5.2)."""
    features = [NS.CAPS, NS.DISCO_INFO]
    if encrypts:
        features += [SERVER_HELD, f"{NS.OMEMO_DEVICES}+notify", f"{NS.OMEMO_AXOLOTL_DEVICES}+notify"]
    return DiscoInfo([IDENTITY], sorted(features))
