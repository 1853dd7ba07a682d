"""Reload: what differs between two configurations, and what of it a running server can take.

:func:`plan` is pure; :meth:`xmppchat.core.kernel.Kernel.reconfigure` and the server carry it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from xmppchat.core.config import ExternalComponentConfig, HostConfig, ServerConfig
from xmppchat.core.options import dotted

#: Tables and options at the top that a running server keeps: its sockets, its database, the code that it loaded.
RESTART = ("data_dir", "listen", "metrics", "storage")

#: Tables with a table for each domain.
_BY_DOMAIN = ("hosts", "external_components")

_Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a reload does: `config` holds from then on; `changed` are new in it, `restart` as before."""

    config: ServerConfig
    changed: tuple[str, ...]
    restart: tuple[str, ...]


def plan(old: ServerConfig, new: ServerConfig) -> Plan:
    """How to come from `old`, which a server runs with, to `new`."""
    before, after = dict(_options(old)), dict(_options(new))
    different = [path for path in {**before, **after} if before.get(path) != after.get(path)]
    restart: dict[str, None] = {}
    changed: dict[str, None] = {}
    for path in different:
        # A domain that comes or goes is named as a whole: a certificate alone is of no use.
        name = dotted(path[:2] if path[0] in _BY_DOMAIN and _is_of_one(path, old, new) else path)
        (restart if _needs_restart(path, old, new) else changed)[name] = None
    return Plan(_merged(old, new), tuple(changed), tuple(restart))


def _options(config: ServerConfig) -> Iterator[tuple[_Path, object]]:
    """Every option with its value."""
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, BaseModel):
            yield from _of_model((field.name,), value)
    yield ("data_dir",), config.data_dir
    yield ("components", "load"), config.load
    for name, host in config.hosts.items():
        yield from _of_model(("hosts", name), host)
    for name, component in config.external_components.items():
        yield from _of_model(("external_components", name), component)
    for cls in config.component_classes:
        yield from _of_model(("components", cls.name), config.component(cls))


def _of_model(path: _Path, model: BaseModel) -> Iterator[tuple[_Path, object]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _of_model((*path, name), value)
        else:
            yield (*path, name), value


def _is_of_one(path: _Path, old: ServerConfig, new: ServerConfig) -> bool:
    """Whether the domain of `path` stands in one of the two only."""
    return (path[1] in getattr(old, path[0])) != (path[1] in getattr(new, path[0]))


def _needs_restart(path: _Path, old: ServerConfig, new: ServerConfig) -> bool:
    if path[0] == "hosts":
        return path[1] not in old.hosts or path[1] not in new.hosts
    if path[0] == "external_components":
        return path[1] in old.hosts  # served here until then
    if path[0] == "components":
        owner = next((cls for cls in old.component_classes if cls.name == path[1]), None)
        return owner is None or path[2] in owner.restart_options
    return path[0] in RESTART


def _merged(old: ServerConfig, new: ServerConfig) -> ServerConfig:
    """`new`, with the values of `old` where only a restart can bring others."""
    hosts: dict[str, HostConfig] = {name: new.hosts.get(name, host) for name, host in old.hosts.items()}
    external: dict[str, ExternalComponentConfig] = {
        name: component for name, component in new.external_components.items() if name not in hosts
    }
    components: dict[str, Any] = {}
    for cls in old.component_classes:
        if cls.Config.model_fields:
            running, wanted = old.component(cls), new.component(cls)
            kept = {name: getattr(running, name) for name in cls.restart_options}
            components[cls.name] = wanted.model_copy(update=kept)
    kept_options: dict[str, Any] = {name: getattr(old, name) for name in RESTART}
    return replace(
        new, **kept_options, hosts=MappingProxyType(hosts), external_components=MappingProxyType(external),
        load=old.load, component_classes=old.component_classes, component_options=MappingProxyType(components),
    )
