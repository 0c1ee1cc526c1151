"""Draws docs/architecture.md's picture and table from the imports: `python docs/draw_architecture.py` writes them anew.

A room is a package of `latentsync/`, one of the packages beside it, or an entry point. Every import counts, also those
inside functions and those for type checkers alone.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by docs/draw_architecture.py -->", "<!-- end -->"
# From the ground up: a room knows rooms of lower floors only.
FLOORS = (
    ("work",),
    ("media", "storage"),
    ("models",),
    ("weights",),
    ("face",),
    ("data", "losses"),
    ("diffusion",),
    ("training", "inference"),
    ("synthetic", "app"),
    ("configs",),
    ("data_prep",),
    ("eval",),
    ("train.py", "infer.py", "predict.py"),
)
_BESIDE = ("configs", "data_prep", "eval")
_ENTRIES = FLOORS[-1]
Edges = Mapping[str, set[str]]


def edges() -> dict[str, set[str]]:
    """Room -> rooms that it imports from."""
    found: dict[str, set[str]] = {}
    for path in sorted(_files()):
        room = _room(path.relative_to(REPOSITORY).with_suffix("").as_posix().replace("/", "."))
        if room is not None:
            known = found.setdefault(room, set())
            known |= {other for module in _imports(path) if (other := _room(module)) is not None and other != room}
    return found


def circles(graph: Edges) -> list[tuple[str, str]]:
    """Every import from a room that, along any way, imports from the importing one."""
    return [(room, other) for room in sorted(graph) for other in sorted(graph[room]) if room in _reached(graph, other)]


def upwards(graph: Edges) -> list[tuple[str, str]]:
    """Every import of a room that is not on a lower floor."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    return [(room, other) for room in sorted(graph) for other in sorted(graph[room]) if floor[other] >= floor[room]]


def drawing(graph: Edges) -> str:
    """The picture, without arrows that a longer way replaces, and the table of all imports."""
    lines = ["```mermaid", "flowchart TD"]
    for rooms in reversed(FLOORS):
        for room in rooms:
            others = graph.get(room, set())
            longer = set().union(*(_reached(graph, other) for other in others)) if others else set()
            lines += [f"    {_name(room)} --> {_name(other)}" for other in sorted(others - longer)]
    lines += ["```", "", "| room | imports from |", "| --- | --- |"]
    for rooms in reversed(FLOORS):
        lines += [f"| `{room}` | {', '.join(sorted(graph.get(room, ()))) or 'nothing of ours'} |" for room in rooms]
    return "\n".join(lines)


def page(graph: Edges) -> str:
    """docs/architecture.md with this drawing."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{drawing(graph)}\n{END}{rest.split(END)[1]}"


def _files() -> Iterator[Path]:
    for folder in ("latentsync", *_BESIDE):
        yield from (REPOSITORY / folder).rglob("*.py")
    yield from (REPOSITORY / name for name in _ENTRIES)


def _room(module: str) -> str | None:
    """The room of a module; None for others' and for files of `latentsync` that belong to no room."""
    first, *rest = module.split(".")
    if first == "latentsync":
        return rest[0] if rest and (REPOSITORY / first / rest[0]).is_dir() else None
    return first if first in _BESIDE else next((name for name in _ENTRIES if name == f"{first}.py"), None)


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _reached(graph: Edges, room: str) -> set[str]:
    """Whatever a room imports from, along any way."""
    reached: set[str] = set()
    waiting = [room]
    while waiting:
        new = graph.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


def _name(room: str) -> str:
    return room.replace(".py", "_py") + (f"[{room}]" if room.endswith(".py") else "")


if __name__ == "__main__":
    graph = edges()
    wrong = circles(graph) or upwards(graph)
    PAGE.write_text(page(graph), encoding="utf-8")
    sys.exit(f"imports that go up or round: {wrong}" if wrong else 0)
