"""What every folder may use: the option that picks a server to test, and a PostgreSQL."""

from collections.abc import Iterator

import pytest
from peers.postgresql import Postgresql, private_postgresql, require


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--server prosody` proves that the tests are right; without it they judge xmppchat."""
    parser.addoption(
        "--server",
        choices=("xmppchat", "prosody"),
        default="xmppchat",
        help="the server that tests/clients and tests/transcripts talk to (default: xmppchat)",
    )


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL of our own for the whole run, started when a test first asks for it."""
    require()
    with private_postgresql() as server:
        yield server
