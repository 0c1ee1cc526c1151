"""Data preparation as a whole: the same shards whatever was killed, and nothing measured twice."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import psutil
import pytest
from clean_process import Forked, Forker
from raw_heads import CountingScorer, HereRunner, draw_head, measuring, write_head, write_silent
from runner_jobs import with_small_files

from configs.compose import load_config
from data_prep import prepare as entry
from data_prep.av_offset import ScorerMaker
from data_prep.manifest import Row, read_limits, read_manifest
from data_prep.parts import Measuring
from data_prep.prepare import prepare
from data_prep.shots import ShotSplitter
from data_prep.split import Split
from latentsync.data.shard_writer import read_index
from latentsync.errors import UserError
from latentsync.face.landmarks import MediaPipeFaceFinder
from latentsync.media import ClipReader, decode_audio, encode_wav
from latentsync.work.local_runner import LocalRunner

REAL_CLIP = Path(__file__).resolve().parents[2] / "checkpoints" / "demo" / "sample" / "real" / "man_reads.mkv"


def arguments(heads: Path, output: Path, **changes: Any) -> dict[str, Any]:
    base = {"input": heads, "output": output, "runner": HereRunner(), "measuring": measuring(), "limits": {}}
    return {**base, "clips_per_shard": 1, **changes}


def in_workers(heads: Path, output: Path, attempts: int = 2) -> dict[str, Any]:
    return arguments(heads, output, runner=LocalRunner(2, start_method="fork", attempts=attempts))


def shard_bytes(output: Path) -> dict[str, bytes]:
    """Everything in the shard folder."""
    return {path.name: path.read_bytes() for path in sorted((output / "shards").iterdir())}


@pytest.fixture(scope="module")
def whole(heads: Path, tmp_path_factory: pytest.TempPathFactory, forker: Forker) -> Path:
    """The output of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole")
    process = forker.start(prepare, **in_workers(heads, output))
    assert process.join() == 0
    return output


def wait_for(moment: Callable[[], Any], process: Forked) -> Any:
    """What `moment` gives when it is first true, or None when the process ends before."""
    while process.is_alive():
        if found := moment():
            return found
        time.sleep(0.001)
    return None


def test_shards_hold_clips_of_the_contract(whole: Path) -> None:
    manifest = read_manifest(whole)
    accepted = manifest[manifest["fate"] == "accepted"]
    keys = [clip["key"] for shard in read_index(whole / "shards").values() for clip in shard["clips"]]
    assert keys == sorted(accepted["clip_key"])
    assert sorted(accepted["clips_seconds"]) == [2.0, 2.0, 2.0]
    stored = json.loads((whole / "work" / accepted["source_id"].iloc[0] / "record.json").read_text())["rows"][0]
    assert len(ClipReader((whole / "work" / stored["source_id"] / f"{stored['clip_key']}.mp4").read_bytes())) == 50
    assert stored["metadata"]["resolution"] == 64
    for thumbnail in manifest["thumbnail"]:
        assert (whole / thumbnail).is_file()


def test_run_killed_at_five_moments_ends_with_the_same_bytes(
    heads: Path, whole: Path, tmp_path: Path, forker: Forker
) -> None:
    output = tmp_path / "output"
    moments: list[Callable[[], Any]] = [
        lambda: list(output.glob("work/.*.part")),
        lambda: list(output.glob("work/.*.part/sound.raw")),
        lambda: list(output.glob("work/.*.part/*.mp4")),
        lambda: list(output.glob("work/*/record.json")),
        lambda: len(list(output.glob("work/*/record.json"))) == 2,
        lambda: list(output.glob(".shards.*.part")),
        lambda: list(output.glob("shards/*.tar")),
    ]
    killed = 0
    for moment in moments * 5:
        process = forker.start(prepare, **in_workers(heads, output))
        if wait_for(moment, process):
            process.kill()
        if process.join() == -9:
            killed += 1
        else:  # the moment passed unseen, and the run is complete
            shutil.rmtree(output)
        if killed == 6:
            break
    assert killed == 6, f"only {killed} moments were hit"
    process = forker.start(prepare, **in_workers(heads, output))
    assert process.join() == 0
    assert shard_bytes(output) == shard_bytes(whole)
    pandas.testing.assert_frame_equal(read_manifest(output), read_manifest(whole))


