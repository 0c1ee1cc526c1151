"""Videos made worse in steps: blur, noise, held frames, delay, a mouth that stands still, the mouth of other speech.

Synthetic heads with known truth, so that every metric of evaluation can be asked whether it moves the right way.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np

from data_prep.sample import write_clip
from eval.evaluate import evaluate
from eval.results import Results
from eval.scoring import Settings
from latentsync.synthetic.articulation import Articulation
from latentsync.synthetic.clip import SyntheticClip, draw_clip
from latentsync.synthetic.face import render_scene, scene_size
from latentsync.work.runner import HereRunner

RESOLUTION, SECONDS = 128, 3.0
_MOTION = 12  # which of a clip's random streams moves the head, see `draw_clip`
HIGHER_IS_BETTER = ("ssim", "psnr", "sync_confidence", "sync_accuracy", "mouth_r")
Damage = Callable[[SyntheticClip, float], np.ndarray]


def blur(clip: SyntheticClip, sigma: float) -> np.ndarray:
    """Gaussian blur."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip.frames])


def noise(clip: SyntheticClip, deviation: float) -> np.ndarray:
    """White noise in grey levels, another in each frame."""
    generator = np.random.default_rng(0)
    noisy = clip.frames + generator.normal(0, deviation, clip.frames.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def held(clip: SyntheticClip, count: float) -> np.ndarray:
    """Each frame shown `count` times, those between left out."""
    numbers = np.arange(len(clip.frames))
    return clip.frames[numbers - numbers % int(count)]


def delay(clip: SyntheticClip, frames: float) -> np.ndarray:
    """Pictures late by so many frames, the first one held."""
    return clip.frames[(np.arange(len(clip.frames)) - int(frames)).clip(0)]


def frozen(clip: SyntheticClip, share: float) -> np.ndarray:
    """A mouth that stands still for the last share of the time; the head moves on."""
    still = round(len(clip.frames) * (1 - share))
    numbers = np.arange(len(clip.frames)).clip(0, max(0, still - 1))
    return with_mouth(clip, clip.articulation, numbers)


def swapped(clip: SyntheticClip, share: float) -> np.ndarray:
    """The mouth of somebody else's speech for the last share of the time."""
    other = draw_clip(clip.person.seed + 1000, SECONDS, RESOLUTION, 1).articulation
    mixed = mix(clip.articulation, other, np.arange(len(clip.frames)) >= len(clip.frames) * (1 - share))
    return with_mouth(clip, mixed, np.arange(len(clip.frames)))


def mix(one: Articulation, other: Articulation, where: np.ndarray) -> Articulation:
    """`other` in the frames `where` (F,) bool."""
    tracks = {f.name: getattr(one, f.name) for f in fields(one)}
    arrays = {
        name: track for name, track in tracks.items() if isinstance(track, np.ndarray) and len(track) == len(where)
    }
    return replace(one, **{name: np.where(where, getattr(other, name), track) for name, track in arrays.items()})


def with_mouth(clip: SyntheticClip, track: Articulation, numbers: np.ndarray) -> np.ndarray:
    """The clip drawn again, frame i with the mouth of `track` at numbers[i]."""
    arrays = {f.name: getattr(track, f.name) for f in fields(track)}
    chosen = {n: a[numbers] for n, a in arrays.items() if isinstance(a, np.ndarray) and len(a) == len(numbers)}
    motion = np.random.default_rng([clip.person.seed, clip.seed, _MOTION])
    return render_scene(clip.person.look, replace(track, **chosen), scene_size(RESOLUTION), motion).frames


SAME = ("ssim", "psnr", "lpips")
PICTURE = (*SAME, "fvd")
MOUTH = ("mouth_r", "mouth_error", "lmd")
# Damage -> (how, steps from none to much, metrics that have to get worse with every step).
DAMAGES: Mapping[str, tuple[Damage, tuple[float, ...], tuple[str, ...]]] = {
    "blur, σ px": (blur, (0.7, 1.5, 3.0), PICTURE),
    "noise, σ grey levels": (noise, (4, 10, 25), (*PICTURE, "flicker_mouth", "flicker_outside")),
    "frames held": (held, (2, 4, 8), (*SAME, *MOUTH)),
    "delay, frames": (delay, (1, 3, 6), (*SAME, *MOUTH)),
    "mouth frozen, share": (frozen, (0.3, 0.6, 1.0), (*MOUTH, *SAME, "sync_confidence", "sync_accuracy")),
    "other mouth, share": (swapped, (0.3, 0.6, 1.0), (*MOUTH, *SAME, "sync_accuracy")),
}
COLUMNS = (
    "ssim", "psnr", "lpips", "lmd", "fvd", "sync_confidence", "sync_accuracy", "sync_offset", "flicker_mouth",
    "flicker_outside", "mouth_r", "mouth_error",
)  # fmt: skip


def score(
    clips: list[SyntheticClip], damage: Callable[[SyntheticClip], np.ndarray], folder: Path, thorough: bool
) -> dict:
    """Metric -> mean, of the damaged clips against the whole ones. thorough: with the metrics that take long."""
    for clip in clips:
        name = f"{clip.person.seed}.mp4"
        for part, frames in (("true", clip.frames), ("damaged", damage(clip))):
            path = folder / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_clip(path, replace(clip, frames=frames), crf=8)
            path.with_suffix(".json").write_text(json.dumps({"truth": clip.truth()}))
    means: dict[str, float] = {}
    asked = {"json": pixels_and_sync(thorough), **({"mediapipe": {"lmd": {}}} if thorough else {})}
    for finder, metrics in asked.items():
        results = run(folder, finder, metrics)
        means |= {name: summary.mean for name, summary in results.summaries.items()}
    return means


def pixels_and_sync(thorough: bool) -> dict:
    """Metrics for which the generator's own landmarks are best, with their options."""
    fvd = {"fvd": {"every": 16}} if thorough else {}  # needs weights that `fetch i3d` gets
    return {
        "similarity": {}, "lpips": {}, "flicker": {}, "mouth_truth": {},
        "sync_stable": {"weights": "checkpoints/demo/syncnet"},
        **fvd,
    }  # fmt: skip


def run(folder: Path, finder: str, metrics: dict) -> Results:
    """Evaluate what lies in the folder."""
    settings = Settings(metrics, RESOLUTION, finder)
    output = folder / finder
    output.mkdir()
    protocol = {"protocol": "reconstruction"}
    return evaluate("damaged", folder / "damaged", folder / "true", output, settings, HereRunner(), protocol)


def wrong_ways(found: Mapping[str, list[dict]]) -> list[str]:
    """Every metric that does not get worse with each step of a damage that it has to tell. found: damage -> means of
    nothing done and of each step."""
    wrong = []
    for name, steps in found.items():
        for metric in DAMAGES[name][2]:
            values = [step[metric] for step in steps if metric in step]
            worse = np.diff(values) < 0 if metric in HIGHER_IS_BETTER else np.diff(values) > 0
            if not worse.all():
                wrong.append(f"{metric} under {name}: {', '.join(f'{value:.3f}' for value in values)}")
    return wrong


def table(found: Mapping[str, list[dict]]) -> str:
    """A row for each damage and step, a column for each metric; * where it has to get worse."""
    none = next(iter(found.values()))[0]
    shown = [name for name in COLUMNS if name in none]
    lines = ["| damage | " + " | ".join(shown) + " |", "| --- " * (len(shown) + 1) + "|"]
    lines.append("| none | " + " | ".join(f"{none[name]:.3f}" for name in shown) + " |")
    for name, means in found.items():
        _, steps, told = DAMAGES[name]
        for step, mean in zip(steps, means[1:]):
            cells = [f"{mean[metric]:.3f}" + ("*" if metric in told else "") for metric in shown]
            lines.append(f"| {name} {step:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
