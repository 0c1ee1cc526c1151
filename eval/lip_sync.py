"""Does a model lip-sync? `python -m eval.lip_sync` drives people with somebody else's speech and measures their mouths.

Drawn people, whose right lips for every sound are known, or real clips (`clips=DIR`), whose landmarks are measured. Two
rows are measured by the same code to compare with: the driving speech's own frames, and the input as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from configs.compose import command
from eval.contact_sheet import mouths_in_motion
from eval.lip_sync_pairs import CROSS, RECONSTRUCTION, ClipFolder, Pair, Pairs, clip_pairs, drawn_pairs
from eval.lip_sync_report import Outcome, Row, table, write_results
from eval.metrics.metric import Metric
from eval.video import Faces, VideoScorer
from latentsync.errors import UserError
from latentsync.face.landmarks import GivenFaces
from latentsync.inference.options import LipSyncOptions
from latentsync.media.audio import load_audio
from latentsync.media.frames import read_frames_at
from latentsync.media.rates import FPS, SAMPLE_RATE
from latentsync.media.stills import write_picture
from latentsync.media.video_writer import VideoWriter
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES
from latentsync.work.files import write_whole
from latentsync.work.progress import ProgressBar

if TYPE_CHECKING:
    from latentsync.inference.pipeline import LipSyncPipeline

DRAWN_METRICS = ("mouth_truth", "untouched", "mouth_region")
REAL_METRICS = ("mouth_track", "mouth_region", "region_lpips_alex", "region_lpips_vgg")
_SYNC_METRICS = {"StableSyncNetScorer": "sync_stable", "SyncNetV2Scorer": "sync_v2"}
_SHEET_PAIRS = 6


@dataclass(frozen=True)
class Plan:
    """How pairs are made to speak and measured. seeds: of the generation; metrics: group -> options; finder: see
    `eval.video.Faces`; protocols: some of "cross" and "reconstruction"; told: what the results say of the run."""

    seeds: Sequence[int]
    metrics: Mapping[str, Mapping[str, Any]]
    finder: str
    options: Mapping[str, Any]
    protocols: Sequence[str] = (CROSS, RECONSTRUCTION)
    told: Mapping[str, Any] = field(default_factory=dict)


def measure(pipeline: LipSyncPipeline, pairs: Pairs, plan: Plan, folder: Path, progress: bool = True) -> Outcome:
    """Lip-sync every pair with every seed, through files as a user would, and score what came out.

    Videos are kept in `folder`/clips: unchanged, true, and PROTOCOL/seed_N. Raises UserError for weights that give no
    picture; metrics whose weights are missing are named in the outcome.
    """
    usable, missing = _metrics(plan.metrics)
    definitions = {d.name: d for metric in usable.values() for d in metric.definitions}
    rows: list[Row] = []
    todo = {protocol: pairs.by_protocol.get(protocol, ()) for protocol in plan.protocols}
    total = sum(len(some) for some in todo.values()) * len(plan.seeds)
    clips = folder / "clips"
    with ProgressBar("videos lip-synced") as bar:
        done = 0.0
        for protocol, some in todo.items():
            scorer = VideoScorer(_fitting(usable, protocol), pipeline.resolution, plan.finder)
            for pair in some:
                original = _compared(pair, protocol, clips)
                rows += _rows_to_compare(scorer, pair, protocol, clips)
                for seed in plan.seeds:
                    tell = (lambda now, all, before=done: bar(before + now / max(1, all), total)) if progress else None
                    target = clips / protocol / f"seed_{seed}" / f"{pair.name}.mp4"
                    error = _generate(pipeline, pair, target, {**plan.options, "seed": seed}, tell)
                    rows.append(_score(scorer, protocol, pair, target, original, seed, error))
                    done += 1
    return Outcome(rows, definitions, missing, dict(pairs.left_out))


def _metrics(wanted: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Metric], dict[str, str]]:
    """(metrics that can be computed, group -> why not)."""
    from eval.evaluate import available
    from eval.scoring import Settings

    return available(Settings(wanted, 0, ""), {})


def _fitting(metrics: Mapping[str, Metric], protocol: str) -> dict[str, Metric]:
    """Without those that need true frames where there are none."""
    return {
        name: metric
        for name, metric in metrics.items()
        if protocol != CROSS or any(definition.against != "truth" for definition in metric.definitions)
    }


def _compared(pair: Pair, protocol: str, clips: Path) -> Path:
    """Write what is compared with: the input and the true frames, both encoded once as the output is, so that the
    encoder's own loss does not count; the input's path."""
    unchanged = clips / protocol / "unchanged" / f"{pair.name}.mp4"
    _encode(pair.video, pair.true, unchanged, pair.known)
    if protocol == CROSS:
        _encode(pair.true, pair.true, clips / protocol / "true" / f"{pair.name}.mp4", pair.true_known)
    return unchanged


def _rows_to_compare(scorer: VideoScorer, pair: Pair, protocol: str, clips: Path) -> list[Row]:
    unchanged = clips / protocol / "unchanged" / f"{pair.name}.mp4"
    rows = [_score(scorer, f"{protocol}: input unchanged", pair, unchanged, pair.video)]
    if protocol == CROSS:
        true = clips / protocol / "true" / f"{pair.name}.mp4"
        rows.append(_score(scorer, f"{protocol}: true frames", pair, true, pair.true))
    return rows


def _encode(video: Path, sound: Path, target: Path, known: Mapping[str, Any]) -> None:
    """The frames of `video` at 25 a second with another's sound, and what is known of them beside."""
    target.parent.mkdir(parents=True, exist_ok=True)
    frames = read_frames_at(video)
    first = next(frames)
    height, width = first.image.shape[:2]
    with VideoWriter(target, width, height, FPS, audio=(load_audio(sound), SAMPLE_RATE)) as writer:
        writer.write(first.image)
        for frame in frames:
            writer.write(frame.image)
    write_whole(target.with_suffix(".json"), json.dumps(known).encode())


