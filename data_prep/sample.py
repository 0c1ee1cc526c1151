"""Makes the bundled sample: a synthetic clip, the speech of somebody else to drive it with, and its landmarks.

`python -m data_prep.sample output=checkpoints/demo/sample` writes it again.
"""

import json
from pathlib import Path

from omegaconf import DictConfig

from configs.compose import command
from latentsync.errors import UserError
from latentsync.media.audio import encode_wav
from latentsync.media.frames import read_frames
from latentsync.media.stills import write_picture
from latentsync.media.video_writer import VideoWriter
from latentsync.synthetic.clip import SyntheticClip, draw_clip
from latentsync.work.files import write_whole


def make_sample(
    output: str | Path,
    identity: int = 100_050,
    speaker: int = 100_051,
    seed: int = 5,
    seconds: float = 4.0,
    resolution: int = 128,
    crf: int = 20,
    picture: bool = False,
) -> Path:
    """Write talk.mp4 (`identity` in a scene, with sound), talk.json, speech.wav (`speaker`), and return the folder.

    talk.json holds "truth", what is known of the clip (with "landmarks3" for infer.py's `faces=`), and
    "driving_truth", what is known of the speech, without landmarks. seconds: of both, 0.2 to 60. resolution: of the
    aligned face, a multiple of 8 from 64. picture: also face.png, the clip's first frame, whose landmarks are the
    first of talk.json. Raises UserError for an argument out of range.
    """
    _check(identity, speaker, seed, seconds, resolution, crf)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    clip = draw_clip(identity, seconds, resolution, seed, mode="scene")
    driving = draw_clip(speaker, seconds, resolution, seed + 1)
    write_clip(folder / "talk.mp4", clip, crf)
    truths = {"truth": clip.truth(), "driving_truth": _without_face(driving.truth())}
    write_whole(folder / "talk.json", json.dumps(truths) + "\n")
    write_whole(folder / "speech.wav", encode_wav(driving.wave, driving.sample_rate))
    if picture:
        write_picture(folder / "face.png", next(iter(read_frames(folder / "talk.mp4"))).image)
    return folder


def write_clip(path: Path, clip: SyntheticClip, crf: int = 18) -> None:
    """A synthetic clip with its sound as an mp4 that appears when it is complete."""
    height, width = clip.frames.shape[1:3]
    with VideoWriter(path, width, height, clip.fps, crf=crf, audio=(clip.wave, clip.sample_rate)) as writer:
        for frame in clip.frames:
            writer.write(frame)


def _without_face(truth: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in truth.items() if name not in ("landmarks3", "mouth_box")}


def _check(identity: int, speaker: int, seed: int, seconds: float, resolution: int, crf: int) -> None:
    for name, value in {"identity": identity, "speaker": speaker, "seed": seed}.items():
        if not isinstance(value, int) or value < 0:
            raise UserError(f"{name}={value}: give a whole number from 0")
    if not 0.2 <= seconds <= 60:
        raise UserError(f"seconds={seconds}: give 0.2 to 60")
    if resolution < 64 or resolution % 8:
        raise UserError(f"resolution={resolution}: give a multiple of 8, at least 64")
    if not 0 <= crf <= 51:
        raise UserError(f"crf={crf}: give 0 (lossless) to 51")


def run(config: DictConfig) -> None:
    """`python -m data_prep.sample output=…`"""
    folder = make_sample(**{str(key): value for key, value in config.items()})
    print(f"sample in {folder}: " + ", ".join(sorted(path.name for path in folder.iterdir())))


if __name__ == "__main__":
    command("data_prep/sample", run)
