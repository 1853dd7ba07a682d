"""Contact addresses (XEP-0157) and where to look when the server is down (XEP-0455), in its disco#info.

Without any option, abuse and admin addresses are those of the host's admins: who runs a server can be reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, field_validator

from xmppchat.core.component import SERVER, At, Component, ComponentConfig, Xep
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.forms import Field as FormField
from xmppchat.protocol.forms import Form, form_type
from xmppchat.protocol.namespaces import NS

#: What has addresses, in the order of XEP-0157 §6.1.
_SUBJECTS = ("abuse", "admin", "feedback", "sales", "security", "status", "support")
#: Characters of a localpart that need no escaping in an XMPP URI (RFC 5122 §2.2: nodeid).
_LOCAL_SAFE = "!$()*+,;=[\\]^`{|}~-._"
_EXAMPLE = 'an address looks like "mailto:abuse@example.org", "xmpp:admin@example.org" or "https://example.org/help"'


def _addresses(description: str) -> Any:
    return Field((), max_length=20, description=description)


class ContactAddressesConfig(ComponentConfig):
    """Options of the contact addresses: URIs, ``mailto:``, ``xmpp:`` or ``https:``."""

    abuse: tuple[str, ...] = _addresses("where to report spam and abuse, as URIs; empty: the host's admins")
    admin: tuple[str, ...] = _addresses("where to reach the admins, as URIs; empty: the host's admins")
    feedback: tuple[str, ...] = _addresses("where to tell what one thinks of the service, as URIs")
    sales: tuple[str, ...] = _addresses("where to ask about prices and contracts, as URIs")
    security: tuple[str, ...] = _addresses("where to report a vulnerability, as URIs")
    status: tuple[str, ...] = _addresses("where to read how the service is, as URIs")
    support: tuple[str, ...] = _addresses("where to find help, as URIs")
    external_status: tuple[str, ...] = _addresses(
        "files in the format of XEP-0455 on another machine, which tell clients of an outage, as https: URIs"
    )

    @field_validator(*_SUBJECTS)
    @classmethod
    def _check(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for uri in value:
            if not _is_contact(uri):
                raise ValueError(f"{uri!r} is no address; {_EXAMPLE}")
        return value

    @field_validator("external_status")
    @classmethod
    def _check_status(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for uri in value:
            if not _is_web(uri):
                raise ValueError(f'{uri!r} is no address; one looks like "https://status.example.org/outage.json"')
        return value


class ContactAddresses(Component[ContactAddressesConfig]):
    """Forms in the server's disco#info (XEP-0157 §3, XEP-0455 §2.1)."""

    name = "contact_addresses"
    implements = (Xep(157, "1.1.1"), Xep(455, "0.4.0", note="the address of the file; the file is the admin's"))
    Config = ContactAddressesConfig

    def disco_forms(self, at: At, domain: str) -> Sequence[Element]:
        """See :class:`Component`."""
        if at is not SERVER:
            return ()
        contacts = {f"{subject}-addresses": self._uris(subject, domain) for subject in _SUBJECTS}
        forms = {NS.SERVER_INFO: contacts, NS.OUTAGE_STATUS: {"external-status-addresses": self.config.external_status}}
        return [_form(name, fields) for name, fields in forms.items() if any(fields.values())]

    def _uris(self, subject: str, domain: str) -> tuple[str, ...]:
        uris: tuple[str, ...] = getattr(self.config, subject)
        if uris or subject not in ("abuse", "admin"):
            return uris
        return tuple(f"xmpp:{_escaped(admin)}" for admin in self.kernel.config.hosts[domain].admins)


def _form(name: str, fields: Mapping[str, tuple[str, ...]]) -> Element:
    lists = (FormField(var, "list-multi", uris) for var, uris in fields.items() if uris)
    return Form("result", (form_type(name), *lists)).to_element()


def _escaped(jid: JID) -> str:
    """A bare JID as RFC 5122 §2.2 writes it."""
    return f"{quote(jid.local, safe=_LOCAL_SAFE)}@{jid.domain}"


def _is_contact(uri: str) -> bool:
    scheme, _, rest = uri.partition(":")
    if not uri.isprintable() or " " in uri:
        return False
    match scheme.lower():
        case "mailto":
            local, _, domain = rest.partition("?")[0].rpartition("@")
            return bool(local) and bool(domain)
        case "xmpp":
            try:
                return bool(JID.parse(unquote(rest.partition("?")[0])).domain)
            except InvalidJID:
                return False
    return _is_web(uri)


def _is_web(uri: str) -> bool:
    if not uri.isprintable() or " " in uri:
        return False
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname)


__all__ = ["ContactAddresses"]
