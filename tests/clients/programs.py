"""Foreign programs that may be missing on a developer's machine."""

from __future__ import annotations

import os
import shutil

import pytest


def need(*programs: str) -> None:
    """Skips the test where one of `programs` is missing; fails in CI, which must have them all."""
    for program in programs:
        if shutil.which(program) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{program} is missing: scripts/install-packages test", pytrace=False)
            pytest.skip(f"{program} is not installed")
