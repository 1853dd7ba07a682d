"""Configuration: a TOML file checked against models, with all faults reported at once.

:func:`load_config` reads a file; ``ServerConfig.for_tests`` needs none. Options of components are the
``Config`` models of their classes. Relative paths count from the file they stand in, the database's from
``data_dir``.
"""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from xmppchat.core import config_faults, toml_source
from xmppchat.core.component import Component, ComponentConfig
from xmppchat.core.config_faults import ConfigError, Fault
from xmppchat.core.limits import Limits
from xmppchat.core.options import Option, check_described, find, options
from xmppchat.core.secret import Secret
from xmppchat.jid import JID, InvalidJID

__all__ = [
    "ConfigError", "Fault", "HostConfig", "ListenConfig", "LoggingConfig", "MetricsConfig", "ServerConfig",
    "StorageConfig", "components_in", "explain", "load_config",
]  # fmt: skip

ConfigT = TypeVar("ConfigT", bound=ComponentConfig)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class HostConfig(_Table):
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


class ListenConfig(_Table):
    """Where clients connect."""

    addresses: tuple[str, ...] = Field(
        default=("::",),
        min_length=1,
        description='IP addresses to listen on; "::" is all of the machine, IPv4 included',
    )
    starttls_port: int = Field(default=5222, ge=0, le=65_535, description="port for clients, with STARTTLS; 0: off")
    direct_tls_port: int = Field(
        default=5223, ge=0, le=65_535, description="port for clients, with TLS from the first byte; 0: off"
    )

    @field_validator("addresses")
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


class StorageConfig(_Table):
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


class LoggingConfig(_Table):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description='least severity that is logged; "debug" has a line per stanza, without contents',
    )
    format: Literal["console", "json"] = Field(
        default="console", description='"console" for people, "json" for programs: an object per line'
    )


class MetricsConfig(_Table):
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


