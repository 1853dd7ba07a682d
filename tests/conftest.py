"""One option for every folder that can run the same tests against more than one server."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--server prosody` proves that the tests are right; without it they judge xmppchat."""
    parser.addoption(
        "--server",
        choices=("xmppchat", "prosody"),
        default="xmppchat",
        help="the server that tests/clients and tests/transcripts talk to (default: xmppchat)",
    )
