"""The parity suite: every golden of a manifest against this repository. `pytest tests/parity --goldens DIR`.

Each test file checks one kind of golden; its KIND says which, and its test is run once for every golden of that kind.
"""

from pathlib import Path

import pytest
from golden_folder import COMMITTED, GoldenFolder


def golden_folder(config: pytest.Config) -> GoldenFolder:
    """The folder that `--goldens` names, by default the committed one."""
    given = config.getoption("--goldens")
    path = COMMITTED if given is None else Path(config.invocation_params.dir, given).resolve()
    if not (path / "manifest.json").is_file():
        raise pytest.UsageError(f"--goldens {path}: no manifest.json there; give a folder with one, or leave it out")
    return GoldenFolder(path)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `--goldens` the checks run, and not the tests of the checks, which are of the committed goldens."""
    is_test_of_checks = collection_path.suffix == ".py" and not collection_path.name.startswith("test_parity_")
    return True if is_test_of_checks and config.getoption("--goldens") is not None else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden" in metafunc.fixturenames:
        folder = golden_folder(metafunc.config)
        names = folder.names(metafunc.module.KIND)
        metafunc.parametrize("golden", [folder.golden(name) for name in names], ids=names)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    folder = golden_folder(config)
    unknown = folder.names(None)
    known = [name for name in folder.manifest if name not in unknown]
    terminalreporter.section(f"goldens in {folder.path}")
    terminalreporter.line(f"known ({len(known)}): {', '.join(known) or 'none'}")
    terminalreporter.line(f"not known ({len(unknown)}): {', '.join(unknown) or 'none'}")
