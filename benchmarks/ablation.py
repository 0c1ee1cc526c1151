"""The ablation of the losses, from training to table and plot: `python -m benchmarks.ablation --help`.

Trains each variant of `configs/ablation/` at each seed from one and the same network, measures every export and the
network that all started from with `eval.lip_sync`, and writes ablation.md and ablation.png. What is done is not done
again.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from latentsync.work.files import write_whole, written_whole

Found = dict[str, dict[str, float]]  # row -> metric -> value
START, TRUE, UNCHANGED = "start", "true frames", "input unchanged"
VARIANTS = ("full", "no_syncnet", "no_trepa", "no_lpips")
# (kind of row in results.json, metric, title, decimals); a column is shown where anything has it.
COLUMNS = (
    ("cross", "follows", "follows ↑", 3), ("cross", "leaks", "leaks ↓", 3), ("cross", "track_r", "r driving ↑", 3),
    ("cross", "mouth_r", "mouth r ↑", 3), ("cross", "own_mouth_r", "own mouth r ↓", 3),
    ("cross", "sync_confidence", "SyncNet confidence ↑", 3), ("cross", "sync_c", "Sync-C ↑", 2),
    ("cross", "jitter", "jitter ↓", 2), ("cross", "sharpness", "sharpness", 2),
    ("cross", "edge_step", "edge step ↓", 2),
    ("reconstruction", "region_psnr", "PSNR (dB) ↑", 2),
    ("reconstruction", "region_lpips_alex", "LPIPS (alex) ↓", 3),
    ("reconstruction", "region_lpips_vgg", "LPIPS (vgg) ↓", 3),
)  # fmt: skip


def train(variant: str, seed: int, start: Path, folder: Path, overrides: Sequence[str]) -> Path:
    """The export of one run, trained if it is not there."""
    export = folder / "export"
    if not export.is_dir():
        _python(
            "train.py", "experiment=ablation", f"ablation={variant}", f"seed={seed}", f"run_dir={folder}",
            f"model.unet.weights={start}", "resume=auto", *overrides,
        )  # fmt: skip
    return export


def measure(weights: Path, folder: Path, options: Sequence[str]) -> Path:
    """The results.json of one network, measured if it is not there."""
    if not (folder / "results.json").is_file():
        _python("-m", "eval.lip_sync", f"weights={weights}", f"output={folder}", *options)
    return folder / "results.json"


def _python(*arguments: str) -> None:
    print("python " + " ".join(arguments), flush=True)
    subprocess.run([sys.executable, *arguments], check=True)


def values(results: Path) -> Iterator[tuple[str, str, float]]:
    """(row, metric, mean over clips and seeds) of one results.json; row: "" for what was generated."""
    for kind, found in json.loads(results.read_text())["mean"].items():
        protocol, _, row = kind.partition(": ")
        for own, metric, _, _ in COLUMNS:
            if own == protocol and metric in found:
                yield row, metric, float(found[metric]["mean"])


def gather(results: dict[str, Path]) -> Found:
    """Row -> metric -> value. results: "VARIANT_seedN" or "start" -> results.json; of true frames and the unchanged
    input, which all of them measure alike, the first one's are taken."""
    rows: Found = {}
    for name, path in results.items():
        for row, metric, value in values(path):
            rows.setdefault(row or name, {}).setdefault(metric, value)
    return rows


def by_variant(rows: Found) -> dict[str, list[dict[str, float]]]:
    """Variant -> what each of its seeds gave; start, true frames and unchanged input at the end."""
    found: dict[str, list[dict[str, float]]] = {}
    for name, one in rows.items():
        found.setdefault(name.rpartition("_seed")[0] or name, []).append(one)
    last = [name for name in (START, TRUE, UNCHANGED) if name in found]
    return {name: found[name] for name in [*(name for name in found if name not in last), *last]}


def table(variants: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: mean over seeds ± half the distance between the lowest and the highest."""
    shown = _shown(variants)
    lines = ["| variant | " + " | ".join(title for _, title, _ in shown) + " | seeds |"]
    lines.append("| --- " * (len(shown) + 2) + "|")
    for variant, seeds in variants.items():
        cells = []
        for metric, _, decimals in shown:
            found = [one[metric] for one in seeds if metric in one]
            spread = f" ± {np.ptp(found) / 2:.{decimals}f}" if len(found) > 1 else ""
            cells.append(f"{np.mean(found):.{decimals}f}{spread}" if found else "–")
        lines.append(f"| {variant} | " + " | ".join(cells) + f" | {len(seeds)} |")
    return "\n".join(lines) + "\n"


def plot(variants: dict[str, list[dict[str, float]]]) -> Figure:
    """A panel a metric: a dot a seed and the mean of each variant, a dotted line for the true frames."""
    shown = _shown(variants)
    names = [name for name in variants if name not in (TRUE, UNCHANGED)]
    columns = min(4, max(1, len(shown)))
    lines = -(-max(1, len(shown)) // columns)
    figure = Figure(figsize=(3.2 * columns, 0.7 + 1.9 * lines), dpi=100)
    for number, (metric, title, _) in enumerate(shown, start=1):
        axes = figure.add_subplot(lines, columns, number)
        for place, name in enumerate(names):
            found = [one[metric] for one in variants[name] if metric in one]
            axes.plot(found, [place] * len(found), "o", color="#9db8d9", markersize=5)
            axes.plot(np.mean(found) if found else [], place if found else [], "|", color="#1f4e8c", markersize=12)
        if true := [one[metric] for one in variants.get(TRUE, []) if metric in one]:
            axes.axvline(true[0], linestyle=":", color="#777777", linewidth=1)
        axes.set_yticks(range(len(names)), names if number % columns == 1 or columns == 1 else [""] * len(names))
        axes.invert_yaxis()
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.tight_layout()
    return figure


def _shown(variants: dict[str, list[dict[str, float]]]) -> list[tuple[str, str, int]]:
    there = {metric for seeds in variants.values() for one in seeds for metric in one}
    return [(metric, title, decimals) for _, metric, title, decimals in COLUMNS if metric in there]


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), help="runs/, measured/, table and plot")
    parser.add_argument("--start", type=Path, required=True, help="the U-Net that every run starts from")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), help="of configs/ablation/")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--train", nargs="*", default=[], metavar="KEY=VALUE", help="of train.py: shards, steps, …")
    parser.add_argument("--measure", nargs="*", default=[], metavar="KEY=VALUE", help="of eval.lip_sync: clips, …")
    options = parser.parse_args(arguments)
    results = {START: measure(options.start, options.output / "measured" / START, options.measure)}
    for variant in options.variants:
        for seed in options.seeds:
            name = f"{variant}_seed{seed}"
            export = train(variant, seed, options.start, options.output / "runs" / name, options.train)
            results[name] = measure(export, options.output / "measured" / name, options.measure)
    variants = by_variant(gather(results))
    write_whole(options.output / "ablation.md", table(variants))
    with written_whole(options.output / "ablation.png") as part:
        plot(variants).savefig(part, format="png")
    print(table(variants))
    print(f"table and plot: {options.output / 'ablation.md'}, {options.output / 'ablation.png'}")


if __name__ == "__main__":
    main()
