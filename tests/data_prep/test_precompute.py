"""Precomputing: the same shards whoever does the work, set aside what is bad, and go on where it stopped."""

import hashlib
from pathlib import Path

import pytest
from s3_server import s3_server
from tiny_clips import tiny_clip, write_shards

from data_prep.precompute import in_order, precompute
from latentsync.data.shard_writer import ShardWriter
from latentsync.data.shards import ShardSet
from latentsync.errors import UserError
from latentsync.work.local_runner import LocalRunner
from latentsync.work.runner import Outcome


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    samples = [tiny_clip(f"c{i:02d}") for i in range(10)]
    samples[3].audio = b"RIFFdamaged"
    write_shards(folder, samples)
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


def test_shards_do_not_depend_on_the_workers(clips, tmp_path):
    here = precompute(clips, tmp_path / "here", clips_per_shard=2)
    apart = precompute(clips, tmp_path / "apart", clips_per_shard=2, runner=LocalRunner(2))
    assert here == apart
    assert here["written"] == 9
    assert digests(tmp_path / "here") == digests(tmp_path / "apart")
    sample = ShardSet(tmp_path / "apart").read(0)
    assert sample.mel is not None
    assert sample.mel.shape[0] == 80


def test_results_come_in_order_whichever_is_done_first():
    outcomes = [Outcome(2, "c"), Outcome(0, "a"), Outcome(3, "d"), Outcome(1, "b")]
    assert list(in_order(iter(outcomes), range(4))) == list("abcd")


def test_a_clip_that_no_worker_can_do_ends_the_run_with_one_line():
    with pytest.raises(UserError, match="clip number 1: its worker process died; run again with resume=true"):
        list(in_order(iter([Outcome(0, "a"), Outcome(1, failure="its worker process died")]), range(2)))


def test_shards_go_to_a_bucket_whole_and_a_stopped_run_goes_on(clips, tmp_path, monkeypatch):
    precompute(clips, tmp_path / "here", clips_per_shard=2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with s3_server("bucket") as store:
        written, write = [], ShardWriter.write

        def stop_at_the_sixth(self, sample):
            if len(written) == 5:
                raise KeyboardInterrupt
            written.append(sample.key)
            write(self, sample)

        monkeypatch.setattr(ShardWriter, "write", stop_at_the_sixth)
        with pytest.raises(KeyboardInterrupt):
            precompute(clips, "s3://bucket/out", clips_per_shard=2)
        monkeypatch.setattr(ShardWriter, "write", write)
        assert sorted(name.rpartition("/")[2] for name in store.ls("bucket/out")) == [
            "index.json", "precomputed-000000.tar", "precomputed-000001.tar",
        ]  # fmt: skip
        store.rm("bucket/out/index.json")  # as if it had been killed
        with pytest.raises(UserError, match="not empty; choose an empty folder or resume=true"):
            precompute(clips, "s3://bucket/out", clips_per_shard=2)
        assert precompute(clips, "s3://bucket/out", clips_per_shard=2, resume=True)["written"] == 5
        store.get("bucket/out/", str(tmp_path / "out"), recursive=True)
        assert digests(tmp_path / "out") == digests(tmp_path / "here")
        assert (tmp_path / "out" / "index.json").read_bytes() == (tmp_path / "here" / "index.json").read_bytes()
        assert ShardSet("s3://bucket/out").fingerprint() == ShardSet(tmp_path / "here").fingerprint()


def test_a_web_server_takes_no_shards(clips, monkeypatch):
    monkeypatch.setattr("latentsync.data.remote_writer.listed", lambda *arguments: {})
    with pytest.raises(UserError, match="a web server takes no files"):
        precompute(clips, "https://127.0.0.1:1/out")
