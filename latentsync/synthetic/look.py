"""What a synthetic person looks like: colours, proportions and light, drawn at random.

Lengths are in canvas units: pixels of the published alignment's 210 × 280 canvas (resolution 256).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CANVAS = (210.0, 280.0)
Colour = tuple[float, float, float]
"""RGB, 0 to 255."""

# From light to dark; even the darkest is far brighter than the inside of a mouth, in every channel's maximum.
_SKINS: tuple[Colour, ...] = (
    (240, 208, 186), (236, 194, 164), (226, 178, 142), (206, 154, 114), (176, 122, 88), (150, 100, 72), (128, 86, 64),
)  # fmt: skip
_HAIRS: tuple[Colour, ...] = (
    (38, 30, 30), (66, 45, 34), (108, 72, 44), (150, 78, 40), (208, 168, 100), (228, 204, 150), (160, 160, 162),
)  # fmt: skip
_EYES: tuple[Colour, ...] = ((92, 60, 36), (60, 42, 30), (78, 118, 160), (96, 130, 84), (110, 120, 130))
_CLOTHES: tuple[Colour, ...] = (
    (52, 84, 128), (150, 54, 60), (66, 110, 84), (60, 60, 70), (214, 206, 192), (196, 144, 60), (112, 78, 132),
)  # fmt: skip
_LEAST_LIP_RED = 146.0
"""Keeps the darkest lips well apart from the inside of the mouth."""
HAIR_STYLES = ("short", "fringe", "parted", "long", "bald")


@dataclass(frozen=True)
class Look:
    """One person and the light on them; see the module for units."""

    skin: Colour
    hair: Colour
    hair_style: str
    eye: Colour
    lip: Colour
    cloth: Colour
    backdrop: tuple[Colour, Colour]
    backdrop_blobs: tuple[tuple[float, float, float, float], ...]  # x, y, radius in [0, 1] of the scene, strength
    light: tuple[float, float]  # direction towards the light: x right, y down
    cheek_half_width: float
    jaw_exponent: float
    chin: float  # y of the chin
    hairline: float  # y of the hair's lower edge on the forehead
    eye_half_width: float
    eye_height: float
    eye_y: float
    brow_thickness: float
    brow_arch: float
    nose_half_width: float
    nose_tip: float  # y of the nostrils
    mouth_half_width: float
    lip_thickness: float
    blush: float
    freckles: int
    glasses: bool
    blink_period: float  # seconds


def draw_look(rng: np.random.Generator) -> Look:
    """A random person: every field is drawn independently, except that lips and hair suit the skin's tone."""
    tone = rng.uniform(0, 1)
    skin = _between(_SKINS, tone)
    lipstick = rng.uniform(0.0, 0.45)
    natural = (skin[0] * 0.86, skin[1] * 0.60, skin[2] * 0.62)
    lip = tuple(float(n * (1 - lipstick) + s * lipstick) for n, s in zip(natural, (200, 62, 84)))
    hue = rng.uniform(0, 1, 3)
    backdrop = _backdrop(hue, rng.uniform(80, 215))
    blobs = tuple(
        (float(rng.uniform(0, 1)), float(rng.uniform(0, 1)), float(rng.uniform(0.05, 0.22)), float(rng.uniform(-1, 1)))
        for _ in range(7)
    )
    return Look(
        skin=skin,
        hair=_jitter(_HAIRS[rng.integers(len(_HAIRS) if tone < 0.55 else 3)], 8, rng),
        hair_style=HAIR_STYLES[rng.choice(len(HAIR_STYLES), p=(0.26, 0.22, 0.22, 0.22, 0.08))],
        eye=_jitter(_EYES[rng.integers(len(_EYES))], 12, rng),
        lip=(max(lip[0], _LEAST_LIP_RED), lip[1], lip[2]),
        cloth=_jitter(_CLOTHES[rng.integers(len(_CLOTHES))], 15, rng),
        backdrop=backdrop,
        backdrop_blobs=blobs,
        light=(float(rng.uniform(-0.55, 0.55)), float(rng.uniform(-0.6, -0.15))),
        cheek_half_width=float(rng.uniform(92, 103)),
        jaw_exponent=float(rng.uniform(1.85, 2.5)),
        chin=float(rng.uniform(230, 240)),
        hairline=float(rng.uniform(-30, 8)),
        eye_half_width=float(rng.uniform(19, 23)),
        eye_height=float(rng.uniform(8.5, 11.5)),
        eye_y=float(rng.uniform(79, 84)),
        brow_thickness=float(rng.uniform(4.0, 7.5)),
        brow_arch=float(rng.uniform(2.0, 8.0)),
        nose_half_width=float(rng.uniform(14, 20)),
        nose_tip=float(rng.uniform(124, 130)),
        mouth_half_width=float(rng.uniform(32, 38)),
        lip_thickness=float(rng.uniform(0.85, 1.25)),
        blush=float(rng.uniform(0.0, 0.22)),
        freckles=int(rng.integers(12, 40)) if rng.random() < 0.2 else 0,
        glasses=bool(rng.random() < 0.18),
        blink_period=float(rng.uniform(2.2, 4.5)),
    )


def _between(palette: tuple[Colour, ...], position: float) -> Colour:
    """The colour at `position` in [0, 1] along the palette."""
    places = np.linspace(0, 1, len(palette))
    red, green, blue = (float(np.interp(position, places, [colour[k] for colour in palette])) for k in range(3))
    return (red, green, blue)


def _jitter(colour: Colour, spread: float, rng: np.random.Generator) -> Colour:
    red, green, blue = np.clip(np.array(colour) + rng.uniform(-spread, spread, 3), 18, 250)
    return (float(red), float(green), float(blue))


def _backdrop(hue: np.ndarray, brightness: float) -> tuple[Colour, Colour]:
    """Two muted colours for a soft gradient behind the head."""
    tint = 0.9 + 0.32 * (hue - hue.mean())
    top = np.clip(brightness * tint, 30, 245)
    bottom = np.clip(top * (0.62 + 0.2 * hue[0]), 25, 240)
    return (float(top[0]), float(top[1]), float(top[2])), (float(bottom[0]), float(bottom[1]), float(bottom[2]))