def _generate(
    pipeline: LipSyncPipeline, pair: Pair, target: Path, options: Mapping[str, Any], tell: Callable | None
) -> str | None:
    """Write `target`, and what is known of it beside; why not, or None."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target.with_suffix(".json"), json.dumps(pair.known).encode())
    finder, landmarks = pipeline.face_finder, pair.landmarks
    pipeline.face_finder = finder if landmarks is None else GivenFaces(landmarks)
    try:
        pipeline(pair.video, pair.true, target, progress=tell, **options)
    except UserError as error:
        return str(error)
    finally:
        pipeline.face_finder = finder
    return None


def _score(
    scorer: VideoScorer,
    kind: str,
    pair: Pair,
    video: Path,
    reference: Path,
    seed: int | None = None,
    error: str | None = None,
) -> Row:
    values: dict[str, float] = {}
    if error is None:
        try:
            values = scorer.score(video, reference, lambda _: None).values
        except UserError as mistake:
            error = str(mistake)
    if kind.startswith(CROSS):  # what the source shows is not what should come out
        values.pop("region_psnr", None)
    return Row(kind, pair.name, pair.driver, seed, values, error)


def write_sheet(pairs: Pairs, plan: Plan, resolution: int, folder: Path) -> Path:
    """mouths.png in `folder`: the first people's mouths in motion."""
    clips, rows = folder / "clips" / CROSS, []
    for pair in pairs.by_protocol.get(CROSS, ())[:_SHEET_PAIRS]:
        videos = [clips / part / f"{pair.name}.mp4" for part in ("unchanged", f"seed_{plan.seeds[0]}", "true")]
        if all(video.is_file() for video in videos):
            rows.append((f"{pair.name}, driven by {pair.driver}", videos))
    path = folder / "mouths.png"
    if rows:
        write_picture(path, mouths_in_motion(rows, Faces(plan.finder), resolution))
    return path


def check_drawn(num_identities: int, seconds: float) -> None:
    """Raise UserError for a setting out of range."""
    most = len(HELD_OUT_IDENTITIES) // 2
    if not isinstance(num_identities, int) or not 1 <= num_identities <= most:
        raise UserError(f"num_identities={num_identities}: give 1 to {most}")
    if not 0.4 <= seconds <= 60:
        raise UserError(f"seconds={seconds}: give 0.4 to 60")


def check_seeds(seeds: Sequence[int], guidance_scale: float | None, num_inference_steps: int) -> None:
    """Raise UserError for a setting out of range."""
    for seed in seeds:
        if seed == 0:
            raise UserError("seed=0 would draw one for each clip; give 1 or more")
        LipSyncOptions(guidance_scale=guidance_scale, num_inference_steps=num_inference_steps, seed=seed)
    if not seeds:
        raise UserError("seeds=[]: give one at least, as in seeds=[1,2,3]")


