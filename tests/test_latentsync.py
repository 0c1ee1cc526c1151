"""The package's own names: there when asked for, and nothing is loaded before."""

import subprocess
import sys

import pytest

import latentsync as ls


def test_every_name_is_what_it_says() -> None:
    for name in ls.__all__:
        assert getattr(ls, name).__name__ == name
        assert name in dir(ls)


def test_importing_the_package_loads_no_library() -> None:
    """Seconds would hang on the machine: what takes them is torch and all that stands on it."""
    script = (
        "import sys, latentsync; print([name for name in ('torch', 'numpy', 'diffusers', 'av') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'LipSync'; it has .*LipSyncPipeline"):
        _ = ls.LipSync
