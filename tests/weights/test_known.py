"""The table of known weights: whatever can be verified is."""

from pathlib import Path

import pytest

from latentsync.weights.fetch import SourceFailed, check_present, verify
from latentsync.weights.known import KNOWN, HubFile, Known, KnownFile, PackageMember, WebArchiveMember, WebFile
from latentsync.weights.registry import published, sha256

# Of these no checksum is published; of the hub's large files it states one itself.
UNKNOWN = {"latentsync-1.0", "sd15-unet", "animatediff-sd15", "i3d"}


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry.name)
def test_every_file_has_a_size_and_a_checksum_of_its_own_or_of_its_package(entry: Known) -> None:
    for file in entry.files:
        assert file.size or file.about
        pinned = [s for s in file.sources if isinstance(s, PackageMember | WebArchiveMember)]
        assert all(len(source.archive_sha256) == 64 for source in pinned)
        made = any(isinstance(source, PackageMember) and source.converted for source in pinned)
        assert file.sha256 or made or entry.name in UNKNOWN
        assert file.sha256 is None or len(file.sha256) == 64
    targets = [file.target for other in KNOWN for file in other.files]
    assert len(set(targets)) == len(targets)


def test_mirror_of_the_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    file = HubFile("someone/net", "a.pt", "v2")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert str(file) == "https://huggingface.co/someone/net/resolve/v2/a.pt"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert str(file) == "https://mirror.example/someone/net/resolve/v2/a.pt"


def test_file_of_roughly_known_size_is_recognised_by_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "latentsync_syncnet.pt"
    path.write_bytes(bytes(1000))
    file = KnownFile("x", (), sha256(path), about=1010)
    assert file.may_have(1000)
    assert not file.may_have(900)
    assert not KnownFile("x", (), sha256(path), size=1010).may_have(1000)
    monkeypatch.setattr("latentsync.weights.registry.KNOWN", (Known("syncnet", "", None, (file,)),))
    found = published(path)
    assert found is not None
    assert found.name == "syncnet"


def test_file_made_from_a_package_is_not_compared_with_the_one_that_others_publish(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"converted here")
    web = WebFile("https://example.org/net.pth")
    package = PackageMember("net", "1.0", "0" * 64, "net.bin", "0" * 64, "ctranslate2 whisper")
    file = KnownFile("net.pth", (web, package), "0" * 64, 1000)
    assert verify(tmp_path / "net.pth", file, package) == sha256(tmp_path / "net.pth")
    assert "no checksum of its own" in check_present(tmp_path / "net.pth", file, tmp_path)
    with pytest.raises(SourceFailed, match="bytes 14, expected 1000"):
        verify(tmp_path / "net.pth", file, web)
