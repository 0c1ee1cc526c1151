"""Arrays out of a pickle of numpy arrays, read as data: no opcode of it is ever executed by Python's pickle.

Some weights exist only as a pickled {name: {name: array}}. `pickletools.genops` splits such a file into opcodes
without running any; the few that build dictionaries, tuples and numpy arrays are interpreted here, every other one is
refused.
"""

import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.errors import UserError

RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
NDARRAY = "numpy ndarray"
DTYPE = "numpy dtype"
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
VALUES = {"BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"}
MARK = object()


class Global(str):
    """A name that the file refers to; it stays a name and is never imported."""


class PickledArray:
    """An array, or its element type, that is still being described by the file."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.value: Any = None


def read_numpy_pickle(path: Path) -> dict[str, Any]:
    """The nested dictionaries of arrays in a pickle file (protocol 2 to 3). Raises UserError on anything else in it."""
    try:
        return plain(interpret(path.read_bytes()))
    except (ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not a pickle of plain numpy arrays, and nothing else is read ({error})") from error


def interpret(content: bytes) -> Any:
    """The object that the opcodes describe, with `PickledArray` for arrays."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name in VALUES:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "GLOBAL":
            stack.append(allowed(argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            stack.append(MARK)
        elif name in TUPLES:
            stack.append(tuple(take(stack, TUPLES[name])))
        elif name == "TUPLE":
            stack.append(tuple(to_mark(stack)))
        elif name in ("SETITEM", "SETITEMS"):
            items = take(stack, 2) if name == "SETITEM" else to_mark(stack)
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "REDUCE":
            function, arguments = take(stack, 2)
            stack.append(reduced(function, arguments))
        elif name == "BUILD":
            build(stack[-2], stack.pop())
        elif name == "STOP":
            return stack.pop()
        elif name != "PROTO":
            raise ValueError(f"opcode {name}")
    raise ValueError("it ends early")


def allowed(name: str) -> Global:
    """One of the three names that describe an array; any other is refused."""
    if name not in (*RECONSTRUCT, NDARRAY, DTYPE):
        raise ValueError(f"it refers to '{name}'")
    return Global(name)


def take(stack: list[Any], count: int) -> list[Any]:
    """The last `count` entries, taken off."""
    taken = stack[len(stack) - count :]
    del stack[len(stack) - count :]
    return taken


def to_mark(stack: list[Any]) -> list[Any]:
    """Everything above the last mark, taken off together with the mark."""
    index = max(i for i, entry in enumerate(stack) if entry is MARK)
    taken = stack[index + 1 :]
    del stack[index:]
    return taken


def reduced(function: Any, arguments: tuple[Any, ...]) -> PickledArray:
    """What "call this" stands for: an array to be filled in, or an element type by its code ('f4')."""
    if function in RECONSTRUCT and isinstance(function, Global):
        return PickledArray("array")
    if function == DTYPE and isinstance(function, Global) and arguments[0] in ("f2", "f4", "f8", "i4", "i8"):
        described = PickledArray("dtype")
        described.value = arguments[0]
        return described
    raise ValueError(f"a call of {function!r}")


def build(target: Any, state: Any) -> None:
    """Fill in an array from (version, shape, dtype, is Fortran-ordered, bytes), or a dtype's byte order."""
    if not isinstance(target, PickledArray):
        raise ValueError("the state of an unknown object")
    if target.kind == "dtype":
        target.value = np.dtype(state[1] + target.value)
        return
    _, shape, dtype, fortran, content = state
    if not isinstance(content, bytes) or dtype.kind != "dtype":
        raise ValueError("an array of objects")
    target.value = np.frombuffer(content, dtype.value).reshape(shape, order="F" if fortran else "C")


def plain(value: Any) -> Any:
    """Dictionaries of arrays, with the placeholders replaced."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, PickledArray) and isinstance(value.value, np.ndarray):
        return value.value
    raise ValueError(f"an entry of type {type(value).__name__}")
