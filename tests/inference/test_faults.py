"""What goes wrong around the network: signals, a full disk, damaged files. One clear line, and nothing left behind."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from broken_inputs import attempt, cases
from PIL import Image

from benchmarks.stand_in import stand_in_pipeline
from latentsync.errors import UserError
from latentsync.inference import LipSyncPipeline
from latentsync.media import VideoWriter, encode_clip, encode_wav, probe_video
from latentsync.work.stopping import unwind_on_sigterm


@pytest.fixture(scope="module")
def lip_sync() -> LipSyncPipeline:
    return stand_in_pipeline()


@pytest.fixture
def job(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A picture that costs many bytes, 3 s of sound, and an output in a folder of its own."""
    noise = np.random.default_rng(0).integers(0, 255, (144, 192, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "a.wav").write_bytes(encode_wav(np.sin(np.arange(48000) / 9).astype(np.float32), 16000))
    (tmp_path / "out").mkdir()
    return tmp_path / "a.png", tmp_path / "a.wav", tmp_path / "out" / "out.mp4"


@pytest.fixture
def ctrl_c_interrupts() -> Iterator[None]:
    """As on a terminal: a shell that starts a command in the background has it ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_interrupts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_leaves_nothing_or_a_whole_video(
    lip_sync: LipSyncPipeline, job: tuple[Path, Path, Path], number: signal.Signals
) -> None:
    source, audio, output = job
    stopped = Counter[bool]()
    generator = np.random.default_rng(number)
    # Counted in frames, so that a busy machine is stopped as often as an idle one; a little later, so not between two.
    for stop_at, later in zip(generator.integers(0, 74, 10), generator.uniform(0, 0.02, 10)):
        timer = threading.Timer(later, os.kill, (os.getpid(), number))
        started = False

        def stop(done: int, total: int, at: int = stop_at, timer: threading.Timer = timer) -> None:
            nonlocal started
            if done >= at and not started:
                started = True
                timer.start()

        interrupted = False
        try:
            with unwind_on_sigterm():
                lip_sync(source, audio, output, progress=stop, seed=1, crf=1)
                timer.cancel()
                timer.join()
        except KeyboardInterrupt:
            interrupted = True
        stopped[interrupted] += 1
        left = list(output.parent.iterdir())
        assert left == ([] if interrupted and not output.exists() else [output])
        if left:
            assert probe_video(output).num_frames == 75
            output.unlink()
    assert stopped[True] >= 3


@pytest.mark.parametrize("limit", [0, 3_000, 60_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    lip_sync: LipSyncPipeline, job: tuple[Path, Path, Path], limit: int
) -> None:
    source, audio, output = job
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))  # the kernel then refuses to write more
    try:
        with pytest.raises(UserError, match=r"out\.mp4': cannot write there .*free some space"):
            lip_sync(source, audio, output, seed=1, crf=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(output.parent.iterdir()) == []


def test_a_folder_that_takes_no_files_is_named(lip_sync: LipSyncPipeline, job: tuple[Path, Path, Path]) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs /proc, where nobody may make files")
    with pytest.raises(UserError, match=r"output '/proc/self/out\.mp4'"):
        lip_sync(job[0], job[1], "/proc/self/out.mp4", seed=1)


def test_a_report_that_cannot_be_written_there_is_refused_before_anything_is_done(
    lip_sync: LipSyncPipeline, job: tuple[Path, Path, Path]
) -> None:
    for report in ("nowhere/r.json", "r.txt", str(job[2].parent)):
        with pytest.raises(UserError, match="report"):
            lip_sync(*job, report=report)
    assert list(job[2].parent.iterdir()) == []


def test_a_video_damaged_in_the_middle_is_kept_up_to_there_when_asked(
    lip_sync: LipSyncPipeline, job: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    data = bytearray(encode_clip([rng.integers(0, 255, (96, 96, 3), np.uint8) for _ in range(40)]))
    data[len(data) // 2 : len(data) // 2 + 20_000] = rng.bytes(20_000)
    (tmp_path / "hurt.mp4").write_bytes(data)
    with pytest.raises(UserError, match=r"hurt\.mp4': cannot be decoded after \d\.\d\d s"):
        lip_sync(tmp_path / "hurt.mp4", job[1], job[2], seed=1)
    assert list(job[2].parent.iterdir()) == []
    report = lip_sync(tmp_path / "hurt.mp4", job[1], job[2], seed=1, keep_readable=True, longer_audio="stop")
    assert 5 < report.num_frames < 40


def test_a_cut_off_video_is_kept_as_far_as_it_goes_when_asked(
    lip_sync: LipSyncPipeline, job: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 96, 96, 3), np.uint8)
    with VideoWriter(tmp_path / "whole.mp4", 96, 96, 25) as writer:
        for frame in noise:
            writer.write(frame)
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # the index lies in front: it opens
    with pytest.raises(UserError, match=r"cut\.mp4': cut off"):
        lip_sync(tmp_path / "cut.mp4", job[1], job[2], seed=1)
    report = lip_sync(tmp_path / "cut.mp4", job[1], job[2], seed=1, keep_readable=True, longer_audio="stop")
    assert 5 < report.num_frames < 60


def test_damaged_and_absurd_inputs_end_in_a_video_or_one_line(
    lip_sync: LipSyncPipeline, tmp_path: Path, thorough: bool
) -> None:
    (tmp_path / "files").mkdir()
    outcomes = {}
    open_files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for number, case in enumerate(cases(tmp_path / "files", 300 if thorough else 75, seed=11)):
        if thorough or "7680" not in case.what:  # takes seconds
            outcomes[f"{number}: {case.what}"] = attempt(case, tmp_path / str(number), lip_sync)
    assert {what: outcome for what, outcome in outcomes.items() if outcome not in ("made", "refused")} == {}
    assert Counter(outcomes.values())["refused"] > 20
    if open_files:
        assert len(os.listdir("/proc/self/fd")) <= open_files + 5
