"""Peak memory of inference against the length of the video: `python -m benchmarks.memory [seconds …]`.

A video of each length (1080p at 25 fps unless told otherwise) speaks as long a sound. The network is a painter
(`benchmarks.stand_in`), because what may grow is everything around it. Each length runs in a process of its own, whose
peak of resident memory is read at its end. Prints a Markdown table, with the moment the output began to be written.
"""

import multiprocessing
import resource
import sys
import tempfile
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH, FPS = 1080, 1920, 25


def make(folder: Path, seconds: int) -> tuple[Path, Path]:
    """A moving gradient with noise-free edges, and a tone."""
    video, sound = folder / "long.mp4", folder / "long.wav"
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    base = np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(np.roll(base, 4 * (number % 64), axis=1), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for second in range(seconds):
            wave = 9000 * np.sin(np.arange(16000 * second, 16000 * (second + 1)) / 20)
            block = av.AudioFrame.from_ndarray(wave[None].astype(np.int16), format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = 16000, 16000 * second, Fraction(1, 16000)
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return video, sound


def run(video: Path, sound: Path, output: Path, answer: multiprocessing.Queue) -> None:
    """One job; answers with the peak in bytes, the seconds it took and when the first bytes were there."""
    from benchmarks.stand_in import stand_in_pipeline

    pipeline = stand_in_pipeline(resolution=256)
    began, first = time.monotonic(), []

    def watch() -> None:
        while not first:
            if any(path.stat().st_size > 0 for path in output.parent.iterdir()):
                first.append(time.monotonic() - began)
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    report = pipeline(video, sound, output, seed=1, num_inference_steps=1, preset="ultrafast")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer.put((peak, time.monotonic() - began, first[0] if first else float("nan"), report.num_frames))


def main(lengths: list[int]) -> None:
    """Print the table."""
    print("| video | peak of memory | ratio | first bytes after | whole job | frames |\n" + "| --- " * 6 + "|")
    shortest = None
    context = multiprocessing.get_context("spawn")
    for seconds in lengths:
        with tempfile.TemporaryDirectory() as name:
            video, sound = make(Path(name), seconds)
            (Path(name) / "out").mkdir()
            answer = context.Queue()
            job = context.Process(target=run, args=(video, sound, Path(name) / "out" / "out.mp4", answer))
            job.start()
            peak, took, first, frames = answer.get()
            job.join()
        shortest = shortest or peak
        row = f"{seconds} s | {peak / 2**20:.0f} MiB | {peak / shortest:.2f} | {first:.1f} s | {took:.0f} s | {frames}"
        print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [20, 600])
