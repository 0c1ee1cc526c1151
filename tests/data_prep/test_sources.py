"""Sources: every video of a folder, under a name that does not depend on where the folder lies."""

from pathlib import Path

import pytest

from data_prep.sources import Source, find_sources
from latentsync.data.sample import check_key
from latentsync.errors import UserError


def test_videos_of_one_name_in_two_folders_stay_apart_and_others_do_not_count(tmp_path: Path) -> None:
    for name in ("a/talk.mp4", "b/talk.MKV", "b/talk.json", "notes.txt", ".hidden/talk.mp4", "b/.talk.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sources = find_sources(tmp_path)
    assert [source.name for source in sources] == ["a/talk.mp4", "b/talk.MKV"]
    assert sources[0].id != sources[1].id
    assert sources[0].slug == sources[1].slug == "talk"


def test_id_is_the_same_wherever_the_folder_lies(tmp_path: Path) -> None:
    assert Source("a/talk.mp4", tmp_path / "talk.mp4").id == Source("a/talk.mp4", Path("/other")).id


@pytest.mark.parametrize("name", ["..mp4", "Ein Gespräch (2).mp4", "-x.mp4", "日本.mp4", "x" * 120 + ".mp4"])
def test_every_file_name_gives_a_safe_key(name: str) -> None:
    source = Source(name, Path(name))
    check_key(f"{source.slug}_{source.id}_{9_999_999:07d}_{999:03d}")


def test_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no video"):
        find_sources(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        find_sources(tmp_path / "none")
