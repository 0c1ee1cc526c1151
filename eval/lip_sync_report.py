"""The results of the lip-sync evaluation as JSON and as a Markdown table."""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.mouth_scores import Scores
from latentsync.work.files import write_whole

GOALS = {"driving": 0.8, "source": 0.3, "psnr_outside_blend": 35.0}
"""At least, at most, at least: of the means over people."""


@dataclass(frozen=True)
class Settings:
    """What was evaluated and how; see configs/eval/lip_sync.yaml."""

    weights: str
    num_identities: int
    seconds: float
    num_inference_steps: int
    guidance_scale: float
    seed: int


@dataclass(frozen=True)
class Row:
    """One person. generated, truth (the driving speech's own frames), unchanged (the input): scores of the mouth.

    psnr_outside_blend, psnr_outside_mouth: dB between output and the input encoded once, where the face was not
    pasted, and wherever nothing was generated (there the face was resampled once). identity: shown; speaker: heard.
    """

    identity: int
    speaker: int
    generated: Scores
    truth: Scores
    unchanged: Scores
    psnr_outside_blend: float
    psnr_outside_mouth: float


def means(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over people; people whose speech has no pause do not count in the leak."""
    return {
        **{name: _mean_scores([getattr(row, name) for row in rows]) for name in ("generated", "truth", "unchanged")},
        "psnr_outside_blend": float(np.mean([row.psnr_outside_blend for row in rows])),
        "psnr_outside_mouth": float(np.mean([row.psnr_outside_mouth for row in rows])),
    }


def goals_met(rows: Sequence[Row]) -> dict[str, bool]:
    """Which of `GOALS` the means meet."""
    mean = means(rows)
    return {
        "driving": mean["generated"]["driving"] >= GOALS["driving"],
        "source": mean["generated"]["source"] <= GOALS["source"],
        "psnr_outside_blend": mean["psnr_outside_blend"] >= GOALS["psnr_outside_blend"],
    }


def table(rows: Sequence[Row], settings: Settings) -> str:
    """Markdown: a line a person, the means, the two rows to compare with, and what was run."""
    mean, met = means(rows), goals_met(rows)
    lines = [
        "| person | r with driving speech | r with own mouth | open in pauses | PSNR outside blend | outside mouth |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"{row.identity} ← {row.speaker}"
        lines.append(_line(name, asdict(row.generated), row.psnr_outside_blend, row.psnr_outside_mouth))
    lines.append(_line("**mean**", mean["generated"], mean["psnr_outside_blend"], mean["psnr_outside_mouth"]))
    lines.append(_line("true frames of the speech", mean["truth"]))
    lines.append(_line("input unchanged", mean["unchanged"]))
    verdict = {name: "met" if good else "missed" for name, good in met.items()}
    lines.append(
        f"| goal | ≥ {GOALS['driving']} ({verdict['driving']}) | ≤ {GOALS['source']} ({verdict['source']}) | | "
        f"≥ {GOALS['psnr_outside_blend']:g} dB ({verdict['psnr_outside_blend']}) | |"
    )
    told = ", ".join(f"{name} {value}" for name, value in {**asdict(settings), **versions()}.items())
    return "\n".join(lines) + f"\n\n{told}"


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    import torch

    from latentsync import __version__
    from latentsync.synthetic.clip import GENERATOR_VERSION

    return {
        "latentsync": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "synthetic heads": str(GENERATOR_VERSION),
    }


def write_results(rows: Sequence[Row], settings: Settings, folder: Path) -> None:
    """results.json and results.md in `folder`, each appearing when it is complete."""
    content = {
        "settings": asdict(settings),
        "versions": versions(),
        "mean": means(rows),
        "goals": GOALS,
        "goals_met": goals_met(rows),
        "people": [asdict(row) for row in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_finite(content), indent=1, allow_nan=False)
    write_whole(folder / "results.json", (text + "\n").encode())
    write_whole(folder / "results.md", (table(rows, settings) + "\n").encode())


def _mean_scores(scores: Sequence[Scores]) -> dict[str, float | None]:
    leaks = [score.leak for score in scores if score.leak is not None]
    return {
        "driving": float(np.mean([score.driving for score in scores])),
        "source": float(np.mean([score.source for score in scores])),
        "leak": float(np.mean(leaks)) if leaks else None,
    }


def _line(name: str, scores: Mapping[str, float | None], blend: float | None = None, mouth: float | None = None) -> str:
    leak = "no pause" if scores["leak"] is None else f"{100 * scores['leak']:.0f} %"
    decibels = " | ".join("" if value is None else f"{value:.1f} dB" for value in (blend, mouth))
    return f"| {name} | {scores['driving']:.3f} | {scores['source']:.3f} | {leak} | {decibels} |"


def _finite(value: Any) -> Any:
    """JSON knows no infinity: "inf"."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value
