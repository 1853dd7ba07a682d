"""Tables: what the components declared, checked and frozen at start.

Two owners of one name, a missing service, a cycle, a stage order that cannot be: each is a :class:`DeclarationError`
with file and line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from xmppchat.core.component import (
    STANZA_KINDS,
    At,
    Component,
    Direction,
    Stage,
    Who,
    declarations,
)
from xmppchat.core.declarations import (
    CommandDeclaration,
    EventDeclaration,
    EveryDeclaration,
    InlineDeclaration,
    IqDeclaration,
    NonzaDeclaration,
    PresenceDeclaration,
    StageDeclaration,
)


class DeclarationError(Exception):
    """Components do not fit together; the message names file and line."""


@dataclass(frozen=True, slots=True)
class IqHandler:
    """Who answers an IQ request."""

    component: str
    method: Callable[..., Any]
    who: Who
    is_async: bool


@dataclass(frozen=True, slots=True)
class Tables:
    """Everything the kernel looks up while it runs."""

    #: By (at, type, namespace, name); at a domain of its own a component's name stands in place of `at`.
    iq: Mapping[tuple[At | str, str, str, str], IqHandler]
    presence: Mapping[tuple[Direction, str], Callable[..., None]]
    nonzas: Mapping[tuple[str, str], Callable[..., None]]  # by (namespace, name)
    inline: Mapping[tuple[str, str], Callable[..., Any]]  # features of Bind 2, by (namespace, name) of the wish
    inline_names: tuple[str, ...]  # as they are announced
    stages: Mapping[tuple[Stage, Direction], tuple[Callable[..., Any], ...]]
    events: Mapping[type, tuple[Callable[..., None], ...]]
    hooks: Mapping[Callable[..., Any], StageDeclaration]  # what hooks of stages are for
    every: tuple[tuple[float, Callable[..., Any]], ...]
    stage_names: tuple[tuple[str, str, tuple[str, ...]], ...]  # for `xmppchat stages`


def in_order(classes: Iterable[type[Component[Any]]]) -> list[type[Component[Any]]]:
    """The classes, providers before those that require them; alphabetical otherwise."""
    remaining = sorted(classes, key=lambda cls: cls.name)
    _refuse_twice(remaining, lambda cls: [cls.name], "the component name")
    _refuse_twice(remaining, lambda cls: cls.provides, "the service")
    provided = {service for cls in remaining for service in cls.provides}
    for cls in remaining:
        for service in cls.requires:
            if service not in provided:
                raise DeclarationError(f"{where(cls)}: component {cls.name} requires {service.__name__}, "
                                       f"which no loaded component provides")
    ordered: list[type[Component[Any]]] = []
    ready: set[type] = set()
    while remaining:
        # Services may need each other: they meet in setup(), after all are built; then the first by name goes first.
        satisfied = (c for c in remaining if all(s in ready or s in c.provides for s in c.requires))
        cls = next(satisfied, remaining[0])
        remaining.remove(cls)
        ready.update(cls.provides)
        ordered.append(cls)
    return ordered


def _refuse_twice(
    classes: Sequence[type[Component[Any]]], keys: Callable[[type[Component[Any]]], Iterable[Any]], what: str
) -> None:
    owners: dict[Any, type[Component[Any]]] = {}
    for cls in classes:
        for key in keys(cls):
            if key in owners:
                name = getattr(key, "__name__", key)
                raise DeclarationError(f"{where(cls)}: {what} {name} is taken by {where(owners[key])}")
            owners[key] = cls


def _check_restart_options(cls: type[Component[Any]]) -> None:
    for name in cls.restart_options:
        if name not in cls.Config.model_fields:
            raise DeclarationError(f"{where(cls)}: restart_options names {name!r}, which is no option of {cls.name}")


def build(components: Sequence[Component[Any]]) -> Tables:
    """The tables of `components`. Raises :class:`DeclarationError`."""
    iq: dict[tuple[At | str, str, str, str], IqHandler] = {}
    presence: dict[tuple[Direction, str], tuple[str, Callable[..., None]]] = {}
    nonzas: dict[tuple[str, str], Callable[..., None]] = {}
    inline: dict[tuple[str, str], Callable[..., Any]] = {}
    stages: dict[tuple[Stage, Direction], list[tuple[str, StageDeclaration, Callable[..., Any]]]] = {}
    events: dict[type, list[Callable[..., None]]] = {}
    every: list[tuple[float, Callable[..., Any]]] = []
    commands: dict[str, str] = {}
    for component in components:
        _check_restart_options(type(component))
        for method_name, declaration in declarations(type(component)):
            method = getattr(component, method_name)
            match declaration:
                case IqDeclaration():
                    handler = IqHandler(component.name, method, declaration.who, inspect.iscoroutinefunction(method))
                    for at in declaration.at:
                        place = component.name if at is At.DOMAIN and component.has_domains() else at
                        _claim(iq, (place, declaration.type, declaration.namespace, declaration.name), handler, method)
                case PresenceDeclaration():
                    for type_ in declaration.types:
                        _claim(presence, (declaration.direction, type_), (component.name, method), method)
                case NonzaDeclaration() | InlineDeclaration():
                    elements = nonzas if declaration.__class__ is NonzaDeclaration else inline
                    _claim(elements, (declaration.namespace, declaration.name), method, method)
                case StageDeclaration():
                    _check_stage(declaration, method)
                    hooks = stages.setdefault((declaration.stage, declaration.direction), [])
                    hooks.append((component.name, declaration, method))
                case EventDeclaration():
                    events.setdefault(declaration.event, []).append(method)
                case EveryDeclaration():
                    every.append((declaration.seconds, method))
                case CommandDeclaration():
                    _claim(commands, declaration.name, component.name, method)
    ordered = {key: _stage_order(key, hooks) for key, hooks in stages.items()}
    return Tables(
        iq=MappingProxyType(iq),
        presence=MappingProxyType({key: method for key, (_, method) in presence.items()}),
        nonzas=MappingProxyType(nonzas),
        inline=MappingProxyType(inline),
        inline_names=_announced(components),
        stages=MappingProxyType({key: tuple(method for _, method in hooks) for key, hooks in ordered.items()}),
        hooks=MappingProxyType({
            method: declaration for hooks in stages.values() for _, declaration, method in hooks
        }),
        events=MappingProxyType({event: tuple(methods) for event, methods in events.items()}),
        every=tuple(every),
        stage_names=tuple(
            (stage.value, direction.value, tuple(name for name, _ in ordered.get((stage, direction), ())))
            for stage in Stage for direction in Direction
        ),
    )


def _announced(components: Sequence[Component[Any]]) -> tuple[str, ...]:
    """What can be asked for with Bind 2, as it is announced."""
    found = (declaration for component in components for _, declaration in declarations(type(component)))
    return tuple(sorted({one.feature for one in found if isinstance(one, InlineDeclaration)}))


def _check_stage(declaration: StageDeclaration, method: Callable[..., Any]) -> None:
    """A hook that nobody would ever call is a mistake."""
    if declaration.direction is Direction.OUTBOUND and declaration.stage in _INBOUND_ONLY:
        raise DeclarationError(f"{where(method)}: the stage {declaration.stage.value} is of the recipient's side only")
    if declaration.only_with is not None and declaration.stage not in _FOR_SOME:
        raise DeclarationError(f"{where(method)}: 'only_with' is for the stages screen and observe")
    if declaration.kinds != STANZA_KINDS and declaration.stage in _INBOUND_ONLY:
        raise DeclarationError(f"{where(method)}: the stage {declaration.stage.value} has no 'kinds'")


_INBOUND_ONLY = frozenset({Stage.FALLBACK, Stage.OBSERVE})
_FOR_SOME = frozenset({Stage.SCREEN, Stage.OBSERVE})


def _claim(table: dict[Any, Any], key: Any, value: Any, method: Callable[..., Any]) -> None:
    if key in table:
        raise DeclarationError(f"{where(method)}: {key!r} is already declared by another method; "
                               "each request, presence type, nonza, wish and command has one owner")
    table[key] = value


def _stage_order(
    key: tuple[Stage, Direction], hooks: list[tuple[str, StageDeclaration, Callable[..., Any]]]
) -> list[tuple[str, Callable[..., Any]]]:
    remaining = sorted(hooks, key=lambda hook: hook[0])
    names = {name for name, _, _ in remaining}
    ordered: list[tuple[str, Callable[..., Any]]] = []
    while remaining:
        waiting = {name for name, _, _ in remaining}
        for hook in remaining:
            name, declaration, method = hook
            if not (set(declaration.after) & waiting - {name}):
                break
        else:
            cycle = ", ".join(sorted(names & waiting))
            place = where(remaining[0][2])
            raise DeclarationError(f"{place}: the order of stage {key[0].value} goes in a circle: {cycle}")
        remaining.remove(hook)
        ordered.append((name, method))
    return ordered


def where(thing: Any) -> str:
    """``file:line`` of a class or method, for messages."""
    target = inspect.unwrap(getattr(thing, "__func__", thing))
    try:
        return f"{inspect.getsourcefile(target)}:{inspect.getsourcelines(target)[1]}"
    except (OSError, TypeError):
        return repr(thing)
