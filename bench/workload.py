"""What a piece of work is, who does it, and which of its figures are reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.population import Population

PLAIN = ("xmppchat", "prosody", "prosody-tuned", "ejabberd")
"""Without an archive, as far as servers can be without."""
WITH_LIMITS = ("xmppchat", "xmppchat-limits", *PLAIN[1:])
ARCHIVING = (
    "xmppchat-archive",
    "xmppchat-postgresql",
    "prosody-archive",
    "prosody-sqlite",
    "ejabberd-archive",
    "ejabberd-sqlite",
)
ARCHIVE_RIVALS = ARCHIVING[2:]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the generator's answer, as the tables show it."""

    key: str
    title: str
    digits: int = 0
    more_is_better: bool = True
    aims: Mapping[str, float] = field(default_factory=dict)
    """By rival: the ratio xmppchat / rival that is aimed at, at least or (where less is better) at most."""
    limit: float | None = None
    """What xmppchat's own value shall be below (where less is better) or above, whatever the others do."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One piece of work that every server does."""

    name: str
    title: str
    text: str
    arguments: tuple[str, ...]
    quick_arguments: tuple[str, ...]
    main: tuple[Figure, ...]
    also: tuple[Figure, ...] = ()
    servers: tuple[str, ...] = PLAIN
    """Names of those that do it; the first one is ours, and has the aims."""
    rivals_do: str = ""
    """Name of the work that the others do, where they cannot do this: their figures are those; "": the same."""
    population: Population | None = None
    quick_population: Population | None = None
    """What is in the database from the beginning; None: accounts enough for any work that names none."""
    is_fresh: bool = False
    """The database is made again for each measurement, because the work fills it."""

    @property
    def ours(self) -> str:
        """Name of the server that the others are compared with."""
        return self.servers[0]


P50 = Figure("p50_ms", "p50 ms", 2, more_is_better=False)
P99 = Figure("p99_ms", "p99 ms", 2, more_is_better=False)
MESSAGES_WALL = Figure("msgs_per_s", "messages / s")


def sized(scenario: str, full: str, quick: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (scenario, *full.split()), (scenario, *quick.split())
