"""An account as XML, for its owner or another server (XEP-0227)."""

from __future__ import annotations

import base64

from xmppchat.components.accounts.store import CREDENTIALS
from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.sasl import ScramKeys


async def export(kernel: Kernel, account: Account, *, with_credentials: bool) -> str:
    """A document with all that components hold of `account`, and its SCRAM keys if wanted.

    It is ASCII where a terminal could take a character for something else than text: those are references.
    """
    children: list[Element] = []
    if with_credentials:
        children += [_scram_element(name, keys) for name, keys in account[CREDENTIALS].items()]
    for component in kernel.components:
        children += await component.export(account)
    # The schema (§9) has what is of this namespace before all that is of others.
    children.sort(key=lambda child: child.namespace != NS.PORTABLE_EXPORT)
    user = Element("user", NS.PORTABLE_EXPORT, {"name": account.jid.local}, children)
    host = Element("host", NS.PORTABLE_EXPORT, {"jid": account.jid.domain}, (user,))
    document = Element("server-data", NS.PORTABLE_EXPORT, None, (host,)).to_xml()
    return "<?xml version='1.0' encoding='UTF-8'?>\n" + _shown(document)


def _shown(xml: str) -> str:
    if xml.isprintable():
        return xml
    return "".join(c if c.isprintable() or c == "\n" else f"&#{ord(c)};" for c in xml)


def _scram_element(mechanism: str, keys: ScramKeys) -> Element:
    """XEP-0227 §4.3."""

    def encoded(name: str, value: bytes) -> Element:
        return text_element(name, NS.PORTABLE_SCRAM, base64.b64encode(value).decode())

    return Element("scram-credentials", NS.PORTABLE_SCRAM, {"mechanism": mechanism}, [
        text_element("iter-count", NS.PORTABLE_SCRAM, str(keys.iterations)), encoded("salt", keys.salt),
        encoded("server-key", keys.server_key), encoded("stored-key", keys.stored_key),
    ])
