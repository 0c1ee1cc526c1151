"""Files and folders appear whole or not at all, and nothing is left beside them."""

from pathlib import Path

import pytest

from latentsync.work.files import folder_written_whole, hidden_name, remove_leftovers, write_whole, written_whole


def test_file_appears_at_the_end_and_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_whole(path, "ä")
    with written_whole(path, lasting=True) as part:
        assert part not in path.parent.glob("*.json"), "half a file is not found by its suffix"
        part.write_bytes(b"two")
        assert path.read_text(encoding="utf-8") == "ä"
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.txt", tmp_path / "clips"
    write_whole(path, "old")
    write_whole(folder / "1", "old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), written_whole(path) as part:
        fail(part)
    with pytest.raises(ZeroDivisionError), folder_written_whole(folder) as part:
        fail(part / "1")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.txt", "clips"]
    assert path.read_text() == (folder / "1").read_text() == "old"


def test_folder_replaces_the_one_before_with_all_that_was_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    for number in (1, 2):
        with folder_written_whole(folder) as part:
            (part / f"{number}.txt").touch()
    assert [entry.name for entry in folder.iterdir()] == ["2.txt"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["clips"]


def test_leftovers_of_killed_processes_go_and_nothing_else(tmp_path: Path) -> None:
    for name in ("shards", "step_1.ckpt"):
        hidden_name(tmp_path / name).touch()
    hidden_name(tmp_path / "folder").mkdir()
    kept = [tmp_path / ".hidden", tmp_path / "x.part"]
    for path in kept:
        path.touch()
    remove_leftovers(tmp_path, "shards")
    assert len(list(tmp_path.iterdir())) == 4
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == kept