def _plan(config: DictConfig, seeds: list[int]) -> Plan:
    options = {"guidance_scale": config.guidance_scale, "num_inference_steps": config.num_inference_steps}
    told = {"weights": str(config.weights), "seeds": seeds, **options}
    if config.clips is None:
        told |= {"num_identities": config.num_identities, "seconds": float(config.seconds), "seed": config.seed}
        return Plan(seeds, {name: {} for name in DRAWN_METRICS}, "json", options, [CROSS], told)
    told |= {"clips": str(config.clips), "sounds": str(config.sounds or config.clips), "pairing seed": config.seed}
    unknown = [protocol for protocol in config.protocols if protocol not in (CROSS, RECONSTRUCTION)]
    if unknown or not config.protocols:
        raise UserError(f"protocols={list(config.protocols)}: give {CROSS}, {RECONSTRUCTION} or both")
    from latentsync.inference.pipeline import choose_device  # takes seconds to import

    found = choose_device(config.device)  # before any work
    device = found.type if config.device in ("auto", "cuda") else str(found)  # "cuda": each worker's own
    metrics: dict[str, dict[str, Any]] = {name: {} for name in REAL_METRICS}
    for net in ("alex", "vgg"):
        metrics[f"region_lpips_{net}"] = {"net": net, "every": config.lpips_every, "device": device}
    if config.syncnet is not None:
        name = _SYNC_METRICS[config.syncnet["_target_"].rpartition(".")[2]]
        metrics[name] = {"weights": config.syncnet.weights, "device": device}
        told |= {"syncnet": str(config.syncnet.weights or name)}
    return Plan(seeds, metrics, "mediapipe", options, list(config.protocols), told)


def _pairs(config: DictConfig, folder: Path, resolution: int) -> Pairs:
    if config.clips is None:
        return drawn_pairs(folder / "sources", config.num_identities, config.seconds, resolution, config.seed)
    from latentsync.face.face_file import open_face_finder

    finder, tracks = open_face_finder(), Path(config.tracks)
    names = None if config.names is None else Path(config.names).read_text(encoding="utf-8").split()
    clips = ClipFolder(config.clips, names, finder, tracks)
    sounds = None if config.sounds is None else ClipFolder(config.sounds, None, finder, tracks)
    return clip_pairs(clips, sounds, config.num_clips, config.seed)


def _check(config: DictConfig, seeds: list[int]) -> None:
    check_drawn(config.num_identities, float(config.seconds))
    check_seeds(seeds, config.guidance_scale, config.num_inference_steps)
    if config.num_clips is not None and (not isinstance(config.num_clips, int) or config.num_clips < 1):
        raise UserError(f"num_clips={config.num_clips}: give 1 or more, or null for all")
    if config.sounds is not None and config.clips is None:
        raise UserError("sounds=DIR needs clips=DIR: the videos that shall speak")
    if config.names is not None and not Path(config.names).is_file():
        raise UserError(f"names '{config.names}': no such file; give a text file of names, one a line")


def run(config: DictConfig) -> None:
    """`python -m eval.lip_sync`: check, load the model once, generate, score, write results and a sheet, print."""
    seeds = [config.seed] if config.seeds is None else list(config.seeds)
    _check(config, seeds)
    plan = _plan(config, seeds)
    folder = Path(config.output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output '{folder}': is a file; give a folder")

    from latentsync.inference.pipeline import LipSyncPipeline  # here, so that a mistake is answered at once

    faces = GivenFaces([]) if config.clips is None else "mediapipe"
    parts = (config.autoencoder, config.audio_encoder, config.resolution)
    pipeline = LipSyncPipeline.from_pretrained(config.weights, config.device, config.precision, faces, *parts)
    pairs = _pairs(config, folder, pipeline.resolution)
    outcome = measure(pipeline, pairs, plan, folder)
    write_results(outcome, plan.told, folder)
    sheet = write_sheet(pairs, plan, pipeline.resolution, folder)
    print(table(outcome, plan.told))
    print(f"results: {folder / 'results.json'}, {folder / 'results.md'}, {sheet}; videos: {folder / 'clips'}")


if __name__ == "__main__":
    command("eval/lip_sync", run)
