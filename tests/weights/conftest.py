"""Small stand-ins with the real key tables: networks of the goldens' sizes, filled by formula."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def formula(goldens: Path) -> ModuleType:
    """The goldens' generator of weights and inputs from names."""
    spec = importlib.util.spec_from_file_location("formula", goldens / "formula.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def manifest(goldens: Path) -> dict[str, Any]:
    """Configurations and key tables of the goldens' networks."""
    return json.loads((goldens / "manifest.json").read_text())


@pytest.fixture(scope="session")
def golden_state(formula: ModuleType, manifest: dict[str, Any]) -> Any:
    """A function from a golden's name to its state dict."""

    def state(name: str) -> dict[str, Tensor]:
        filled = formula.weights(manifest[name]["state_dict"], manifest[name]["salt"])
        return {key: torch.from_numpy(value) for key, value in filled.items()}

    return state


@pytest.fixture(scope="session")
def key_table(shared: Path) -> Any:
    """A function from a table's name to meta tensors of the full-size network's shapes."""

    def table(name: str) -> dict[str, Tensor]:
        shapes = json.loads((shared / "goldens" / "state_dicts" / f"{name}.json").read_text())
        return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}

    return table
