"""Fixtures that many test files share."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clean_process import Forker

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    # Here and not beside the parity suite: only a conftest that pytest reads first may add options.
    parser.addoption("--thorough", action="store_true", help="all cases of the tests that try a few by default")
    parser.addoption("--goldens", metavar="DIR", help="folder of goldens for tests/parity (default: tests/goldens)")


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether all cases are wanted of tests that try a few by default."""
    return request.config.getoption("--thorough")


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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium driven by selenium; tests that need it skip where there is none."""
    paths = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in paths:
        pytest.skip("needs chromium and chromedriver (Debian: apt install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(paths[0])
    switches = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
    switches += " disable-component-update disable-sync window-size=1300,1000"
    switches += f" user-data-dir={tmp_path_factory.mktemp('browser')}"
    for switch in switches.split():
        options.add_argument(f"--{switch}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(paths[1])))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """Starts processes that may be killed."""
    with Forker() as started:
        yield started
