"""Other looks of the same clips: mirrored, in other light, a little wider or narrower; for corpora of few speakers."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from omegaconf import DictConfig
from tqdm import tqdm

from configs.compose import command
from latentsync.data.remote_writer import shard_writer
from latentsync.data.sample import BadSample, ClipSample
from latentsync.data.shards import ShardSet, ShardSource
from latentsync.errors import UserError
from latentsync.media.clip_reader import ClipReader
from latentsync.media.video_writer import encode_clip


@dataclass(frozen=True)
class Look:
    """One change of appearance, the same for all frames of a clip: what moves and when stays as it is.

    mirror: left and right swapped. gains: factors of R, G and B. gamma: exponent of the grey levels. saturation: 0 is
    grey, 1 as it is. scale: of width and height about the centre. shift: right and down, in crop sizes.
    """

    mirror: bool
    gains: tuple[float, float, float]
    gamma: float
    saturation: float
    scale: tuple[float, float]
    shift: tuple[float, float]

    @classmethod
    def draw(cls, generator: np.random.Generator, strength: float) -> "Look":
        """A random look; strength 1 spans about the light and the faces of a studio corpus, 0 only mirrors."""
        red, green, blue = np.exp(generator.normal(0, 0.12 * strength, 3) + generator.normal(-0.06, 0.12) * strength)
        return cls(
            mirror=bool(generator.random() < 0.5),
            gains=(float(red), float(green), float(blue)),
            gamma=float(np.exp(generator.normal(0, 0.15 * strength))),
            saturation=float(np.exp(generator.normal(0, 0.25 * strength))),
            scale=tuple(np.exp(generator.normal(0, 0.05 * strength, 2)).tolist()),
            shift=tuple(generator.normal(0, 0.012 * strength, 2).tolist()),
        )

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """frames: (N, H, W, 3) uint8 RGB. Returns the same shape and type."""
        height, width = frames.shape[1:3]
        horizontal, vertical = self.scale
        matrix = np.array([
            [horizontal, 0, width * (self.shift[0] + (1 - horizontal) / 2)],
            [0, vertical, height * (self.shift[1] + (1 - vertical) / 2)],
        ])  # fmt: skip
        levels = (np.arange(256) / 255) ** self.gamma
        tables = np.stack([np.clip(levels * gain, 0, 1) for gain in self.gains], axis=1).astype(np.float32)  # (256, 3)
        looks = []
        for frame in frames[:, :, ::-1] if self.mirror else frames:
            moved = cv2.warpAffine(
                np.ascontiguousarray(frame),
                matrix,
                (width, height),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REFLECT,
            )
            lit = np.take_along_axis(tables, moved.reshape(-1, 3).astype(np.intp), axis=0).reshape(moved.shape)
            grey = lit.mean(axis=2, keepdims=True)
            looks.append(np.clip((grey + (lit - grey) * self.saturation) * 255 + 0.5, 0, 255).astype(np.uint8))
        return np.stack(looks)


def augment(
    input: ShardSource,
    output: str | Path,
    copies: int = 1,
    strength: float = 1.0,
    crf: int = 14,
    clips_per_shard: int = 64,
    seed: int = 0,
    resume: bool = False,
) -> dict[str, int]:
    """Write `copies` other looks of every clip of `input` into the folder `output`, a path or an address; returns how
    many clips went where.

    strength: how far looks differ, see `Look.draw`. crf: H.264 quality, less is better. seed: equal arguments give
    equal shards. resume: go on in a folder that holds some of the clips. Sound, mel and audio tokens are the clip's
    own; latents are left out (precompute them from the new shards). The copies alone are written, as KEY-look0, ….
    Raises UserError for an argument out of range or a folder in use.
    """
    if copies < 1 or strength < 0:
        raise UserError(f"copies={copies}, strength={strength}: give at least 1 copy and a strength of at least 0")
    shards = ShardSet(input)
    counts = {"written": 0}
    with shard_writer(output, clips_per_shard, "augmented", resume) as writer:
        for index in tqdm(range(len(shards)), desc="augment", unit="clip", mininterval=5):
            keys = [f"{shards.key(index)}-look{number}" for number in range(copies)]
            try:
                for key in (key for key in keys if key not in writer.keys):
                    writer.write(other_look(shards.read(index), key, strength, crf, seed))
                    counts["written"] += 1
            except BadSample as error:
                counts[str(error)] = counts.get(str(error), 0) + 1
    return counts


def other_look(sample: ClipSample, key: str, strength: float, crf: int, seed: int) -> ClipSample:
    """The clip under the name `key` in a look that (seed, key) decides."""
    from latentsync.data.windows import clip_generator  # with torch

    reader = ClipReader(sample.video)
    frames = Look.draw(clip_generator(seed, 0, key), strength).apply(reader.read(list(range(len(reader)))))
    video = encode_clip(frames, fps=sample.metadata["fps"], crf=crf)
    return replace(sample, key=key, video=video, latents=None)


def run(config: DictConfig) -> None:
    """`python -m data_prep.augment input=… output=…`"""
    counts = augment(**{str(key): value for key, value in config.items()})
    print(", ".join(f"{count} {reason}" for reason, count in counts.items()) + f"; shards in {config.output}")


if __name__ == "__main__":
    command("data_prep/augment", run)
