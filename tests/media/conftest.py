"""The goldens' input formulas, for tests of this folder."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def formula(goldens: Path) -> ModuleType:
    """tests/goldens/formula.py as a module."""
    spec = importlib.util.spec_from_file_location("golden_formula", goldens / "formula.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
