"""Fixtures that many test files share."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    # Here and not beside the parity suite: only a conftest that pytest reads first may add options.
    parser.addoption("--goldens", metavar="DIR", help="folder of goldens for tests/parity (default: tests/goldens)")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips, weights and goldens beside the checkout; tests that need it skip where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (real clips and weights), which is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The committed copies of the published system's answers."""
    return REPOSITORY / "tests" / "goldens"
