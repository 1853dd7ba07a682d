"""Configuration: a TOML file checked against models, with all faults reported at once.

:func:`load_config` reads a file; ``ServerConfig.for_tests`` needs none. Options of components are the
``Config`` models of their classes. Relative paths count from the file they stand in, the database's from
``data_dir``.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import tomllib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, create_model, field_validator

from xmppchat.core import config_faults, toml_source
from xmppchat.core.component import Component, ComponentConfig
from xmppchat.core.config_faults import ConfigError, Fault
from xmppchat.core.config_tables import (
    ExternalComponentConfig,
    HostConfig,
    ListenConfig,
    LoggingConfig,
    MetricsConfig,
    StorageConfig,
    Table,
    domain_of,
)
from xmppchat.core.limits import Limits
from xmppchat.core.options import Option, check_described, find, options
from xmppchat.core.secret import Secret
from xmppchat.jid import JID

__all__ = [
    "ConfigError", "ExternalComponentConfig", "Fault", "HostConfig", "ListenConfig", "LoggingConfig", "MetricsConfig",
    "ServerConfig", "StorageConfig", "components_in", "explain", "load_config",
]  # fmt: skip

ConfigT = TypeVar("ConfigT", bound=ComponentConfig)


class _File(Table):
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
    external_components: dict[str, ExternalComponentConfig] = Field(
        default_factory=dict, max_length=1_000, description="services that connect to this server, by their domain",
        json_schema_extra={"placeholder": "DOMAIN"},
    )  # fmt: skip

    @field_validator("external_components")
    @classmethod
    def _prepare_components(
        cls, value: dict[str, ExternalComponentConfig], info: ValidationInfo
    ) -> dict[str, ExternalComponentConfig]:
        prepared = {domain_of(name): component for name, component in value.items()}
        if len(prepared) != len(value):
            raise ValueError("the same domain stands there twice, spelt differently")
        for name in prepared:
            if name in info.data.get("hosts", ()):
                raise ValueError(f"{name} is a host that is served here; a component needs a domain of its own, "
                                 f"such as service.{name}")
        return prepared

    @field_validator("hosts")
    @classmethod
    def _prepare_domains(cls, value: dict[str, HostConfig]) -> dict[str, HostConfig]:
        return {domain_of(name): host for name, host in value.items()}


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
    external_components: Mapping[str, ExternalComponentConfig] = field(default_factory=dict)
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
        external_components: Mapping[str, str] = MappingProxyType({}),
        **components: Mapping[str, object],
    ) -> ServerConfig:
        """A configuration without a file: ``for_tests(["a.example"], register={"mode": "open"})``.

        The limits are those of the test profile. Certificate and key need not exist for what opens no port. `admins`
        are addresses by domain, `external_components` secrets by domain.
        """
        return cls(
            data_dir=data_dir,
            hosts=MappingProxyType({
                domain_of(name): HostConfig(
                    certificate=certificate, key=key, admins=tuple(JID.parse(jid) for jid in admins.get(name, ()))
                )
                for name in domains
            }),
            storage=StorageConfig(url=_absolute_url(storage_url, data_dir)),
            limits=Limits(profile="test") if limits is None else limits,
            external_components={
                domain_of(name): ExternalComponentConfig(secret=Secret(text))
                for name, text in external_components.items()
            },
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
        file: Any = model.model_validate(values, context={"base": path.parent, "hosts": _hosts_in(values)})
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
        components = create_model("Components", __base__=Table, **tables)
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


def _hosts_in(values: Mapping[str, Any]) -> frozenset[str]:
    """The domains served here, for options that name one; what is no domain the model tells."""
    hosts = values.get("hosts")
    found = set()
    for name in hosts if isinstance(hosts, dict) else ():
        with contextlib.suppress(ValueError):
            found.add(domain_of(name))
    return frozenset(found)


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
        external_components=MappingProxyType(file.external_components),
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
