"""Declarations become tables, or an error that names file and line."""

from __future__ import annotations

from typing import Any, Protocol

import pytest

from xmppchat.components import BUILTIN
from xmppchat.core.account import AccountPart
from xmppchat.core.component import (
    ACCOUNT,
    INBOUND,
    OUTBOUND,
    SERVER,
    Component,
    ComponentConfig,
    IqRequest,
    Stage,
    iq_get,
    stage,
)
from xmppchat.core.pipeline import Passage
from xmppchat.core.tables import DeclarationError, build, in_order
from xmppchat.protocol.stanza import Stanza


class Weather(Protocol):
    """A service for these tests."""


class Base(Component[ComponentConfig]):
    def __init__(self) -> None:  # no kernel is needed to declare
        pass


class Alpha(Base):
    name = "alpha"

    @iq_get("urn:a", "a", at=SERVER | ACCOUNT)
    def answer(self, request: IqRequest) -> None:
        """Nothing."""

    @stage(Stage.SCREEN, INBOUND, after=("gamma",))
    def screen(self, passage: Passage) -> None:
        """Nothing."""


class Beta(Base):
    name = "beta"

    @iq_get("urn:a", "a", at=SERVER)
    def answer(self, request: IqRequest) -> None:
        """The same request as alpha's."""


class Gamma(Base):
    name = "gamma"

    @stage(Stage.SCREEN, INBOUND)
    def screen(self, passage: Passage) -> None:
        """Nothing."""


class Delta(Base):
    name = "delta"

    @stage(Stage.SCREEN, INBOUND, after=("alpha",))
    def screen(self, passage: Passage) -> None:
        """Nothing."""


class Circle(Base):
    name = "gamma"

    @stage(Stage.SCREEN, INBOUND, after=("alpha",))
    def screen(self, passage: Passage) -> None:
        """Waits for alpha, which waits for it."""


class Sanitiser(Base):
    name = "sanitiser"

    @stage(Stage.SANITISE, INBOUND, only_with=AccountPart("part", None, lambda account, rows: ()))
    def sanitise(self, passage: Passage) -> Stanza:
        """Cannot leave accounts out."""
        return passage.stanza


class Provider(Base):
    name = "provider"
    provides = (Weather,)


class Consumer(Base):
    name = "consumer"
    requires = (Weather,)


def test_a_request_is_found_at_each_scope() -> None:
    tables = build([Alpha()])
    assert set(tables.iq) == {(SERVER, "get", "urn:a", "a"), (ACCOUNT, "get", "urn:a", "a")}


def test_two_owners_of_one_request_are_refused() -> None:
    with pytest.raises(DeclarationError, match=r"test_tables\.py:\d+.*urn:a"):
        build([Alpha(), Beta()])


def test_stage_order_is_by_name_and_after() -> None:
    tables = build([Alpha(), Gamma(), Delta()])
    order = [method.__self__.name for method in tables.stages[Stage.SCREEN, INBOUND]]  # type: ignore[attr-defined]
    assert order == ["gamma", "alpha", "delta"]


def test_an_order_in_a_circle_is_refused() -> None:
    with pytest.raises(DeclarationError, match="circle: alpha, gamma"):
        build([Alpha(), Circle()])


def test_a_missing_service_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"test_tables\.py:\d+: component consumer requires Weather"):
        in_order([Consumer])


def test_providers_come_first() -> None:
    assert in_order([Consumer, Provider]) == [Provider, Consumer]


@pytest.mark.parametrize("twice", [[Gamma, Circle], [Provider, type("Second", (Provider,), {"name": "second"})]])
def test_a_name_or_service_is_taken_once(twice: list[type[Component[Any]]]) -> None:
    with pytest.raises(DeclarationError, match="is taken by"):
        in_order(twice)


def test_the_built_in_components_fit() -> None:
    assert {cls.name for cls in in_order(BUILTIN)} == {cls.name for cls in BUILTIN}


class Misplaced(Base):
    name = "misplaced"

    @stage(Stage.FALLBACK, OUTBOUND)
    def never(self, passage: Passage) -> None:
        """Nobody would call this."""


def test_only_a_screen_may_be_for_some_accounts() -> None:
    with pytest.raises(DeclarationError, match=r"test_tables\.py:\d+: 'only_with' is for"):
        build([Sanitiser()])


def test_a_stage_on_the_wrong_side_is_refused() -> None:
    with pytest.raises(DeclarationError, match="recipient's side only"):
        build([Misplaced()])


def test_options_for_the_start_have_to_exist() -> None:
    class Misspelt(Base):
        name = "misspelt"
        restart_options = ("quote",)

    with pytest.raises(DeclarationError, match=r"test_tables\.py:\d+: restart_options names 'quote'"):
        build([Misspelt()])