def test_killed_workers_lose_nothing(heads: Path, whole: Path, tmp_path: Path, forker: Forker) -> None:
    output, killed = tmp_path / "output", 0
    seen: set[Path] = set()

    def new_folder() -> list[Path]:
        return [path for path in output.glob("work/.*.part") if path not in seen]

    process = forker.start(prepare, **in_workers(heads, output, attempts=20))
    while killed < 6 and (found := wait_for(new_folder, process)):
        seen.update(found)
        for worker in workers(process):
            worker.kill()
            killed += 1
    assert process.join() == 0
    assert killed >= 6
    assert shard_bytes(output) == shard_bytes(whole)


def workers(process: Forked) -> list[psutil.Process]:
    try:
        return [child for child in psutil.Process(process.pid).children() if child.status() != psutil.STATUS_ZOMBIE]
    except psutil.NoSuchProcess:
        return []


def test_full_disk_fails_the_source_and_a_second_run_mends_it(
    heads: Path, whole: Path, tmp_path: Path, forker: Forker
) -> None:
    output = tmp_path / "output"
    # No file may grow beyond 100 kB: the sound of 4 s does, that of 2 s does not.
    forker.start(with_small_files, largest=100_000, function=prepare, **in_workers(heads, output)).join()
    manifest = read_manifest(output).set_index("source")
    assert manifest.loc["again/talk.mp4", ["fate", "reason"]].tolist() == ["failed", "disk or file error"]
    assert manifest.loc["talk.mp4", "fate"] == "accepted"
    process = forker.start(prepare, **in_workers(heads, output))
    process.join()
    assert shard_bytes(output) == shard_bytes(whole)


def test_other_limits_measure_nothing_again(heads: Path, whole: Path, tmp_path: Path) -> None:
    output = shutil.copytree(whole, tmp_path / "output")

    runner = HereRunner()
    widths = read_manifest(output)["crop_face_width"]
    limits = {"crop_face_width": (float(widths.max()), None)}
    rows = prepare(**arguments(heads, output, runner=runner, limits=limits))
    fates = {row["clip_key"]: (row["fate"], row.get("reason")) for row in rows}
    assert list(fates.values()).count(("accepted", None)) == int((widths == widths.max()).sum())
    assert ("rejected", "face too small") in fates.values()
    assert read_limits(output)["crop_face_width"] == (widths.max(), None)
    prepare(**arguments(heads, output, runner=runner))
    assert runner.asked == []
    assert shard_bytes(output) == shard_bytes(whole)


