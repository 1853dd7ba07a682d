"""The tables of a configuration that do not depend on the components there are: hosts, ports, storage, logs.

:mod:`xmppchat.core.config` puts them together with the limits and the components' options.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from xmppchat.core.secret import Secret
from xmppchat.jid import JID, InvalidJID

#: The least length of an external component's secret: who has it speaks for a whole domain (reliability.md V-29).
LEAST_SECRET = 32


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class HostConfig(Table):
    """A domain that is served here. After loading, its paths are absolute."""

    certificate: Path = Field(description="certificate chain in PEM format, the host's own certificate first")
    key: Path = Field(description="private key of the certificate in PEM format, without a passphrase")
    admins: tuple[JID, ...] = Field(default=(), description="addresses of the accounts that may administer this host")

    @field_validator("admins", mode="before")
    @classmethod
    def _parse_admins(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        admins = tuple(item if isinstance(item, JID) else JID.parse(str(item)) for item in value)
        for admin in admins:
            if not admin.local or admin.resource:
                raise ValueError(f"{str(admin)!r} is not an account's address; it looks like name@chat.example")
        return admins


class ExternalComponentConfig(Table):
    """A service at a domain of its own that connects to this server (XEP-0114)."""

    secret: Secret = Field(description="what proves that it is this component; it has to know it, too")
    name: str = Field(default="", max_length=200, description="what clients call it in the list of services")

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, value: Secret) -> Secret:
        if len(value.reveal()) < LEAST_SECRET:
            raise ValueError(
                f"the secret has fewer than {LEAST_SECRET} characters; make one by `openssl rand -hex 32`, and give it "
                f"to the component, too"
            )
        return value


class ListenConfig(Table):
    """Where clients connect, and external components."""

    addresses: tuple[str, ...] = Field(
        default=("::",),
        min_length=1,
        description='IP addresses to listen on; "::" is all of the machine, IPv4 included',
    )
    starttls_port: int = Field(default=5222, ge=0, le=65_535, description="port for clients, with STARTTLS; 0: off")
    direct_tls_port: int = Field(
        default=5223, ge=0, le=65_535, description="port for clients, with TLS from the first byte; 0: off"
    )
    component_addresses: tuple[str, ...] = Field(
        default=("127.0.0.1",), min_length=1,
        description="IP addresses on which external components connect; what they say is not encrypted",
    )  # fmt: skip
    component_port: int = Field(
        default=5347, ge=1, le=65_535, description="port for external components, open while one is configured"
    )

    @field_validator("addresses", "component_addresses")
    @classmethod
    def _check_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            try:
                ip_address(address)
            except ValueError:
                raise ValueError(
                    f'{address!r} is no IP address; one looks like "192.0.2.1", "2001:db8::1" or "::"'
                ) from None
        return value


class StorageConfig(Table):
    """The database. After loading, a path in the URL is absolute."""

    url: str = Field(
        default="sqlite:///xmppchat.db", repr=False,
        description="database: sqlite:///PATH, where a relative path counts from data_dir, or "
        "postgresql://USER:PASSWORD@HOST:PORT/DATABASE (?host=DIRECTORY for a Unix socket)",
    )  # fmt: skip
    password: Secret | None = Field(
        default=None, description="password of the database's user, so that it need not stand in the URL",
    )  # fmt: skip

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if not re.match(r"sqlite:///.|postgres(ql)?://.*/.", value):
            # It may hold a password, so it is not repeated.
            raise ValueError("this is neither sqlite:///PATH nor postgresql://USER@HOST/DATABASE")
        return value

    @property
    def shown_url(self) -> str:
        """The URL without a password, for people."""
        without = re.sub(r"^(postgres(?:ql)?://[^:@/?]*):.*@", r"\1:…@", self.url)
        return re.sub(r"([?&]password=)[^&]*", r"\1…", without)

    @property
    def full_url(self) -> str:
        """The URL with the password: for :meth:`Database.open`, never for a log."""
        if self.password is None or self.url.startswith("sqlite:"):
            return self.url
        parts = urlsplit(self.url)
        user, _, where = parts.netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}:{quote(self.password.reveal(), safe='')}@{where}"
        return urlunsplit(parts._replace(netloc=netloc))


class LoggingConfig(Table):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description='least severity that is logged; "debug" has a line per stanza, without contents',
    )
    format: Literal["console", "json"] = Field(
        default="console", description='"console" for people, "json" for programs: an object per line'
    )


class MetricsConfig(Table):
    """Figures for Prometheus."""

    port: int = Field(default=0, ge=0, le=65_535, description="port for GET /metrics, in plain HTTP; 0: off")
    address: str = Field(
        default="127.0.0.1", description="IP address of that port; whoever reaches it can read the figures"
    )

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        try:
            ip_address(value)
        except ValueError:
            raise ValueError(f'{value!r} is no IP address; one looks like "127.0.0.1" or "::1"') from None
        return value


def domain_of(name: str) -> str:
    """The domain that `name` is, prepared. Raises ValueError."""
    try:
        jid = JID.parse(name)
    except InvalidJID as error:
        raise ValueError(f"{name!r} is not a domain: {error}") from None
    if jid.local or jid.resource:
        raise ValueError(f"{name!r} is not a domain; one looks like chat.example")
    return jid.domain
