"""Are the tests tests? Small changes are planted in the code, one at a time, and those that no test notices are listed.

`make mutants`, or `python tests/mutants.py --num 300 --seed 0`. A line of the code is drawn for each mutant, and one
of the changes that Cosmic Ray's operators can make there. Only the module's own test files run, with those of the
wiring around it, in a process of their own with a time limit, in a copy of the repository. Before, all of them must
pass unchanged.
"""

import argparse
import difflib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
MUTATED = ("diffusion/*.py", "losses/*.py", "training/**/*.py", "inference/*.py", "data/windows.py", "face/*.py")
COPIED = ("latentsync", "tests", "configs", "eval", "data_prep", "benchmarks", "pyproject.toml", "train.py", "infer.py")
# Tests of what passes from one module to the next.
WIRING = {
    "training": ["tests/training/test_step.py"],
    "inference": ["tests/inference/test_generator.py", "tests/inference/test_pipeline.py"],
}
AROUND = {"diffusion": "training", "losses": "training", "data": "training", "face": "inference"}
HEAVY = (
    "torch",
    "torchvision",
    "lightning.pytorch",
    "diffusers",
    "transformers",
    "peft",
    "cv2",
    "av",
    "scipy.signal",
    "pytest",
)
# `X | None` is an annotation nearly always; `==` and `is` do not differ for small numbers and names.
POINTLESS = re.compile(r"BinaryOperator_BitOr|ComparisonOperator_(Eq|NotEq)_Is|ComparisonOperator_Is(Not)?_(Eq|NotEq)$")
LOG = "log"  # what pytest says, of the latest run
KILLED, SURVIVED, TOO_LONG, NO_TESTS = "killed", "survived", "too long", "no tests"
OUTCOMES = {0: SURVIVED, 1: KILLED, 2: KILLED, 3: KILLED, 5: NO_TESTS}  # of pytest's exit codes


@dataclass(frozen=True)
class Mutant:
    """occurrence: of all places in the module where the operator fits; line: where it is; change: of the code."""

    module: str
    operator: str
    occurrence: int
    line: int
    change: str = ""
    outcome: str = ""
    seconds: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, run, write the tables; exit code 1 when less than `--least` of the mutants were noticed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=300, help="mutants (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--only", default="", help="modules whose path matches, such as 'diffusion/|losses/'")
    parser.add_argument("--own", action="store_true", help="without the tests of the wiring")
    parser.add_argument("--limit", type=int, default=180, help="processor seconds for a mutant's tests (default: 180)")
    parser.add_argument("--least", type=float, default=0.85, help="share to be noticed (default: 0.85)")
    parser.add_argument("--output", type=Path, default=Path("runs/mutants"), help="folder (default: runs/mutants)")
    given = parser.parse_args(arguments)
    drawn = draw(given.num, given.seed, given.only)
    for name in HEAVY:  # once, here, for all the forked processes
        __import__(name)
    sys.dont_write_bytecode = True  # a mutant of the same second and size would be taken for its original
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not without what it started
    done: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        tree = copy_of_repository(Path(scratch))
        tests = {mutant.module: tests_of(mutant.module, not given.own) for mutant in drawn}
        files = sorted({file for found in tests.values() for file in found})
        if outcome_of(files, tree, given.limit * len(files)) != SURVIVED:
            print(
                (tree.parent / LOG).read_text()[-3000:],
                f"error: the tests of {given.only or 'all'} fail unchanged",
                sep="\n",
            )
            return 2
        for number, mutant in enumerate(drawn, start=1):
            done.append(tried(mutant, tests[mutant.module], tree, given.limit))
            print(
                f"{number}/{len(drawn)} {done[-1].outcome:9} {mutant.module}:{mutant.line} {mutant.operator}",
                flush=True,
            )
            write_tables(done, given.output)
    share = noticed(done)
    print(f"{share:.1%} of {len(done)} noticed; survivors in {given.output / 'survivors.md'}")
    return int(share < given.least)


def draw(num: int, seed: int, only: str = "") -> list[Mutant]:
    """Lines at random, no line twice (a table of numbers is one claim), and one of the changes that fit there; sorted
    by module and line."""
    lines: dict[tuple[str, int], list[Mutant]] = {}
    for pattern in MUTATED:
        for path in sorted((REPOSITORY / "latentsync").glob(pattern)):
            module = path.relative_to(REPOSITORY).as_posix()
            if re.search(only, module):
                for mutant in mutants_of(module, path.read_text(encoding="utf-8")):
                    lines.setdefault((module, mutant.line), []).append(mutant)
    chance = random.Random(seed)
    chosen = chance.sample(sorted(lines), min(num, len(lines)))
    return [chance.choice(lines[line]) for line in sorted(chosen)]


