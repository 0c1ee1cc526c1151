"""A job's record is found as long as its settings and files are the same."""

from pathlib import Path

from latentsync.work.records import Records, job_key


def test_record_is_found_by_its_key_alone_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    records = Records(tmp_path / "jobs")
    assert records.read("a/b.mp4") is None
    records.write("a/b.mp4", "key", {"frames": 3})
    assert records.read("a/b.mp4", "key") == {"key": "key", "frames": 3} == records.read("a/b.mp4")
    assert records.read("a/b.mp4", "other key") is None
    assert records.read("another", "key") is None
    records.path("a/b.mp4").write_text("{half")
    assert records.read("a/b.mp4") is None


def test_key_changes_with_settings_and_files_and_with_nothing_else(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    key = job_key({"a": 1, "b": 2}, (one, None, other))
    assert job_key({"b": 2, "a": 1}, (one, other)) == key, "a file that is not there counts for nothing"
    assert job_key({"a": 1}, (one,)) != key
    other.write_text("2")
    assert job_key({"a": 1, "b": 2}, (one, other)) != key
    other.unlink()
    one.write_text("12")
    assert job_key({"a": 1, "b": 2}, (one,)) != key
