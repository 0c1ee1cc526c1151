"""Does a model lip-sync? `python -m eval.lip_sync` drives held-out synthetic people with somebody else's speech.

The right opening of the mouth for every sound is known, and the opening in the generated pixels can be measured: their
correlation says how well the lips follow the sound, and that with the source video's own mouth, how much they do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from configs.compose import command
from data_prep.sample import write_clip
from eval.lip_sync_report import Row, Settings, table, write_results
from eval.mouth_scores import align_frames, outside_blend, outside_mouth, psnr, score_mouth
from latentsync.errors import UserError
from latentsync.face.landmarks import GivenFaces
from latentsync.inference.options import LipSyncOptions
from latentsync.media.audio import encode_wav
from latentsync.media.frames import read_frames
from latentsync.media.rates import FPS
from latentsync.media.video_writer import VideoWriter
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, SyntheticClip, draw_clip
from latentsync.work.files import write_whole
from latentsync.work.progress import Progress

if TYPE_CHECKING:
    from latentsync.inference.pipeline import LipSyncPipeline

_SOURCE_CRF = 8  # the source as good as lossless, so that what is lost is the output's one encode


@dataclass(frozen=True)
class Pair:
    """A source clip in a scene, and the clip of another person whose speech drives it; equally long."""

    source: SyntheticClip
    driving: SyntheticClip


def draw_pairs(num_identities: int, seconds: float, resolution: int, seed: int) -> list[Pair]:
    """`num_identities` held-out people, each with the speech of a further held-out person (nobody is met twice)."""
    people = HELD_OUT_IDENTITIES
    return [
        Pair(
            source=draw_clip(people[index], seconds, resolution, seed, mode="scene"),
            driving=draw_clip(people[num_identities + index], seconds, resolution, seed, mode="scene"),
        )
        for index in range(num_identities)
    ]


def evaluate(pipeline: LipSyncPipeline, settings: Settings, folder: Path, progress: bool = True) -> list[Row]:
    """Score `pipeline` on every pair of people; the videos are kept in `folder`/clips. One row a person.

    The pipeline's face finder is given the landmarks of each clip, which are known. Raises UserError for weights that
    give no picture.
    """
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    pairs = draw_pairs(settings.num_identities, settings.seconds, pipeline.resolution, settings.seed)
    total = sum(len(pair.source.frames) for pair in pairs)
    with tqdm(total=total, desc="lip sync", unit="frame", disable=not progress) as bar:
        rows = []
        for index, pair in enumerate(pairs):
            bar.set_postfix_str(f"person {index + 1} of {len(pairs)}")
            start = bar.n

            def tell(done: float, total: int, start: float = start) -> None:
                bar.update(start + done - bar.n)

            rows.append(score_pair(pipeline, pair, settings, clips, tell))
    return rows


def score_pair(
    pipeline: LipSyncPipeline,
    pair: Pair,
    settings: Settings,
    clips: Path,
    progress: Progress | None = None,
) -> Row:
    """Lip-sync one pair's source to its driving speech, through files as a user would, and measure what came out."""
    source, driving = pair.source, pair.driving
    name = str(source.person.seed)
    given, generated, true = (clips / f"{name}_{part}.mp4" for part in ("input", "generated", "truth"))
    speech = clips / f"{name}_speech.wav"
    write_clip(given, source, _SOURCE_CRF)
    write_clip(true, driving)
    write_whole(speech, encode_wav(driving.wave, driving.sample_rate))
    pipeline.face_finder = GivenFaces(list(source.landmarks3))
    pipeline(
        given, speech, generated,
        guidance_scale=settings.guidance_scale, num_inference_steps=settings.num_inference_steps,
        seed=settings.seed, progress=progress,
    )  # fmt: skip
    return measure(pair, _read(generated), _read(true), _encoded_once(given, clips), pipeline.resolution)


def measure(
    pair: Pair, generated: list[np.ndarray], true: list[np.ndarray], unchanged: list[np.ndarray], resolution: int
) -> Row:
    """Scores of a pair from decoded frames: the generated ones, the driving speech's own, the input encoded once."""
    track, own = pair.driving.articulation, pair.source.articulation
    faces = align_frames(generated, pair.source.landmarks3, resolution)
    blends = [outside_blend(frame.shape, face.matrix, resolution) for frame, face in zip(generated, faces)]
    mouths = [outside_mouth(frame.shape, face.matrix, resolution) for frame, face in zip(generated, faces)]
    input_faces = align_frames(unchanged, pair.source.landmarks3, resolution)
    true_faces = align_frames(true, pair.driving.landmarks3, resolution)
    truths = (track.opening, own.opening, track.pause)
    return Row(
        identity=pair.source.person.seed,
        speaker=pair.driving.person.seed,
        generated=score_mouth(faces, *truths),
        truth=score_mouth(true_faces, *truths),
        unchanged=score_mouth(input_faces, *truths),
        psnr_outside_blend=psnr(generated, unchanged, blends),
        psnr_outside_mouth=psnr(generated, unchanged, mouths),
    )


def check_settings(settings: Settings) -> None:
    """Raise UserError for a setting out of range."""
    most = len(HELD_OUT_IDENTITIES) // 2
    if not isinstance(settings.num_identities, int) or not 1 <= settings.num_identities <= most:
        raise UserError(f"num_identities={settings.num_identities}: give 1 to {most}")
    if not 0.4 <= settings.seconds <= 60:
        raise UserError(f"seconds={settings.seconds}: give 0.4 to 60")
    if settings.seed == 0:
        raise UserError("seed=0 would draw one for each clip; give 1 or more")
    LipSyncOptions(
        guidance_scale=settings.guidance_scale, num_inference_steps=settings.num_inference_steps, seed=settings.seed
    )


def _encoded_once(video: Path, folder: Path) -> list[np.ndarray]:
    """The frames of `video` after one encode as the output's, so that the encoder's own loss does not count."""
    frames = _read(video)
    target = folder / f".{video.stem}_encoded.mp4"
    try:
        with VideoWriter(target, frames[0].shape[1], frames[0].shape[0], FPS) as writer:
            for frame in frames:
                writer.write(frame)
        return _read(target)
    finally:
        target.unlink(missing_ok=True)


def _read(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in read_frames(path)]


def run(config: DictConfig) -> None:
    """`python -m eval.lip_sync`: check, load the model once, score, write results.json and results.md, print."""
    settings = Settings(
        weights=str(config.weights),
        num_identities=config.num_identities,
        seconds=float(config.seconds),
        num_inference_steps=config.num_inference_steps,
        guidance_scale=config.guidance_scale,
        seed=config.seed,
    )
    check_settings(settings)
    folder = Path(config.output)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output '{folder}': is a file; give a folder")

    from latentsync.inference.pipeline import LipSyncPipeline  # here, so that a mistake is answered at once

    parts = (config.autoencoder, config.audio_encoder, config.resolution)
    pipeline = LipSyncPipeline.from_pretrained(config.weights, config.device, config.precision, GivenFaces([]), *parts)
    rows = evaluate(pipeline, settings, folder)
    write_results(rows, settings, folder)
    print(table(rows, settings))
    print(f"results: {folder / 'results.json'}, {folder / 'results.md'}; videos: {folder / 'clips'}")


if __name__ == "__main__":
    command("eval/lip_sync", run)
