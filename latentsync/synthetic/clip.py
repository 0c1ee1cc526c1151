"""Synthetic talking heads: clips whose right lips for every sound are known exactly.

An integer names a person (`draw_person`); a second one the clip. Face and voice are driven by one articulation track.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from latentsync.media.rates import FPS, SAMPLE_RATE
from latentsync.synthetic.articulation import Articulation, draw_articulation
from latentsync.synthetic.face import Rendering, render_aligned, render_scene, scene_size
from latentsync.synthetic.look import Look, draw_look
from latentsync.synthetic.voice import Voice, draw_voice, synthesise_voice

GENERATOR_VERSION = 1
"""Raised whenever the same seeds would give other pixels or sound."""
TRAIN_IDENTITIES = range(0, 100_000)
HELD_OUT_IDENTITIES = range(100_000, 110_000)
"""People that no training shard shows."""


@dataclass(frozen=True)
class Person:
    """What somebody looks like and how they sound; `seed` gives them again."""

    seed: int
    look: Look
    voice: Voice


@dataclass(frozen=True)
class SyntheticClip:
    """A talking head with its truth.

    frames (F, H, W, 3) uint8 RGB at `fps`; wave (N,) float32 in [-1, 1] at `sample_rate`, of the same length in
    seconds; landmarks3 (F, 3, 2): left brow, right brow, nose centre, x and y in pixels; mouth_box (F, 4): x0, y0, x1,
    y1 of the lips; seed, mode: as given to `draw_clip`.
    """

    frames: np.ndarray
    wave: np.ndarray
    articulation: Articulation
    person: Person
    landmarks3: np.ndarray
    mouth_box: np.ndarray
    seed: int
    mode: str
    fps: int = FPS
    sample_rate: int = SAMPLE_RATE

    def truth(self) -> dict[str, Any]:
        """What is known of the clip, for JSON: one number a frame for the mouth, lists of points for the face."""
        track = self.articulation
        return {
            "generator_version": GENERATOR_VERSION,
            "identity_seed": self.person.seed,
            "seed": self.seed,
            "mode": self.mode,
            "opening": np.round(track.opening, 4).tolist(),
            "width": np.round(track.width, 4).tolist(),
            "rounding": np.round(track.rounding, 4).tolist(),
            "closure": track.closure.tolist(),
            "voiced": (track.voice > 0.3).tolist(),
            "pause": track.pause.tolist(),
            "landmarks3": np.round(self.landmarks3, 3).tolist(),
            "mouth_box": np.round(self.mouth_box, 2).tolist(),
        }


def draw_person(seed: int) -> Person:
    """The person that `seed` names, always the same."""
    return Person(
        seed=seed, look=draw_look(np.random.default_rng([seed, 1])), voice=draw_voice(np.random.default_rng([seed, 2]))
    )


def draw_clip(
    identity_seed: int,
    seconds: float,
    resolution: int,
    seed: int,
    mode: Literal["aligned", "scene"] = "aligned",
    jitter: float = 1.0,
) -> SyntheticClip:
    """A clip of one person saying something random.

    identity_seed: the person; seed: what is said and how the head moves; resolution: R of the aligned crop, in pixels.
    mode: "aligned" gives (F, R, R, 3) as the alignment would crop it, off by about `jitter` pixels at R = 128; "scene"
    gives the picture before alignment, of `scene_size(R)`. Both show the same speech and motion.
    """
    if mode not in ("aligned", "scene"):
        raise ValueError(f"mode must be 'aligned' or 'scene', got {mode!r}")
    person = draw_person(identity_seed)
    speech, motion, sound = (np.random.default_rng([identity_seed, seed, part]) for part in (11, 12, 13))
    articulation = draw_articulation(max(1, round(seconds * FPS)), speech)
    rendering: Rendering
    if mode == "aligned":
        rendering = render_aligned(person.look, articulation, resolution, motion, jitter)
    else:
        rendering = render_scene(person.look, articulation, scene_size(resolution), motion)
    wave = synthesise_voice(articulation, person.voice, sound, SAMPLE_RATE)
    return SyntheticClip(
        frames=rendering.frames,
        wave=wave,
        articulation=articulation,
        person=person,
        landmarks3=rendering.landmarks3,
        mouth_box=rendering.mouth_box,
        seed=seed,
        mode=mode,
    )
