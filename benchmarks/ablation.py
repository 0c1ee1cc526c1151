"""The table of an ablation: `python -m benchmarks.ablation runs/ablation runs/ablation_eval`.

First argument: the runs of `sweep=ablation_losses`, named VARIANT_seedN. Second: what `eval.lip_sync` measured of each
run's export, under the same names. Prints Markdown: mean over the seeds, and half the distance between them.
"""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

import av
import numpy as np

ORDER = (
    "full", "noise_only", "no_syncnet", "no_trepa", "no_lpips", "latent_syncnet", "independent_noise", "audio_dropout",
)  # fmt: skip


def jitter(folder: Path) -> float:
    """Mean |g(t−1) − 2 g(t) + g(t+1)| where the output differs from the input, over that of the same input pixels."""
    ratios = []
    for path in sorted(folder.glob("*_generated.mp4")):
        generated = frames(path)
        source = frames(path.with_name(path.name.replace("generated", "input")))[: len(generated)]
        changed = (np.abs(generated - source).mean(0) > 4).any(-1)
        bend = [np.abs(v[:-2] - 2 * v[1:-1] + v[2:])[:, changed].mean() for v in (generated, source)]
        ratios.append(bend[0] / bend[1])
    return float(np.mean(ratios))


def frames(path: Path) -> np.ndarray:
    """All frames (N, H, W, 3) float32."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.float32)


def sync_score(run: Path) -> float:
    """The last val/sync_score of the run's log."""
    values = []
    for path in sorted(run.glob("logs/version_*/metrics.csv")):
        with path.open() as file:
            values += [float(row["val/sync_score"]) for row in csv.DictReader(file) if row.get("val/sync_score")]
    return values[-1]


def main(runs: Path, evaluations: Path) -> None:
    """Print the table."""
    found: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for folder in sorted(evaluations.iterdir()):
        variant, _, _ = folder.name.rpartition("_seed")
        results = json.loads((folder / "results.json").read_text())["mean"]["generated"]
        score = sync_score(runs / folder.name) if (runs / folder.name).is_dir() else float("nan")
        found[variant].append((results["driving"], results["source"], score, jitter(folder / "clips")))
    print("| variant | r with the driving speech | r with own mouth | SyncNet cosine | jitter | seeds |")
    print("| --- " * 6 + "|")
    for variant in [name for name in ("start", *ORDER) if name in found]:
        values = np.array(found[variant])
        spread = np.ptp(values, axis=0) / 2
        cells = ["–" if np.isnan(mean) else f"{mean:.3f} ± {half:.3f}" for mean, half in zip(values.mean(0), spread)]
        print(f"| {variant} | " + " | ".join(cells) + f" | {len(values)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
