"""What can be answered without the networks is answered without importing them."""

import subprocess
import sys
from pathlib import Path

from configs.help import CONFIGS

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["infer", "train", *(f"{room}.{path.stem}" for room in ("data_prep", "eval") for path in
            sorted((CONFIGS / room).glob("*.yaml")))]  # fmt: skip
SLOW = {"torch", "lightning", "diffusers", "transformers", "pandas", "matplotlib", "mediapipe", "scipy.stats"}

ASK_ALL = """
import contextlib, io, runpy, sys
commands, slow = sys.argv[1].split(","), set(sys.argv[2].split(","))
for command in commands:
    for argument, told in (("--help", "Keys (key=value"), ("no_such_key=1", "unknown key 'no_such_key'")):
        sys.argv = [command, argument]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
            runpy.run_module(command, run_name="__main__", alter_sys=True)
        assert told in said.getvalue(), (command, argument, said.getvalue())
        assert not slow & sys.modules.keys(), (command, argument, slow & sys.modules.keys())
"""


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_and_an_unknown_key_are_answered_without_libraries_that_take_seconds_to_import() -> None:
    run(ASK_ALL, ",".join(COMMANDS), ",".join(SLOW))


def test_importing_the_package_imports_nothing_and_the_pipeline_no_network() -> None:
    run("import sys; import latentsync; assert not {'torch', 'numpy'} & sys.modules.keys()")
    run(
        "import sys; from latentsync.inference.pipeline import LipSyncPipeline;"
        "found = {'diffusers', 'transformers', 'torch._dynamo'} & sys.modules.keys(); assert not found, found"
    )
