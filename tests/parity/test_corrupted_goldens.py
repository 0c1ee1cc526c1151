"""No check of the parity suite is idle: whichever array of a committed golden is spoilt, the check of it fails."""

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from golden_folder import COMMITTED, Golden, GoldenFolder, kind_of


def check_of(kind: str) -> Callable[[Golden], None]:
    """The first test of the file whose KIND this is."""
    for path in sorted(Path(__file__).parent.glob("test_parity_*.py")):
        module = importlib.import_module(path.stem)
        if kind == module.KIND:
            return next(value for name, value in vars(module).items() if name.startswith("test_"))
    raise AssertionError(f"no file of tests/parity checks the kind '{kind}'")


def spoilt(array: np.ndarray) -> np.ndarray:
    """Off by 1 % of the largest value; pictures are inverted, whole numbers one more."""
    if array.dtype == np.uint8:
        return 255 - array
    if np.issubdtype(array.dtype, np.integer):
        return array + 1
    return (array + 0.01 * np.abs(array).max()).astype(array.dtype)


def arrays_of_all_goldens() -> list[tuple[str, str]]:
    """(golden, array) of everything in the committed folder that is not empty."""
    shapes = {name: entry.get("arrays", {}) for name, entry in GoldenFolder(COMMITTED).manifest.items()}
    return [(name, key) for name, arrays in shapes.items() for key, (shape, _) in arrays.items() if 0 not in shape]


@pytest.mark.parametrize(("name", "array"), arrays_of_all_goldens())
def test_spoilt_array_fails(name: str, array: str, tmp_path: Path) -> None:
    entry = GoldenFolder(COMMITTED).manifest[name]
    shutil.copy(COMMITTED / "manifest.json", tmp_path)
    with np.load(COMMITTED / f"{name}.npz") as arrays:
        np.savez(tmp_path / f"{name}.npz", **{**arrays, array: spoilt(arrays[array])})
    kind = kind_of(entry)
    assert kind is not None
    with pytest.raises(AssertionError):
        check_of(kind)(GoldenFolder(tmp_path).golden(name))


def test_one_more_generated_column_fails(tmp_path: Path) -> None:
    manifest = json.loads((COMMITTED / "manifest.json").read_text())
    manifest["mouth_mask_256"]["rows"][200][0][1] += 1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AssertionError):
        check_of("mouth_mask")(GoldenFolder(tmp_path).golden("mouth_mask_256"))