def test_only_what_changed_is_measured_again(heads: Path, whole: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(heads, tmp_path / "raw")
    output = shutil.copytree(whole, tmp_path / "output")
    runner = HereRunner()
    write_head(raw / "new.mp4", draw_head(100_003, seconds=1.0))
    prepare(**arguments(raw, output, runner=runner))
    assert runner.asked == ["new.mp4"]
    runner.asked.clear()
    prepare(**arguments(raw, output, runner=runner, measuring=measuring(clips={"min_seconds": 0.9})))
    assert runner.asked == ["again/talk.mp4", "new.mp4", "talk.mp4"]


def clips(**lengths: float) -> Measuring:
    return measuring(clips={"min_seconds": lengths["least"], "max_seconds": lengths["most"]})


def test_other_clip_lengths_measure_only_what_is_cut_in_another_way(heads: Path, tmp_path: Path) -> None:
    output, fresh = tmp_path / "output", tmp_path / "fresh"
    scored = ScorerMaker("raw_heads.CountingScorer", {})
    prepare(**arguments(heads, output, make_scorer=scored))
    assert CountingScorer.asked == [50, 50, 50]
    # 2 s are one clip and 4 s are two, as before.
    prepare(**arguments(heads, output, make_scorer=scored, measuring=clips(least=0.9, most=2.0)))
    assert len(CountingScorer.asked) == 3
    # Now those of 4 s are two others.
    prepare(**arguments(heads, output, make_scorer=scored, measuring=clips(least=1.0, most=2.4)))
    assert CountingScorer.asked[3:] == [60, 40]
    prepare(**arguments(heads, fresh, make_scorer=scored, measuring=clips(least=1.0, most=2.4)))
    assert shard_bytes(output) == shard_bytes(fresh)
    pandas.testing.assert_frame_equal(read_manifest(output), read_manifest(fresh))


def test_other_clip_lengths_and_crops_find_no_face_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, output, fresh = tmp_path / "raw", tmp_path / "output", tmp_path / "fresh"
    raw.mkdir()
    shutil.copy(REAL_CLIP, raw)
    found = {"finder": {"kind": "mediapipe", "num_faces": 1}, "clips": {"min_seconds": 1.0, "max_seconds": 2.0}}
    others = {**found, "clips": {"min_seconds": 0.5, "max_seconds": 1.2, "context": 96}, "resolution": 96}
    prepare(**arguments(raw, fresh, measuring=measuring(**others)))
    first = prepare(**arguments(raw, output, measuring=measuring(**found)))
    assert [row["fate"] for row in first if row["level"] == "clip"] == ["accepted"] * len(first)
    monkeypatch.setattr(MediaPipeFaceFinder, "find", lambda *_: pytest.fail("looks for faces"))
    monkeypatch.setattr(ShotSplitter, "push", lambda *_: pytest.fail("looks for shots"))
    prepare(**arguments(raw, output, measuring=measuring(**others)))
    # Not byte for byte: MediaPipe's landmarks, measured twice, may differ by a rounding error.
    pandas.testing.assert_frame_equal(read_manifest(output), read_manifest(fresh), atol=1e-2, rtol=1e-2)


def test_silent_videos_take_the_sound_beside_them_or_of_a_folder(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, sounds = tmp_path / "raw", tmp_path / "sounds"
    clip = draw_head(100_003)
    write_silent(raw / "beside.mp4", clip)
    write_silent(raw / "caf\u00e9.mp4", clip)
    sounds.mkdir()
    (raw / "beside.wav").write_bytes(encode_wav(clip.wave, clip.sample_rate))
    (sounds / "cafe\u0301.wav").write_bytes(encode_wav(clip.wave[::-1].copy(), clip.sample_rate))
    (sounds / "other.wav").write_bytes(encode_wav(clip.wave, clip.sample_rate))

    rows = {row["source"]: row for row in prepare(**arguments(raw, tmp_path / "one"))}
    assert rows["beside.mp4"]["fate"] == "accepted"
    assert rows["beside.mp4"]["probe_sound"] == "beside.wav"
    assert (rows["caf\u00e9.mp4"]["fate"], rows["caf\u00e9.mp4"]["reason"]) == ("rejected", "no sound")
    assert np.abs(sound_of(tmp_path / "one", rows["beside.mp4"]) - clip.wave[:32000]).max() < 1e-3

    rows = {row["source"]: row for row in prepare(**arguments(raw, tmp_path / "two", audio=sounds))}
    assert np.abs(sound_of(tmp_path / "two", rows["caf\u00e9.mp4"]) - clip.wave[::-1][:32000]).max() < 1e-3
    assert rows["beside.mp4"]["fate"] == "accepted", "one without a partner takes what it would take without a folder"
    said = capsys.readouterr().err
    assert "1 videos without a partner" in said
    assert "beside.mp4" in said
    assert "1 sounds without a partner, they are not used: other" in said


def sound_of(output: Path, row: Row) -> np.ndarray:
    """The stored sound of a row's clip."""
    return decode_audio((output / "work" / row["source_id"] / f"{row['clip_key']}.wav").read_bytes())[0][:32000]


def test_a_split_writes_a_folder_for_each_part_and_measures_nothing_again(
    heads: Path, whole: Path, tmp_path: Path
) -> None:
    output, runner = shutil.copytree(whole, tmp_path / "output"), HereRunner()
    halves = next(
        split for seed in range(100)
        if {(split := Split("source", 0.4, 0.4, seed=seed)).part(name) for name in ("talk.mp4", "again/talk.mp4")}
        == {"val", "test"}
    )  # fmt: skip
    rows = prepare(**arguments(heads, output, runner=runner, split=halves))
    assert runner.asked == []
    held = {part: [clip["key"] for shard in read_index(output / "shards" / part).values() for clip in shard["clips"]]
            for part in ("train", "val", "test")}  # fmt: skip
    assert held == {
        part: sorted(row["clip_key"] for row in rows if halves.part(row["source"]) == part) for part in held
    }
    assert held["train"] == []
    assert sorted(map(len, held.values())) == [0, 1, 2]
    assert not list((output / "shards").glob("*.tar")), "the shards of all are gone"
    assert "val: " in entry.summary(rows, output)
    prepare(**arguments(heads, output, runner=runner))
    assert shard_bytes(output) == shard_bytes(whole)


def test_rejected_candidates_that_were_not_kept_are_cut_when_limits_widen(
    heads: Path, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    narrow = {"crop_face_width": (10_000.0, None)}
    assert not [
        row
        for row in prepare(**arguments(heads, output, limits=narrow, keep_rejected=False))
        if row["fate"] == "accepted"
    ]
    assert not list(output.glob("work/*/*.mp4"))
    prepare(**arguments(heads, output, keep_rejected=False))
    assert shard_bytes(output) == shard_bytes(whole)


def test_unreadable_files_are_recorded_and_the_rest_goes_on(heads: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    shutil.copytree(heads, raw)
    (raw / "empty.mp4").touch()
    (raw / "text.mp4").write_text("no video")
    talk = (raw / "talk.mp4").read_bytes()
    (raw / "cut.mp4").write_bytes(talk[: len(talk) // 2])
    shutil.copy(raw / "talk.mp4", raw / "alone.mp4")  # without landmarks beside it
    os.mkfifo(raw / "pipe.mp4")  # a file that blocks whoever opens it
    manifest = pandas.DataFrame(prepare(**arguments(raw, tmp_path / "output"))).set_index("source")
    assert set(manifest.loc[["talk.mp4", "again/talk.mp4"], "fate"]) == {"accepted"}
    assert manifest.loc["empty.mp4", ["fate", "stage", "reason"]].tolist() == ["rejected", "probe", "empty file"]
    for name in ("text.mp4", "cut.mp4"):
        assert manifest.loc[name, ["fate", "stage", "reason"]].tolist() == ["rejected", "probe", "cannot be read"]
    assert manifest.loc["alone.mp4", "reason"] == "no usable landmarks file beside it"
    assert "pipe.mp4" not in manifest.index, "not a file of pictures"


def test_second_run_of_one_output_is_refused(heads: Path, tmp_path: Path, forker: Forker) -> None:
    output = tmp_path / "output"
    process = forker.start(prepare, **in_workers(heads, output))
    wait_for(lambda: list(output.glob("work/.*.part")), process)
    with pytest.raises(UserError, match="another run"):
        prepare(**arguments(heads, output))
    process.join()


def test_missing_sync_weights_are_one_error_that_names_fetch_and_switch(heads: Path, tmp_path: Path) -> None:
    maker = ScorerMaker("eval.syncnet_v2.SyncNetV2Scorer", {"weights": str(tmp_path / "none.model")})
    with pytest.raises(UserError, match=r"fetch syncnet-v2.*syncnet=none"):
        prepare(**arguments(heads, tmp_path / "output", make_scorer=maker))


def test_configuration_of_the_command_line_does_the_same(
    heads: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"input={heads}", f"output={tmp_path / 'output'}", "syncnet=none", "clips_per_shard=1"]
    settings += ["measure.resolution=64", "measure.finder.kind=json"]
    settings += ["measure.clips.min_seconds=1", "measure.clips.max_seconds=2"]
    config = load_config("data_prep/prepare", settings)
    config.runner = {"_target_": "raw_heads.HereRunner"}
    entry.run(config)
    assert capsys.readouterr().out.splitlines()[0] == "3 clips, 0.1 minutes, from 2 sources"
    assert shard_bytes(tmp_path / "output") == shard_bytes(whole)


def test_summary_counts_reasons(whole: Path) -> None:
    rows = [
        {"fate": "accepted", "clips_seconds": 90.0, "source": "a"},
        {"fate": "rejected", "reason": "no face", "source": "b"},
        {"fate": "failed", "reason": "time limit", "source": "c"},
    ]
    lines = entry.summary(rows, whole).splitlines()
    assert lines[0] == "1 clips, 1.5 minutes, from 3 sources"
    assert lines[1] == "sync of sound and lips was not checked in 1 of them (syncnet=none)"
    assert lines[2:4] == ["rejected: no face 1", "failed: time limit 1"]


@pytest.mark.slow
def test_ray_gives_the_shards_of_local_processes(heads: Path, tmp_path: Path, forker: Forker) -> None:
    ray_runner = pytest.importorskip("latentsync.work.ray_runner")
    pytest.importorskip("ray", reason="needs the extra `ray`")
    arguments = {"input": heads, "measuring": measuring(), "limits": {}, "clips_per_shard": 1}
    local, ray = tmp_path / "local", tmp_path / "ray"
    forker.call(prepare, output=local, runner=LocalRunner(2, start_method="fork"), **arguments)
    forker.call(prepare, output=ray, runner=ray_runner.RayRunner(2), **arguments)
    shards = [{path.name: path.read_bytes() for path in (out / "shards").iterdir()} for out in (local, ray)]
    assert len(shards[0]) == 4
    assert shards[0] == shards[1]
    pandas.testing.assert_frame_equal(read_manifest(local), read_manifest(ray))
