"""Speed and memory of data preparation, against the straightforward way on the same files.

`python -m benchmarks.data_prep` (from the repository's root) prints the tables of docs/benchmarks.md. With
a folder as argument it takes the videos there, else it makes synthetic ones. The straightforward way is the published
one: see `straightforward_data_prep.py`.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.straightforward_data_prep import Straightforward
from data_prep.av_offset import ScorerMaker
from data_prep.clips import ClipSettings
from data_prep.parts import Measuring
from data_prep.prepare import prepare
from latentsync.media import VideoWriter
from latentsync.synthetic.clip import SyntheticClip, draw_clip
from latentsync.work.local_runner import LocalRunner
from latentsync.work.runner import Outcome, limit_threads

CLIPS: dict[str, Any] = {"min_seconds": 2.5, "max_seconds": 5.0}
SCORER = ScorerMaker("data_prep.stable_syncnet_scorer.StableSyncNetScorer", {"weights": "checkpoints/demo/syncnet"})
RESOLUTION = 256


@dataclass(frozen=True)
class Timing:
    """cpu: seconds of processor time; wall: seconds; clips: how many came out."""

    cpu: float
    wall: float
    clips: int


def timed(work: Callable[[], int]) -> Timing:
    """Run it."""
    cpu, wall = time.process_time(), time.perf_counter()
    clips = work()
    return Timing(time.process_time() - cpu, time.perf_counter() - wall, clips)


class HereRunner:
    """In this process, so that its processor time can be read."""

    def map(self, work: Any, items: Any, tell: Any = None) -> Iterator[Outcome[Any]]:
        for item in items:
            yield Outcome(item, work(item, lambda share: None))


def one_pass(videos: Path, output: Path, runner: Any, measuring: Measuring) -> int:
    """Our way; how many candidates were encoded."""
    rows = prepare(videos, output, runner, measuring, {}, SCORER)
    return sum("clips_bytes" in row for row in rows)


def stage_seconds(output: Path) -> dict[str, float]:
    """What the stages took, summed over the sources."""
    total: dict[str, float] = {}
    for path in output.glob("work/*/record.json"):
        for stage, seconds in json.loads(path.read_text())["seconds"].items():
            total[stage] = total.get(stage, 0.0) + seconds
    return total


def make_videos(folder: Path, count: int = 3, seconds: float = 10.0) -> Path:
    """Synthetic heads in a scene, 640 × 480, at 25 frames a second, with their landmarks."""
    folder.mkdir(parents=True)
    for index in range(count):
        clip = draw_clip(100_100 + index, seconds, RESOLUTION, 1, mode="scene")
        write_video(folder / f"head{index}.mp4", clip, 1)
    return folder


def write_video(path: Path, clip: SyntheticClip, times: int) -> None:
    """The clip, so many times in a row, with its landmarks beside it."""
    height, width = clip.frames.shape[1:3]
    sound = (np.tile(clip.wave, times), clip.sample_rate)
    with VideoWriter(path, width, height, clip.fps, crf=18, audio=sound) as writer:
        for _ in range(times):
            for frame in clip.frames:
                writer.write(frame)
    path.with_suffix(".json").write_text(json.dumps({"landmarks3": np.tile(clip.landmarks3, (times, 1, 1)).tolist()}))


def speed(videos: Path, scratch: Path) -> None:
    """Print clips a minute, the share of each stage, and the comparison."""
    measuring = Measuring(RESOLUTION, clips=CLIPS)
    # A first run of either pays for imports; after it, each is timed with the loading of its own networks.
    one_pass(make_videos(scratch / "warm_videos", 1, 3.0), scratch / "warm", HereRunner(), measuring)
    ours = timed(lambda: one_pass(videos, scratch / "here", HereRunner(), measuring))
    plains: list[Straightforward] = []

    def stage_by_stage() -> int:
        plains.append(Straightforward(scratch / "plain", SCORER(), ClipSettings(**CLIPS), RESOLUTION))
        return plains[0].run(videos)

    theirs = timed(stage_by_stage)
    shared = timed(lambda: one_pass(videos, scratch / "workers", LocalRunner(2), measuring))
    print("| way | clips | processor seconds | processor seconds a clip |\n| --- | --- | --- | --- |")
    for name, timing in (("one pass", ours), ("a stage at a time", theirs)):
        print(f"| {name} | {timing.clips} | {timing.cpu:.1f} | {timing.cpu / timing.clips:.2f} |")
    print(f"\nThe straightforward way costs {theirs.cpu / theirs.clips / (ours.cpu / ours.clips):.1f} times as much.")
    print(f"2 workers, with their start: {shared.wall:.1f} s, {60 * shared.clips / shared.wall:.0f} clips a minute\n")
    print("| stage | seconds | share |\n| --- | --- | --- |")
    seconds = stage_seconds(scratch / "here")
    for stage, spent in seconds.items():
        print(f"| {stage} | {spent:.2f} | {spent / sum(seconds.values()):.0%} |")
    print("\n| stage of the straightforward way | processor seconds |\n| --- | --- |")
    for stage, spent in plains[0].seconds.items():
        print(f"| {stage} | {spent:.2f} |")


def memory(scratch: Path) -> None:
    """Print the largest memory of a process that prepares one video, by the video's length."""
    clip = draw_clip(100_100, 10.0, 128, 1, mode="scene")
    print("\n| length of the video | largest memory |\n| --- | --- |")
    for times in (3, 6, 24):
        folder = scratch / f"long{times}"
        folder.mkdir()
        write_video(folder / "talk.mp4", clip, times)
        command = [sys.executable, "-m", "benchmarks.data_prep", "memory_of", str(folder)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"| {10 * times} s | {int(told.split()[-1]) / 1024:.0f} MB |")


def memory_of(folder: Path) -> None:
    """Prepare a folder in this process and print its largest memory in KiB."""
    measuring = Measuring(128, finder={"kind": "json"}, clips=CLIPS)
    one_pass(folder, folder / "out", HereRunner(), measuring)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main(arguments: list[str]) -> None:
    """No argument: synthetic videos; one: a folder of videos."""
    limit_threads(1)
    if arguments[:1] == ["memory_of"]:
        memory_of(Path(arguments[1]))
        return
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        speed(Path(arguments[0]) if arguments else make_videos(scratch / "videos"), scratch)
        if not arguments:
            memory(scratch)


if __name__ == "__main__":
    main(sys.argv[1:])
