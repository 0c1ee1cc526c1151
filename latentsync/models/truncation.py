"""How long a weights file has to be, by what it says of itself: a safetensors header, a zip's end record, or the table
of tensors at the beginning of a PyTorch file, whose end record is what a cut takes away first."""

import io
import json
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

_LOCAL, _END, _END_64 = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06"
_TAIL = 22 + 65_535  # the end record and the longest comment
_HEADER_LIMIT = 100_000_000  # of safetensors' own format
_NUMBERS = {
    "Double": 8, "Long": 8, "ComplexFloat": 8, "ComplexDouble": 16, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2,
    "Short": 2,
}  # fmt: skip


def cut_short(path: Path) -> str | None:
    """What is missing of a file that ends early, in words; None for one that does not, or that does not tell."""
    size, told = path.stat().st_size, told_length(path)
    if told is None or size >= told[0]:
        return None
    return f"{size:,} bytes, it should have {'' if told[1] else 'at least '}{told[0]:,}"


def told_length(path: Path) -> tuple[int, bool] | None:
    """(bytes, whether exactly so many; else at least) that a file says it has; None where it does not tell."""
    try:
        with path.open("rb") as file:
            start = file.read(1 << 22)
            if path.suffix == ".safetensors":
                (length,) = struct.unpack_from("<Q", start)
                if length > _HEADER_LIMIT:
                    return None
                file.seek(8)
                header = json.loads(file.read(length))
                ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
                return 8 + length + max(ends, default=0), True
            if not start.startswith(_LOCAL):
                return None
            file.seek(max(0, path.stat().st_size - _TAIL))
            tail = file.read()
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error):
        return None
    return _by_end_record(tail) or _by_table(start)


def _by_end_record(tail: bytes) -> tuple[int, bool] | None:
    """Where a zip's directory should lie tells how much of what is before it is gone."""
    place = tail.rfind(_END)
    if place < 0 or len(tail) < place + 22:
        return None
    large = tail.rfind(_END_64, 0, place)
    if large >= 0 and place - large >= 76:  # ZIP64: a record with larger numbers and a pointer to it, as torch writes
        size, offset = struct.unpack_from("<QQ", tail, large + 40)
        return offset + size + len(tail) - large, True
    size, offset = struct.unpack_from("<II", tail, place + 12)
    return offset + size + len(tail) - place, True


def _by_table(start: bytes) -> tuple[int, bool] | None:
    """The bytes of all tensors that `data.pkl`, the first member of a PyTorch file, lists."""
    name, extra = struct.unpack_from("<HH", start, 26)
    try:
        table = _Storages(start[30 + name + extra :])
        table.load()
    except Exception:  # a damaged pickle fails in any way it likes
        return None
    return (sum(table.sizes.values()), False) if table.sizes else None


class _Anything(dict[Any, Any]):
    """Stands for every object of a pickle; nothing of the file's is run."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        return

    def __call__(self, *arguments: Any) -> "_Anything":
        return self


class _Storages(pickle.Unpickler):
    """Notes the bytes of each storage that a PyTorch pickle refers to."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))
        self.sizes: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        if name.endswith("Storage"):
            return _NUMBERS.get(name.removesuffix("Storage"), 1)
        return OrderedDict if name == "OrderedDict" else _Anything

    def persistent_load(self, pid: Any) -> _Anything:
        _, width, key, _, count = pid
        self.sizes[key] = width * count
        return _Anything()
