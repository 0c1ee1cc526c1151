"""Time and memory of the evaluation: `python -m benchmarks.evaluation [I3D weights]`.

Prints Markdown: seconds for a minute of video, by metric (each with finding and cutting the faces, which the row "none"
has alone), and the largest memory of a process that scores videos of several lengths with all of them but LPIPS, which
is slow on a CPU and keeps 8 frames.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from eval.metrics.metric import FrameMean, Metric
from eval.metrics.registry import make_metric
from eval.video import VideoScorer
from latentsync.media import VideoWriter
from latentsync.synthetic.clip import draw_clip
from latentsync.work.runner import limit_threads

RESOLUTION = 256


class Nothing:
    """A metric that looks at nothing."""

    definitions = ()

    def begin(self) -> FrameMean:
        return FrameMean(lambda pairs: [{} for _ in pairs])


def metrics(i3d: str) -> dict[str, Metric]:
    """All that can be computed with the embedded weights, and I3D's."""
    options = {"sync_stable": {"weights": "checkpoints/demo/syncnet"}}
    options |= {"fvd": {"weights": i3d}} if i3d else {}
    names = ["similarity", "lpips", "lmd", "flicker", "leak", "mouth_truth", *options]
    return {name: make_metric(name, options.get(name, {})) for name in names}


def write_video(path: Path, seconds: int) -> None:
    """A synthetic head, 640 × 480, the same ten seconds over and over."""
    clip = draw_clip(100_100, 10.0, RESOLUTION, 1, mode="scene")
    height, width = clip.frames.shape[1:3]
    sound = np.tile(clip.wave, seconds // 10), clip.sample_rate
    with VideoWriter(path, width, height, clip.fps, audio=sound) as writer:
        for number in range(seconds * clip.fps):
            writer.write(clip.frames[number % len(clip.frames)])
    times = seconds // 10
    path.with_suffix(".json").write_text(
        json.dumps({name: value * times for name, value in clip.truth().items() if isinstance(value, list)})
    )


def timed(chosen: dict[str, Metric], video: Path, finder: str) -> float:
    """Seconds to score the video against itself."""
    scorer = VideoScorer(chosen, RESOLUTION, finder)
    began = time.perf_counter()
    scorer.score(video, video, lambda share: None)
    return time.perf_counter() - began


def speed(folder: Path, i3d: str) -> None:
    """Print the table of times."""
    video = folder / "speed.mp4"
    write_video(video, 20)
    made = metrics(i3d)
    timed({"none": Nothing()}, video, "mediapipe")  # imports and caches
    print("| metric | seconds for a minute of video |\n| --- | --- |")
    for finder in ("json", "mediapipe"):
        print(f"| none, faces: {finder} | {3 * timed({'none': Nothing()}, video, finder):.0f} |")
    for name, metric in made.items():
        finder = "mediapipe" if name in ("lmd", "leak") else "json"
        print(f"| {name}, faces: {finder} | {3 * timed({name: metric}, video, finder):.0f} |", flush=True)


def memory(folder: Path, i3d: str) -> None:
    """Print the table of memory."""
    print("\n| length | largest memory of the process |\n| --- | --- |")
    for seconds in (10, 60, 180):
        video = folder / f"{seconds}.mp4"
        write_video(video, seconds)
        command = [sys.executable, "-m", "benchmarks.evaluation", "memory_of", str(video), i3d]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"| {seconds} s | {int(told.split()[-1]) / 1024:.0f} MB |", flush=True)


def main(arguments: list[str]) -> None:
    """See the module."""
    limit_threads(1)
    if arguments[:1] == ["memory_of"]:
        chosen = metrics(arguments[2])
        del chosen["lpips"]
        timed(chosen, Path(arguments[1]), "json")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    i3d = arguments[0] if arguments else ""
    with tempfile.TemporaryDirectory() as temporary:
        speed(Path(temporary), i3d)
        memory(Path(temporary), i3d)


if __name__ == "__main__":
    main(sys.argv[1:])
