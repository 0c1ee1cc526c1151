"""Opening a data set of millions of clips: `python -m benchmarks.loader scale [num_clips] [num_shards]`.

The index alone is real; shards are files of the right size without contents. Each opening is a process of its own: the
first one reads index.json and keeps its arrays, the second one maps them. Memory is what the process needs beyond what
its imports took, mapped pages included.
"""

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.data.order import epoch_order, training_batches
from latentsync.data.shards import ShardSet
from latentsync.storage.node_cache import NodeCache

CLIP_BYTES = 600_000
MB = 1e6


def write_index(folder: Path, num_clips: int, num_shards: int) -> None:
    """index.json as `ShardWriter` writes it, and a shard of the right size for each entry."""
    per_shard = num_clips // num_shards
    lengths = np.random.default_rng(0).integers(125, 251, num_clips).tolist()
    with (folder / "index.json").open("w") as file:
        file.write('{"version": 1, "shards": {')
        for shard in range(num_shards):
            first = shard * per_shard
            clips = ", ".join(
                f'{{"key": "id{first // 300:05d}-video{first + i:08d}", "offset": {i * CLIP_BYTES}, '
                f'"size": {CLIP_BYTES}, "num_frames": {lengths[first + i]}}}'
                for i in range(per_shard)
            )
            size, name = per_shard * CLIP_BYTES, f"clips-{shard:06d}.tar"
            file.write(f'{", " if shard else ""}"{name}": {{"bytes": {size}, "sha256": "{shard:064x}", ')
            file.write(f'"clips": [{clips}]}}')
            with (folder / name).open("wb") as empty:
                empty.truncate(size)
        file.write("}}\n")


class _Quiet(SimpleHTTPRequestHandler):
    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Whoever wants a range gives up on this server's whole file, and asks for it as a stream."""
        with suppress(ConnectionError):
            super().copyfile(source, outputfile)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def opened(source: str, cache: str) -> list[float]:
    """Open, plan an epoch of one of eight ranks with batches of four, and tell how long it took and what it needed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, busy = time.perf_counter(), time.process_time()
    shards = ShardSet(source, 48, cache=NodeCache(cache, 10**11))
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    opening = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    began = time.perf_counter()
    order = epoch_order(shards.shard_numbers, 0, 0, 4096)
    batches = training_batches(order, 0, 4, 0, 8)
    first_shards = len(set(shards.shard_numbers[list(batches[0])].tolist()))
    planning = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return [seconds, busy, opening * 1024 / MB, planning, memory * 1024 / MB, first_shards]


def main(num_clips: int = 2_000_000, num_shards: int = 10_000) -> None:
    """Print a Markdown table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shards"
        folder.mkdir()
        write_index(folder, num_clips, num_shards)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        pattern = f"clips-{{000000..{num_shards - 1:06d}}}.tar"
        sources = {"local": str(folder), "https": f"http://127.0.0.1:{server.server_address[1]}/{pattern}"}
        size = (folder / "index.json").stat().st_size / MB
        print(f"{num_clips:,} clips, {num_shards:,} shards, index.json of {size:.0f} MB\n")
        print(
            "| shards | open, s | of it CPU | memory, MB | plan an epoch, s | memory then, MB | first batch, shards |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name, source in sources.items():
            for which in ("first", "again"):
                command = [sys.executable, "-m", "benchmarks.loader_scale", source, str(Path(temporary) / name)]
                found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                figures = ["{:.1f}", "{:.1f}", "{:.0f}", "{:.1f}", "{:.0f}", "{}"]
                cells = [figure.format(value) for figure, value in zip(figures, found)]
                print(f"| {name}, {which} | {' | '.join(cells)} |", flush=True)
        server.shutdown()


if __name__ == "__main__":
    print(json.dumps(opened(*sys.argv[1:])))
