"""A folder of goldens: its manifest, its arrays, and the formula that makes weights and inputs from names."""

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

COMMITTED = Path(__file__).resolve().parents[1] / "goldens"

# A kind of golden is told by the form of its manifest entry, never by its name.
KINDS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "unet": lambda entry: "down_block_types" in config_of(entry) and "output" in arrays_of(entry),
    "schedule": lambda entry: {"alphas_cumprod", "noisy", "clean_estimate"} <= set(arrays_of(entry)),
    "ddim": lambda entry: (
        {"unet", "steps", "guidance_scale"} <= set(config_of(entry)) and "latents" in arrays_of(entry)
    ),
    "stable_syncnet": lambda entry: {"audio_encoder", "visual_encoder"} <= set(config_of(entry)),
    "mel": lambda entry: "mel" in arrays_of(entry) and "seconds" in config_of(entry),
    "audio_tokens": lambda entry: "dims" in config_of(entry) and "tokens" in arrays_of(entry),
    "alignment": lambda entry: {"landmarks3", "matrices"} <= set(arrays_of(entry)),
    "mouth_mask": lambda entry: "rows" in entry,
    "trepa": lambda entry: "tubelet_size" in config_of(entry) and "features_real" in arrays_of(entry),
    "syncnet_v2": lambda entry: "vshift" in config_of(entry) and "mean_dists" in arrays_of(entry),
}


def config_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a manifest entry, {} where there is none."""
    return entry.get("config", {})


def arrays_of(entry: dict[str, Any]) -> dict[str, Any]:
    """Name → [shape, type] of the arrays of a manifest entry, {} where there are none."""
    return entry.get("arrays", {})


def kind_of(entry: dict[str, Any]) -> str | None:
    """The kind of a manifest entry, None = unknown to this suite."""
    return next((kind for kind, is_it in KINDS.items() if is_it(entry)), None)


@dataclass(frozen=True)
class GoldenFolder:
    """manifest.json, NAME.npz and formula.py in `path`; where formula.py is absent the committed one is taken."""

    path: Path

    @property
    def manifest(self) -> dict[str, Any]:
        return _manifest(self.path)

    @property
    def formula(self) -> ModuleType:
        own = self.path / "formula.py"
        return _module(own if own.is_file() else COMMITTED / "formula.py")

    def names(self, kind: str | None) -> list[str]:
        """The goldens of one kind, in the manifest's order; None = those of no known kind."""
        return [name for name, entry in self.manifest.items() if kind_of(entry) == kind]

    def golden(self, name: str) -> "Golden":
        return Golden(self, name)


@dataclass(frozen=True)
class Golden:
    """One entry of the manifest, with what belongs to it. salted_inputs: whether its salt goes into the inputs too."""

    folder: GoldenFolder
    name: str
    salted_inputs: bool = True

    @property
    def entry(self) -> dict[str, Any]:
        return self.folder.manifest[self.name]

    @property
    def config(self) -> dict[str, Any]:
        return config_of(self.entry)

    @property
    def salt(self) -> int:
        return self.entry.get("salt", 0)

    @property
    def input_salt(self) -> int:
        return self.salt if self.salted_inputs else 0

    @property
    def formula(self) -> ModuleType:
        return self.folder.formula

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The published system's answers."""
        with np.load(self.folder.path / f"{self.name}.npz") as arrays:
            return dict(arrays)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The formula's weights for this entry's key → shape table and salt."""
        arrays = self.formula.weights(self.entry["state_dict"], self.salt)
        return {key: torch.from_numpy(value) for key, value in arrays.items()}

    def tensor(self, name: str, *shape: int) -> Tensor:
        """The formula's input of this name and shape."""
        return torch.from_numpy(self.formula.tensor(name, shape, self.input_salt))


def under_either_reading(check: Callable[[Golden], None]) -> Callable[[Golden], None]:
    """A test that passes if `check` does with the salt in weights and inputs, or else in the weights alone.

    MANIFEST.md says that a salt goes into the weights, and not whether it goes into the inputs. No golden agrees by
    chance.
    """

    @wraps(check)
    def test(golden: Golden) -> None:
        try:
            check(golden)
        except AssertionError:
            if golden.salt == 0:
                raise
            check(replace(golden, salted_inputs=False))

    return test


def fill(network: nn.Module, weights: dict[str, Tensor], may_lack: str = "") -> nn.Module:
    """Load strictly and put into evaluation mode.

    may_lack: end of the names of fixed tables that a manifest does not list (positions); the network's own stay.
    """
    own = network.state_dict()
    fixed = {key: own[key] for key in own.keys() - weights.keys() if may_lack and key.endswith(may_lack)}
    network.load_state_dict({**fixed, **weights}, strict=True)
    return network.eval().requires_grad_(False)


def assert_close(
    ours: Tensor | np.ndarray, golden: np.ndarray, relative: float = 0.0, absolute: float = 0.0, what: str = ""
) -> None:
    """Same shape, finite, and every element within relative · (largest golden value) + absolute."""
    ours = np.asarray(ours.detach() if isinstance(ours, Tensor) else ours)
    assert ours.shape == golden.shape, f"{what}: shape {ours.shape}, the golden's is {golden.shape}"
    if golden.size == 0:
        return
    error = float(np.abs(ours.astype(np.float64) - golden).max())
    allowed = relative * float(np.abs(golden).max()) + absolute
    assert error <= allowed, f"{what}: differs by {error:.3g}, allowed {allowed:.3g}"


@cache
def _manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


@cache
def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_formula", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
