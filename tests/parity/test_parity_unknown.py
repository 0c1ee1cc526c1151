"""Goldens of a form that this suite does not know are named and skipped, never passed over in silence."""

import pytest
from golden_folder import Golden

KIND = None


def test_golden_is_of_a_known_kind(golden: Golden) -> None:
    pytest.skip(f"golden '{golden.name}': this suite knows no kind of golden of this form; add a check in tests/parity")
