"""Settings for runs of the fault harness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faults.scenarios import Setting
from live_server import Certificates, make_certificates
from peers.postgresql import Postgresql


@pytest.fixture(scope="session")
def harness_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """One set for all runs."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def setting(tmp_path: Path, harness_certificates: Certificates) -> Callable[..., Setting]:
    """Makes a setting in the test's folder."""

    def make(seed: int, postgresql: Postgresql | None = None, mutant: str = "") -> Setting:
        return Setting(tmp_path, harness_certificates, seed, postgresql, mutant)

    return make