class _File(_Table):
    """The file as a whole, but for ``[components]``, which depends on the components there are."""

    data_dir: Path = Field(default=Path("data"), description="directory of everything the server writes")
    hosts: dict[str, HostConfig] = Field(
        min_length=1, description="the domains served here", json_schema_extra={"placeholder": "DOMAIN"}
    )
    listen: ListenConfig = ListenConfig()
    storage: StorageConfig = StorageConfig()
    limits: Limits = Limits()
    logging: LoggingConfig = LoggingConfig()
    metrics: MetricsConfig = MetricsConfig()

    @field_validator("hosts")
    @classmethod
    def _prepare_domains(cls, value: dict[str, HostConfig]) -> dict[str, HostConfig]:
        return {_domain(name): host for name, host in value.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The configuration of a server: checked, with absolute paths. The first of `hosts` is the default."""

    data_dir: Path
    hosts: Mapping[str, HostConfig]
    listen: ListenConfig = field(default_factory=ListenConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    limits: Limits = field(default_factory=Limits)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    #: The modules of ``[components] load``.
    load: tuple[str, ...] = ()
    #: Built-in components and those of the modules.
    component_classes: tuple[type[Component[Any]], ...] = ()
    #: The file this was read from.
    path: Path | None = None
    component_options: Mapping[str, Any] = field(default_factory=dict)
    #: The line of each option that the file sets.
    lines: Mapping[toml_source.Path, int] = field(default_factory=dict, repr=False)

    @property
    def control_socket(self) -> Path:
        """Where a running server takes commands."""
        return self.data_dir / "control.sock"

    def component(self, cls: type[Component[ConfigT]]) -> ConfigT:
        """The options of a component."""
        return cast(ConfigT, cls.Config.model_validate(self.component_options.get(cls.name, {})))

    def current(self, path: Sequence[str]) -> object:
        """The value of the option at `path`, such as ``("limits", "roster_items")``; None where there is none.

        It is for people: passwords are left out.
        """
        names = tuple(path)
        if names == ("storage", "url"):
            return self.storage.shown_url
        if names[:1] == ("components",):
            names = ("load",) if names == ("components", "load") else ("component_options", *names[1:])
        value: Any = self
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        return cast(object, value)

    def origin(self, path: Sequence[str]) -> str:
        """Where the option at `path` was set, as "FILE:LINE"; "" where its default applies."""
        line = self.lines.get(tuple(path))
        return f"{self.path}:{line}" if line else ""

    @classmethod
    def for_tests(
        cls,
        domains: Sequence[str] = ("chat.example",),
        *,
        data_dir: Path = Path("data"),
        storage_url: str = "sqlite:///xmppchat.db",
        limits: Limits | None = None,
        certificate: Path = Path("chat.pem"),
        key: Path = Path("chat.key"),
        admins: Mapping[str, Sequence[str]] = MappingProxyType({}),
        **components: Mapping[str, object],
    ) -> ServerConfig:
        """A configuration without a file: ``for_tests(["a.example"], register={"mode": "open"})``.

        The limits are those of the test profile. Certificate and key need not exist for what opens no port. `admins`
        are addresses by domain.
        """
        return cls(
            data_dir=data_dir,
            hosts=MappingProxyType({
                _domain(name): HostConfig(
                    certificate=certificate, key=key, admins=tuple(JID.parse(jid) for jid in admins.get(name, ()))
                )
                for name in domains
            }),
            storage=StorageConfig(url=_absolute_url(storage_url, data_dir)),
            limits=Limits(profile="test") if limits is None else limits,
            component_options=components,
        )


def load_config(path: Path, component_classes: Iterable[type[Component[Any]]]) -> ServerConfig:
    """Read the file at `path`. Raises :class:`ConfigError` with everything that is wrong with it."""
    path = path.absolute()
    text = _read(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, message = toml_source.syntax_fault(error, text)
        raise ConfigError([Fault(path, line, f"this is not TOML: {message}")]) from None
    lines = toml_source.find_lines(text)
    faults: list[Fault] = []
    classes = _with_loaded(tuple(component_classes), values, path, lines, faults)
    model = file_model(classes)
    try:
        file: Any = model.model_validate(values, context={"base": path.parent})
    except ValidationError as error:
        raise ConfigError(faults + config_faults.collect(error, model, path, lines)) from None
    if faults:
        raise ConfigError(faults)
    return _server_config(file, path, classes, lines)


def file_model(classes: Iterable[type[Component[Any]]]) -> type[BaseModel]:
    """The model of a whole file with the tables of `classes`. Raises DeclarationError."""
    tables: dict[str, Any] = {
        "load": (
            tuple[str, ...],
            Field(default=(), description="Python modules with further components to load"),
        ),
    }
    for cls in classes:
        check_described(cls.Config)
        if cls.Config.model_fields:
            tables[cls.name] = (cls.Config, Field(default_factory=cls.Config))
        else:
            tables[cls.name] = (_NoOptions, Field(default_factory=_NoOptions))
    with warnings.catch_warnings():
        # A component may be called as a method of pydantic's classes is ("register"): values are instance
        # attributes, which go first.
        warnings.filterwarnings("ignore", message="Field name .* shadows an attribute in parent")
        components = create_model("Components", __base__=_Table, **tables)
    model = create_model("File", __base__=_File, components=(components, Field(default_factory=components)))
    return cast(type[BaseModel], model)


def explain(classes: Iterable[type[Component[Any]]], key: str = "") -> list[Option]:
    """The options that `key` means; raises KeyError with a sentence if there are none (see `options.find`)."""
    return find(options(file_model(classes)), key)


def components_in(module: str) -> list[type[Component[Any]]]:
    """The components that a module of ``[components] load`` holds, its submodules' too. Raises what the import does."""
    return [
        member for member in vars(importlib.import_module(module)).values()
        if inspect.isclass(member) and issubclass(member, Component) and hasattr(member, "name")
        and f"{member.__module__}.".startswith(f"{module}.")
    ]  # fmt: skip


class _NoOptions(ComponentConfig):
    """A component without options: an empty table is allowed."""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = "there is no such file; make one by `xmppchat init DOMAIN`, or name yours by --config"
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        text = "is not UTF-8 text"
    raise ConfigError([Fault(path, 0, text)])


def _with_loaded(
    classes: tuple[type[Component[Any]], ...],
    values: dict[str, Any],
    path: Path,
    lines: dict[toml_source.Path, int],
    faults: list[Fault],
) -> tuple[type[Component[Any]], ...]:
    components = values.get("components")
    modules = components.get("load", ()) if isinstance(components, dict) else ()
    found = list(classes)
    for name in modules if isinstance(modules, list) else ():
        if not isinstance(name, str):
            continue  # the model says so
        try:
            new = components_in(name)
        except Exception as error:  # whatever a foreign module does at import
            problem = f"{name} cannot be imported: {error}"
        else:
            problem = "" if new else f"{name} holds no component"
            found += [cls for cls in new if cls not in found]
        if problem:
            line = toml_source.line_of(lines, ("components", "load"))
            faults.append(Fault(path, line, f"components.load: {problem}"))
    return tuple(found)


def _server_config(
    file: Any, path: Path, classes: tuple[type[Component[Any]], ...], lines: dict[toml_source.Path, int]
) -> ServerConfig:
    base = path.parent
    data_dir = base / file.data_dir
    hosts = {
        name: host.model_copy(update={"certificate": base / host.certificate, "key": base / host.key})
        for name, host in file.hosts.items()
    }
    return ServerConfig(
        data_dir=data_dir,
        hosts=MappingProxyType(hosts),
        listen=file.listen,
        storage=file.storage.model_copy(update={"url": _absolute_url(file.storage.url, data_dir)}),
        limits=file.limits,
        logging=file.logging,
        metrics=file.metrics,
        load=file.components.load,
        component_classes=classes,
        path=path,
        component_options=MappingProxyType(
            {cls.name: getattr(file.components, cls.name) for cls in classes if cls.Config.model_fields}
        ),
        lines=MappingProxyType(lines),
    )


def _absolute_url(url: str, data_dir: Path) -> str:
    prefix = "sqlite:///"
    if not url.startswith(prefix):
        return url
    return prefix + str(data_dir.absolute() / url.removeprefix(prefix))


def _domain(name: str) -> str:
    try:
        jid = JID.parse(name)
    except InvalidJID as error:
        raise ValueError(f"{name!r} is not a domain: {error}") from None
    if jid.local or jid.resource:
        raise ValueError(f"{name!r} is not a domain; one looks like chat.example")
    return jid.domain
