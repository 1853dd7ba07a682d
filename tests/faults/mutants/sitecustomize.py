"""Plants the defect that XC_MUTANT names into the server of this process; loaded by Python itself, from PYTHONPATH.

It exists so that the fault harness can prove that it finds such defects. Nothing of it is in the package.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType


class _Planter(importlib.abc.MetaPathFinder):
    """Changes a module right after it was loaded."""

    def __init__(self, patches: dict[str, Callable[[ModuleType], None]]) -> None:
        self._patches = patches

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's own spec, with a loader that changes it afterwards."""
        patch = self._patches.pop(name, None)
        if patch is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            patch(module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


if os.environ.get("XC_MUTANT"):
    from planted import PATCHES, POISONS

    sys.meta_path.insert(0, _Planter(dict([{**PATCHES, **POISONS}[os.environ["XC_MUTANT"]]])))
