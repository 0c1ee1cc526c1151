"""Which weights a name or a path means: where `fetch` put them, what a file is, and what is to be done without it."""

import hashlib
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from latentsync.errors import UserError
from latentsync.weights.known import KNOWN, HubFile, Known, KnownFile

NAMES = {entry.name: entry for entry in KNOWN}


def known(name: str) -> Known:
    """The entry of that name. Raises UserError that suggests the nearest name."""
    if name in NAMES:
        return NAMES[name]
    near = get_close_matches(name, ["demo", *NAMES], n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'?" if near else f"known are demo, {', '.join(NAMES)}"
    raise UserError(f"weights '{name}': not known, and no such folder or file; {hint}")


def checkpoints_folder() -> Path:
    """`checkpoints` of the current folder, or the one beside the package when the current folder has none."""
    here = Path("checkpoints")
    beside = Path(__file__).resolve().parents[2] / "checkpoints"
    return beside if not here.is_dir() and beside.is_dir() else here


def place(file: KnownFile, checkpoints: Path | None = None) -> Path:
    """Where a known file lies, or will lie once fetched."""
    return (checkpoints_folder() if checkpoints is None else checkpoints) / file.target


def find(name: str | Path, what: str = "weights") -> Path:
    """The one answer to what `weights=`, `model.unet.weights=`, `autoencoder=` and `audio_encoder=` mean: the file or
    folder of a known name as `fetch` left it, of "demo" (the embedded model), or of a path.

    Raises UserError that says what to fetch, that there is no such file, or which known name is nearest.
    """
    text, path = str(name), Path(name)
    if text == "demo":
        folder = checkpoints_folder() / "demo"
        if not folder.is_dir():
            raise UserError(f"{what} 'demo': {folder} is not there; check out the repository's {folder} folder")
        return folder
    if text in NAMES:
        return fetched(text, what)
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"{what} '{text}': no such file or folder; known names are demo, {', '.join(NAMES)}")
    known(text)  # raises, with the nearest name
    return path


def fetched(name: str, what: str = "weights") -> Path:
    """What `fetch` made of a known name: the folder of a network, else the file; also from the hub's own cache.

    Raises UserError when it is not there.
    """
    entry = known(name)
    file = place(entry.files[0])
    if entry.network and (checkpoints_folder() / name / "config.json").is_file():
        return checkpoints_folder() / name
    if file.exists():
        return file.parent if file.name == "config.json" else file
    cached = in_hub_cache(entry)
    if cached is None:
        raise UserError(f"{what} '{name}': {file} is not there; run `python -m latentsync.weights fetch {name}`")
    return cached


def published(path: Path) -> Known | None:
    """Which known file this is, by size and SHA-256 (computed once and remembered beside it); None = none of them."""
    size = path.stat().st_size if path.is_file() else None
    same = [(entry, file) for entry in KNOWN for file in entry.files if size and file.sha256 and file.may_have(size)]
    if not same:
        return None
    digest = remembered_sha256(path)
    return next((entry for entry, file in same if file.sha256 == digest), None)


def remembered_sha256(path: Path) -> str:
    """The SHA-256 of a file: from `.NAME.sha256` beside it if it has not changed since, else computed and kept."""
    note, stat = path.with_name(f".{path.name}.sha256"), path.stat()
    stamp = f"{stat.st_size} {stat.st_mtime_ns}"
    if note.is_file() and (told := note.read_text().rsplit(" ", 1))[0] == stamp:
        return told[1]
    digest = sha256(path)
    with suppress(OSError):  # a folder that cannot be written to: computed again the next time
        note.write_text(f"{stamp} {digest}")
    return digest


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def in_hub_cache(entry: Known) -> Path | None:
    """The same where huggingface_hub has all files of it already, from whatever program asked for them."""
    from huggingface_hub import try_to_load_from_cache

    found = []
    for file in entry.files:
        hubs = [source for source in file.sources if isinstance(source, HubFile)]
        paths = [try_to_load_from_cache(one.repository, one.filename, revision=one.revision) for one in hubs]
        found.append(next((Path(path) for path in paths if isinstance(path, str)), None))
    if any(path is None for path in found):
        return None
    first = found[0]
    return first.parent if first is not None and first.name == "config.json" else first