def mutants_of(module: str, code: str) -> Iterator[Mutant]:
    """Everything that can be changed in a module."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.operators.provider import OperatorProvider

    nodes = list(ast_nodes(get_ast(code)))
    provider = OperatorProvider()
    for name in provider:
        if POINTLESS.search(name) or provider[name].arguments():
            continue
        positions = [position for node in nodes for position in provider[name]().mutation_positions(node)]
        for occurrence, (start, _) in enumerate(positions):
            yield Mutant(module, name, occurrence, start[0])


def mutated(code: str, mutant: Mutant) -> str:
    """The module's code with the mutant in it."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.operators.provider import OperatorProvider

    return mutate_code(code, OperatorProvider()[mutant.operator](), mutant.occurrence)


def copy_of_repository(scratch: Path) -> Path:
    """A tree to plant mutants in; what is large is linked."""
    tree = scratch / "repository"
    tree.mkdir()
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    (tree / "checkpoints").symlink_to(REPOSITORY / "checkpoints")
    if (REPOSITORY.parent / "shared").is_dir():
        (scratch / "shared").symlink_to(REPOSITORY.parent / "shared")
    return tree


def tests_of(module: str, wiring: bool) -> list[str]:
    """The module's own test files; without any, those of the modules that use it; then, if wanted, the wiring's."""
    room = Path(module).parts[1]
    found = own_tests(module) or [test for user in importing(module, "latentsync") for test in own_tests(user)]
    return list(dict.fromkeys([*found, *(WIRING[AROUND.get(room, room)] if wiring else [])]))


def own_tests(module: str) -> list[str]:
    """The test file of a module's name; without one, those of its room that import it."""
    room = Path(module).parts[1]
    named = f"tests/{room}/test_{Path(module).stem}.py"
    if (REPOSITORY / named).is_file():
        return [named]
    return [path for path in importing(module, f"tests/{room}") if Path(path).name.startswith("test_")]


def importing(module: str, folder: str) -> list[str]:
    """The files below `folder` that import a module, as paths in the repository."""
    dotted = re.escape(".".join(Path(module).with_suffix("").parts))
    wanted = re.compile(rf"(from|import) {dotted}\b")
    found = sorted((REPOSITORY / folder).rglob("*.py"))
    return [
        path.relative_to(REPOSITORY).as_posix() for path in found if wanted.search(path.read_text(encoding="utf-8"))
    ]


def tried(mutant: Mutant, tests: list[str], tree: Path, limit: int) -> Mutant:
    """The mutant with its change, and with what its tests made of it."""
    path = tree / mutant.module
    original = path.read_text(encoding="utf-8")
    planted = mutated(original, mutant)
    lines = difflib.unified_diff(original.splitlines(), planted.splitlines(), lineterm="", n=0)
    change = "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))
    path.write_text(planted, encoding="utf-8")
    began = time.monotonic()
    try:
        outcome = outcome_of(tests, tree, limit)
    finally:
        path.write_text(original, encoding="utf-8")
    seconds = round(time.monotonic() - began, 1)
    return Mutant(**{**asdict(mutant), "change": change, "outcome": outcome, "seconds": seconds})


def outcome_of(files: list[str], tree: Path, limit: int) -> str:
    """Run tests in a forked process that has the heavy packages already.

    limit: in seconds of the processor, so that a busy machine kills no mutant; one that waits for ever has ten times
    that.
    """
    pid = os.fork()
    if pid == 0:
        run_tests(files, tree, limit)
    ends = time.monotonic() + 10 * limit
    try:
        while time.monotonic() < ends:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return TOO_LONG if code == -signal.SIGXCPU else OUTCOMES.get(code, KILLED)
            time.sleep(0.1)
        return TOO_LONG
    finally:
        with suppress(ProcessLookupError):  # it and all that it started
            os.killpg(pid, signal.SIGKILL)


def run_tests(files: list[str], tree: Path, limit: int) -> None:
    """In the forked process: never returns."""
    code = 3
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 10))
        os.chdir(tree)
        log = os.open(tree.parent / LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.path[:] = [
            place for place in sys.path if Path(place or ".").resolve() not in (REPOSITORY, REPOSITORY / "tests")
        ]
        import pytest

        code = int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--timeout=0", "-m", "not slow", *files]))
    finally:
        os._exit(code)


def noticed(done: list[Mutant]) -> float:
    """The share of mutants that some test failed of, or that never came to an end."""
    return sum(mutant.outcome in (KILLED, TOO_LONG) for mutant in done) / max(1, len(done))


def write_tables(done: list[Mutant], output: Path) -> None:
    """results.json, all of them; survivors.md, those that no test noticed."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps([asdict(mutant) for mutant in done], indent=1) + "\n")
    rows = ["| module | line | change | |", "| --- | --- | --- | --- |"]
    for mutant in done:
        if mutant.outcome not in (KILLED, TOO_LONG):
            change = "<br>".join(f"`{line}`" for line in mutant.change.replace("|", "\\|").splitlines())
            rows.append(f"| {mutant.module} | {mutant.line} | {change} | {mutant.outcome} |")
    (output / "survivors.md").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    sys.exit(main())
