"""Remote shards against local ones: `python -m benchmarks.loader_remote [num_clips]`.

The same clips, from a folder and from a web server on this machine that answers each request after 20 ms, into a new
cache each time: epochs of both take turns. The first two batches are the warm-up.
"""

import platform
import re
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentsync.data.loader import ClipLoader
from latentsync.data.sample import ClipSample
from latentsync.data.shard_writer import ShardWriter
from latentsync.data.shards import ShardSet
from latentsync.data.windows import ClipWindows
from latentsync.media.audio import encode_wav
from latentsync.media.video_writer import encode_clip
from latentsync.storage.node_cache import NodeCache

LATENCY, SIZE, FRAMES, BATCH, ROUNDS, PER_SHARD = 0.02, 256, 64, 4, 3, 8


class _Slow(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        time.sleep(LATENCY)
        super().do_HEAD()

    def do_GET(self) -> None:
        """With the one range that is asked for."""
        time.sleep(LATENCY)
        data = Path(self.translate_path(self.path)).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        first, last = (int(asked[1]), min(int(asked[2]), len(data) - 1)) if asked else (0, len(data) - 1)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(data[first : last + 1])


def write_clips(folder: Path, num_clips: int) -> None:
    """Clips of soft noise that moves, with noise for sound."""
    rng = np.random.default_rng(0)
    with ShardWriter(folder, PER_SHARD) as writer:
        for number in range(num_clips):
            picture = rng.integers(0, 256, (SIZE // 8, SIZE // 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
            frames = np.stack([np.roll(picture, frame, axis=1) for frame in range(FRAMES)])
            sound = rng.uniform(-0.1, 0.1, FRAMES * 640).astype(np.float32)
            told = {"source": "noise", "start": 0.0, "end": FRAMES / 25, "fps": 25, "resolution": SIZE}
            told |= {"num_frames": FRAMES, "software_version": "benchmark"}
            writer.write(ClipSample(f"clip{number:04d}", encode_clip(frames), encode_wav(sound, 16000), told))


def rate(shards: ShardSet) -> float:
    """Samples a second over an epoch with one worker."""
    windows = ClipWindows(SIZE, audio_tokens=False)
    loader = ClipLoader(shards, windows, BATCH, num_workers=1, shuffle_buffer=2 * PER_SHARD)
    batches = iter(loader)
    for _ in islice(batches, 2):
        pass
    began = time.perf_counter()
    seen = sum(1 for _ in batches)
    seconds = time.perf_counter() - began
    loader.close()
    return BATCH * seen / seconds


def main(num_clips: int = 96) -> None:
    """Print a Markdown table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shards"
        write_clips(folder, num_clips)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Slow, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        rates: dict[str, list[float]] = {"local": [], "https, 20 ms": []}
        for number in range(ROUNDS):
            rates["local"].append(rate(ShardSet(folder)))
            cache = NodeCache(Path(temporary) / f"cache{number}", 10**10)
            rates["https, 20 ms"].append(rate(ShardSet(address, cache=cache)))
        server.shutdown()
    print(f"{num_clips} clips of {FRAMES} frames at {SIZE}², {PER_SHARD} a shard, one worker, mean of {ROUNDS} epochs; "
          f"{platform.machine()}, torch {torch.__version__}\n")  # fmt: skip
    print("| shards | samples a second | ratio |\n| --- | --- | --- |")
    for name, found in rates.items():
        print(f"| {name} | {np.mean(found):.1f} | {np.mean(found) / np.mean(rates['local']):.2f} |")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
