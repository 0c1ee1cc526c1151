"""Pickled arrays are read as data: equal to what was pickled, and nothing else in such a file is tolerated."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import UserError
from latentsync.weights.numpy_pickle import read_numpy_pickle


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", ">f4"])
def test_arrays_equal_what_was_pickled(dtype: str, tmp_path: Path) -> None:
    tree = {
        "net": {"kernel": np.arange(24, dtype=dtype).reshape(2, 3, 4), "bias": np.ones(300, dtype)},
        "columns": np.asfortranarray(np.arange(6, dtype=dtype).reshape(2, 3)),
    }
    path = tmp_path / "arrays.ckpt"
    path.write_bytes(pickle.dumps(tree, protocol=3))
    read = read_numpy_pickle(path)
    np.testing.assert_array_equal(read["net"]["kernel"], tree["net"]["kernel"])
    np.testing.assert_array_equal(read["net"]["bias"], tree["net"]["bias"])
    np.testing.assert_array_equal(read["columns"], tree["columns"])


class Run:
    """Unpickled by Python, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return (os.mkdir, (self.path,))


def test_code_objects_and_damage_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    path, trace = tmp_path / "arrays.ckpt", tmp_path / "executed"
    whole = pickle.dumps({"a": np.ones(500)}, protocol=3)
    hostile = [
        pickle.dumps({"a": np.ones(3), "b": Run(trace)}, protocol=3),
        pickle.dumps({"a": np.array([Run(trace)], dtype=object)}, protocol=3),
        pickle.dumps({"a": 3}, protocol=3),
        whole[: len(whole) // 2],
        b"",
        b"no pickle at all",
    ]
    for content in hostile:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"arrays\.ckpt"):
            read_numpy_pickle(path)
    assert not trace.exists()
