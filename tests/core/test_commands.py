"""Commands: from a signature to a specification, and from JSON to a call."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import pytest

from xmppchat.core.callers import Caller
from xmppchat.core.commands import CommandError, Parameter, command_specs, execute, plain, validate
from xmppchat.core.component import Component, ComponentConfig, command
from xmppchat.core.events import CommandExecuted
from xmppchat.core.secret import Secret
from xmppchat.core.tables import DeclarationError
from xmppchat.jid import JID


class Colour(Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Painter(Component[ComponentConfig]):
    """Paints."""

    name = "painter"

    @command("wall paint")
    async def paint(
        self,
        wall: Annotated[str, Parameter("which wall")],
        key: Annotated[str, Parameter("key of the house", secret=True)],
        colour: Annotated[Colour, Parameter("its colour")] = Colour.RED,
        coats: Annotated[int, Parameter("how often")] = 1,
        wet: Annotated[bool, Parameter("on wet plaster")] = False,
        plan: Annotated[Path | None, Parameter("a drawing")] = None,
    ) -> list[object]:
        """Paint a wall.

        It takes a while.
        """
        return [wall, key, colour.value, coats, wet, None if plan is None else plan.name]


CALLER = Caller("admin@x.example", frozenset({"x.example"}), is_operator=True)


def painter() -> Component[Any]:
    return Painter(cast(Any, None), ComponentConfig())


async def run(
    components: list[Component[Any]], name: str, arguments: dict[str, object], told: list[object] | None = None
) -> object:
    """Runs a command of `components`; `told` gets the events."""
    kernel = SimpleNamespace(components=components, emit=[].append if told is None else told.append)
    return await execute(cast(Any, kernel), name, arguments, CALLER)


async def test_every_run_is_told_without_secrets() -> None:
    told: list[object] = []
    await run([painter()], "wall paint", {"wall": "north", "key": "k"}, told)
    with pytest.raises(CommandError):
        await run([painter()], "wall paint", {"wall": "north", "key": 1, "keey": "k"}, told)
    assert told == [
        CommandExecuted("admin@x.example", "wall paint", {"wall": "north"}, ""),
        CommandExecuted(
            "admin@x.example", "wall paint", {"wall": "north"},
            "wall paint: there is no parameter 'keey'\nwall paint: key: text is wanted", changes=False,
        ),
    ]


def test_a_signature_is_the_specification() -> None:
    spec = command_specs([Painter])["wall paint"]
    assert spec.help == "Paint a wall."
    assert spec.words == ("wall", "paint")
    assert [(p.name, p.type, p.secret, p.is_required, p.default) for p in spec.parameters] == [
        ("wall", str, False, True, None),
        ("key", str, True, True, None),
        ("colour", Colour, False, False, Colour.RED),
        ("coats", int, False, False, 1),
        ("wet", bool, False, False, False),
        ("plan", Path, False, False, None),
    ]


async def test_execute_converts_what_json_says() -> None:
    arguments = {"wall": "north", "key": "k", "colour": "blue", "coats": 2, "wet": True, "plan": "/a/b.png"}
    assert await run([painter()], "wall paint", arguments) == ["north", "k", "blue", 2, True, "b.png"]


async def test_defaults() -> None:
    given = {"wall": "north", "key": "k"}
    assert await run([painter()], "wall paint", given) == ["north", "k", "red", 1, False, None]


async def test_an_unknown_command_brings_a_suggestion() -> None:
    with pytest.raises(CommandError, match="did you mean 'wall paint'"):
        await run([painter()], "wall pain", {})


def test_all_faults_of_arguments_at_once_and_never_a_secret() -> None:
    spec = command_specs([Painter])["wall paint"]
    with pytest.raises(CommandError) as caught:
        validate(spec, {"key": 4711, "colour": "green", "coats": True, "wet": "yes", "size": 1})
    lines = str(caught.value).splitlines()
    assert lines == [
        "wall paint: there is no parameter 'size'",
        "wall paint: wall is missing (which wall)",
        "wall paint: key: text is wanted",
        "wall paint: colour: one of red, blue is wanted",
        "wall paint: coats: a whole number is wanted",
        "wall paint: wet: true or false is wanted",
    ]


@dataclass(frozen=True)
class Wall:
    """A row of a result."""

    owner: JID
    colour: Colour


class Builder(Component[ComponentConfig]):
    """Builds."""

    name = "builder"

    @command("wall build")
    async def build(self, owner: Annotated[JID, Parameter("whose")]) -> list[Wall]:
        """Build a wall."""
        return [Wall(owner, Colour.BLUE)]


async def test_addresses_are_prepared_and_results_are_what_json_can_say() -> None:
    builder = Builder(cast(Any, None), ComponentConfig())
    assert await run([builder], "wall build", {"owner": "Me@x.example"}) == [
        {"owner": "me@x.example", "colour": "blue"}
    ]
    with pytest.raises(CommandError, match=r"wall build: owner: .* is not an address"):
        await run([builder], "wall build", {"owner": "a b@x.example"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [((1, None, True), [1, None, True]), ({"a": Path("/b")}, {"a": "/b"}), (Secret("s", "env X"), "Secret(env X)")],
)
def test_plain(value: object, expected: object) -> None:
    assert plain(value) == expected


def test_a_parameter_without_help_is_refused() -> None:
    class Mute(Component[ComponentConfig]):
        name = "mute"

        @command("mute")
        async def mute(self, wall: str) -> None:
            """Say nothing."""

    with pytest.raises(DeclarationError, match=r"test_commands\.py:\d+: command 'mute': wall needs"):
        command_specs([Mute])


def test_a_type_that_no_command_line_has_is_refused() -> None:
    class Odd(Component[ComponentConfig]):
        name = "odd"

        @command("odd")
        async def odd(self, walls: Annotated[dict[str, int], Parameter("walls")]) -> None:
            """Be odd."""

    with pytest.raises(DeclarationError, match="walls may be str"):
        command_specs([Odd])


def test_a_command_needs_help_and_a_coroutine() -> None:
    class Silent(Component[ComponentConfig]):
        name = "silent"

        @command("silent")
        async def silent(self) -> None:
            pass

    class Plain(Component[ComponentConfig]):
        name = "plain"

        @command("plain")
        def plain(self) -> None:
            """Not async."""

    with pytest.raises(DeclarationError, match="needs a docstring"):
        command_specs([Silent])
    with pytest.raises(DeclarationError, match="coroutine method"):
        command_specs([Plain])


def test_two_owners_of_a_name_are_refused() -> None:
    class Rival(Component[ComponentConfig]):
        name = "rival"

        @command("wall paint")
        async def paint(self) -> None:
            """Paint it, too."""

    with pytest.raises(DeclarationError, match="'wall paint' is declared by painter, too"):
        command_specs([Painter, Rival])
