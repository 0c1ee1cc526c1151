"""The still parts of a synthetic head: hair, ears, neck, skin with its shading, brows and nose, as one RGBA texture.

Everything is drawn by signed distances with one-pixel edges, in canvas units (see `look`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.synthetic.look import Colour, Look

CENTRE_X = 105.0
LEFT_BROW, RIGHT_BROW, NOSE = (47.6, 56.0), (162.4, 56.0), (105.0, 112.0)
"""The alignment's template, ((17, 20), (58, 20), (37.5, 40)) · 2.8, in canvas units."""
EYE_X = (105.0 - 47.0, 105.0 + 47.0)
_CHEEK_Y = 82.0


@dataclass(frozen=True)
class Window:
    """The part of head space a texture covers: its corner in canvas units, its size in pixels, pixels to a unit."""

    left: float
    top: float
    width: int
    height: int
    scale: float

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """x (1, width) and y (height, 1) of the pixel centres, in canvas units, float32."""
        x = self.left + np.arange(self.width, dtype=np.float32) / self.scale
        y = self.top + np.arange(self.height, dtype=np.float32) / self.scale
        return x[None, :], y[:, None]

    def part(self, left: float, top: float, right: float, bottom: float) -> tuple[Window, tuple[slice, slice]]:
        """The pixels that cover a rectangle of head space: a window of their own, and their slices in this one."""
        x0, x1 = (int(np.clip(round((v - self.left) * self.scale), 0, self.width)) for v in (left, right))
        y0, y1 = (int(np.clip(round((v - self.top) * self.scale), 0, self.height)) for v in (top, bottom))
        window = Window(self.left + x0 / self.scale, self.top + y0 / self.scale, x1 - x0, y1 - y0, self.scale)
        return window, (slice(y0, y1), slice(x0, x1))


@dataclass(frozen=True)
class HeadTexture:
    """rgb (H, W, 3) float32, 0 to 255; alpha (H, W) float32 in [0, 1]; shade (H, W): the light's gain on the skin."""

    rgb: np.ndarray
    alpha: np.ndarray
    shade: np.ndarray


def draw_head(look: Look, window: Window, rng: np.random.Generator) -> HeadTexture:
    """The head of `look` over `window`; plain skin where the eyes and the mouth will be laid."""
    x, y = window.grid()
    canvas = _Painter(window)
    face = _inside(_face_level(look, x, y), window)
    shade = _shade(look, x, y)
    _draw_behind(canvas, look, x, y, shade)
    canvas.paint(look.skin, face, shade)
    _draw_complexion(canvas, look, face, rng)
    _draw_nose(canvas, look, x, y)
    _draw_eye_sockets(canvas, look, x, y)
    _draw_hair(canvas, look, x, y, face)
    _draw_brows(canvas, look, x, y)
    if look.glasses:
        _draw_glasses(canvas, look, x, y)
    return HeadTexture(np.clip(canvas.rgb, 0, 255), canvas.alpha, shade)


class _Painter:
    """A float RGBA picture that takes coloured shapes one over the other."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.rgb = np.zeros((window.height, window.width, 3), np.float32)
        self.alpha = np.zeros((window.height, window.width), np.float32)

    def paint(self, colour: Colour, cover: np.ndarray, gain: np.ndarray | float = 1.0) -> None:
        """Lay `colour` · `gain` over the picture with opacity `cover` (H, W)."""
        gain = np.broadcast_to(np.asarray(gain, np.float32), cover.shape)
        # The texture is not premultiplied while the alpha is 0 beneath: there the new colour counts in full.
        weight = np.where(self.alpha > 0, cover, (cover > 0).astype(np.float32))
        for channel in range(3):
            plane = self.rgb[..., channel]
            plane += weight * (colour[channel] * gain - plane)
        self.alpha += cover * (1 - self.alpha)

    def tint(self, colour: Colour, strength: np.ndarray) -> None:
        """Mix `colour` into what is already there, leaving the alpha as it is."""
        for channel in range(3):
            plane = self.rgb[..., channel]
            plane += strength * (colour[channel] - plane)

    def shape(self, distance: np.ndarray, softness: float = 0.0) -> np.ndarray:
        """Opacity of the set distance < 0 (canvas units), with an edge of one pixel or of `softness` units."""
        edge = max(1.0 / self.window.scale, softness)
        return np.clip(0.5 - distance / edge, 0, 1).astype(np.float32)


def _inside(level: np.ndarray, window: Window) -> np.ndarray:
    """Opacity of level < 1, the level's gradient turned into pixels."""
    down, across = np.gradient(level)
    slope = np.sqrt(down * down + across * across) + 1e-6
    return np.clip(0.5 - (level - 1) / slope, 0, 1).astype(np.float32)


def _face_level(look: Look, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 on the face's outline, less inside: half an ellipse for the skull, half a superellipse for the jaw."""
    across = np.abs(x - CENTRE_X) / look.cheek_half_width
    down = (y - _CHEEK_Y) / (look.chin - _CHEEK_Y)
    up = (_CHEEK_Y - y) / 150.0
    skull = across**2 + np.clip(up, 0, None) ** 2
    jaw = across**2.1 + np.clip(down, 0, None) ** look.jaw_exponent
    return np.where(y < _CHEEK_Y, skull, jaw).astype(np.float32)


def _ellipse(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """Distance to an ellipse in canvas units, exact enough near its edge; negative inside."""
    level = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
    return (level - 1) * min(rx, ry)


def _bump(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """A Gaussian hill of height 1."""
    return np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


def _shade(look: Look, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gain of the light on the skin, 0.66 to 1.16: a lit egg with cheekbones, brow ridge and chin."""
    nx = (x - CENTRE_X) / (look.cheek_half_width * 1.12)
    ny = (y - 95.0) / 190.0
    nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0.02, 1))
    lit = nx * look.light[0] + ny * look.light[1] + 0.80 * nz
    shade = 0.56 + 0.60 * lit
    for side in (-1, 1):
        shade = shade + 0.05 * _bump(x, y, CENTRE_X + side * 56, 122, 26, 20)
    shade = shade + 0.05 * _bump(x, y, CENTRE_X, look.chin - 18, 24, 14)
    shade = shade - 0.05 * _bump(x, y, CENTRE_X, look.chin - 34, 26, 6)
    return np.clip(shade, 0.66, 1.16).astype(np.float32)


def _draw_behind(canvas: _Painter, look: Look, x: np.ndarray, y: np.ndarray, shade: np.ndarray) -> None:
    """Hair at the back, shoulders, neck and ears."""
    if look.hair_style == "long":
        fall = np.maximum(_ellipse(x, y, CENTRE_X, 70, look.cheek_half_width + 34, 170), y - 330)
        sides = np.maximum(np.abs(x - CENTRE_X) - (look.cheek_half_width + 30), np.maximum(60 - y, y - 330))
        ripple = (0.72 + 0.07 * np.sin(0.30 * x + 0.02 * y) * np.sin(0.11 * x)).astype(np.float32)
        canvas.paint(look.hair, canvas.shape(np.minimum(fall, sides)), ripple)
    elif look.hair_style != "bald":
        canvas.paint(look.hair, canvas.shape(_ellipse(x, y, CENTRE_X, 40, look.cheek_half_width + 12, 128)), 0.8)
    slope = 292 + 0.0022 * (x - CENTRE_X) ** 2
    canvas.paint(look.cloth, canvas.shape(slope - y), 0.85 + 0.15 * np.clip((y - 290) / 80, 0, 1))
    half_neck = 52 + 0.004 * np.clip(y - 230, 0, None) ** 2
    neck = np.maximum(np.abs(x - CENTRE_X) - half_neck, np.maximum(120 - y, y - 300))
    canvas.paint(look.skin, canvas.shape(neck), 0.66 + 0.12 * np.clip((y - 235) / 60, 0, 1))
    collar = np.maximum(_ellipse(x, y, CENTRE_X, 300, 58, 16), 284 - y)
    canvas.paint(look.skin, canvas.shape(collar), 0.76)
    for side in (-1, 1):
        ear_x = CENTRE_X + side * (look.cheek_half_width + 2)
        canvas.paint(look.skin, canvas.shape(_ellipse(x, y, ear_x, 100, 13, 27)), 0.92 * shade)
        canvas.tint(_darker(look.skin, 0.7), 0.7 * canvas.shape(_ellipse(x, y, ear_x + side * 2, 100, 6, 17), 5.0))


def _draw_complexion(canvas: _Painter, look: Look, face: np.ndarray, rng: np.random.Generator) -> None:
    """Blush on the cheeks, freckles, the creases beside the nose."""
    x, y = canvas.window.grid()
    warm = (min(255.0, look.skin[0] * 1.02), look.skin[1] * 0.72, look.skin[2] * 0.72)
    for side in (-1, 1):
        canvas.tint(warm, (look.blush * _bump(x, y, CENTRE_X + side * 58, 132, 26, 18) * face).astype(np.float32))
    crease = _darker(look.skin, 0.72)
    for side in (-1, 1):
        bow = CENTRE_X + side * (look.nose_half_width + 8 + 0.0075 * np.clip(y - 126, 0, None) ** 2)
        line = np.exp(-(((x - bow) / 2.6) ** 2)) * np.clip((y - 126) / 10, 0, 1) * np.clip((158 - y) / 14, 0, 1)
        canvas.tint(crease, (0.28 * line).astype(np.float32))
    for _ in range(look.freckles):
        fx, fy = CENTRE_X + rng.choice((-1, 1)) * rng.uniform(22, 74), rng.uniform(102, 140)
        canvas.tint(crease, 0.5 * canvas.shape(_ellipse(x, y, fx, fy, 1.5, 1.5)))


def _draw_nose(canvas: _Painter, look: Look, x: np.ndarray, y: np.ndarray) -> None:
    """A lit ridge, a shadow on the side away from the light, wings and nostrils."""
    side = -1.0 if look.light[0] > 0 else 1.0
    half, tip = look.nose_half_width, look.nose_tip
    length = np.clip((y - 66) / (tip - 66), 0, 1) * np.clip((tip + 6 - y) / 8, 0, 1)
    ridge = np.exp(-(((x - CENTRE_X) / (4.0 + 4.0 * length)) ** 2)) * length
    shadow = np.exp(-(((x - CENTRE_X - side * (6 + 7 * length)) / 5.5) ** 2)) * length
    dark, light = _darker(look.skin, 0.66), _darker(look.skin, 1.22)
    canvas.tint(dark, (0.34 * shadow).astype(np.float32))
    canvas.tint(light, (0.30 * ridge).astype(np.float32))
    under = _bump(x, y, CENTRE_X, tip + 6, half * 0.95, 4.5)
    canvas.tint(dark, (0.55 * under).astype(np.float32))
    for sign in (-1, 1):
        wing = _ellipse(x, y, CENTRE_X + sign * half * 0.78, tip - 2, half * 0.36, 8)
        canvas.tint(dark, (0.35 * np.exp(-((wing / 2.2) ** 2)) * (np.sign(x - CENTRE_X) == sign)).astype(np.float32))
        nostril = _ellipse(x, y, CENTRE_X + sign * half * 0.42, tip + 3.0, half * 0.24, 2.8)
        canvas.tint(_darker(look.skin, 0.38), 0.85 * canvas.shape(nostril, 2.0))
    canvas.tint(light, (0.35 * _bump(x, y, CENTRE_X - side * 2, tip - 8, 6, 6)).astype(np.float32))


def _draw_eye_sockets(canvas: _Painter, look: Look, x: np.ndarray, y: np.ndarray) -> None:
    dark = _darker(look.skin, 0.70)
    for cx in EYE_X:
        canvas.tint(dark, (0.30 * _bump(x, y, cx, look.eye_y - 7, look.eye_half_width * 1.3, 13)).astype(np.float32))
        canvas.tint(dark, (0.12 * _bump(x, y, cx, look.eye_y + 16, look.eye_half_width, 5)).astype(np.float32))


def _draw_hair(canvas: _Painter, look: Look, x: np.ndarray, y: np.ndarray, face: np.ndarray) -> None:
    """The hair on the forehead and at the temples; strands are a ripple of the gain."""
    if look.hair_style == "bald":
        return
    off = (x - CENTRE_X) / look.cheek_half_width
    drop = {"short": 34.0, "fringe": 20.0, "parted": 52.0, "long": 64.0}[look.hair_style]
    base = {"fringe": 26.0}.get(look.hair_style, look.hairline)
    side = 1.0 if look.light[0] > 0 else -1.0
    lean = 0.55 * side if look.hair_style == "parted" else 0.0
    edge = base + drop * np.abs(off - lean) ** 2.2
    edge = np.where(edge > 0, 46.0 * np.tanh(edge / 46.0), edge)  # the brows stay free
    if look.hair_style == "fringe":
        edge = edge + 3.0 * np.sin(x * 0.33 + look.chin)
    front = np.maximum(y - edge, _ellipse(x, y, CENTRE_X, 40, look.cheek_half_width + 12, 128))
    temple = np.abs(x - CENTRE_X) - (look.cheek_half_width - (10 if look.hair_style == "short" else 5))
    lowest = 76 if look.hair_style == "short" else 98
    temples = np.maximum(np.maximum(-temple, y - lowest), np.maximum(20 - y, temple - 16))
    ripple = 0.92 + 0.10 * np.sin(0.42 * x + 0.05 * y) * np.sin(0.13 * x - 0.03 * y) - 0.12 * np.abs(off)
    gloss = 0.22 * np.exp(-(((y + 40 - 20 * off**2) / 18) ** 2))
    canvas.paint(look.hair, canvas.shape(np.minimum(front, temples), 2.0), (ripple + gloss).astype(np.float32))


def _draw_brows(canvas: _Painter, look: Look, x: np.ndarray, y: np.ndarray) -> None:
    """Two arched strokes, centred on the alignment's points."""
    colour = _darker(look.hair, 0.62) if max(look.hair) > 90 else look.hair
    for sign, (cx, cy) in ((-1, LEFT_BROW), (1, RIGHT_BROW)):
        along = np.clip((x - cx) * sign / 27.0, -1.0, 1.0)  # -1 at the nose, 1 at the temple
        middle = cy - look.brow_arch * (0.6 - (along - 0.15) ** 2)
        half = look.brow_thickness * 0.5 * (1.0 - 0.62 * np.clip(along, 0, 1)) * np.sqrt(np.clip(1.02 - along**4, 0, 1))
        distance = np.maximum(np.abs(y - middle) - half, np.abs(x - cx) - 27.5)
        canvas.tint(colour, 0.92 * canvas.shape(distance, 2.2))


def _draw_glasses(canvas: _Painter, look: Look, x: np.ndarray, y: np.ndarray) -> None:
    """A round frame before each eye, a bridge, and sides; all of it above the generated part of the crop."""
    colour = (46.0, 40.0, 44.0)
    middle = look.eye_y + 0.5
    for cx in EYE_X:
        rim = np.abs(_ellipse(x, y, cx, middle, 31, 20)) - 1.5
        canvas.tint(colour, 0.9 * canvas.shape(rim, 1.0))
        outward = np.sign(cx - CENTRE_X)
        bar = np.maximum(np.abs(y - middle + 6) - 1.5, np.maximum(31 - (x - cx) * outward, (x - cx) * outward - 48))
        canvas.tint(colour, 0.8 * canvas.shape(bar, 1.0))
    bridge = np.maximum(np.abs(y - middle + 5) - 1.5, np.abs(x - CENTRE_X) - (EYE_X[1] - CENTRE_X - 30))
    canvas.tint(colour, 0.9 * canvas.shape(bridge, 1.0))


def _darker(colour: Colour, gain: float) -> Colour:
    """`colour` times `gain`, kept within 0 to 255."""
    return (min(255.0, colour[0] * gain), min(255.0, colour[1] * gain), min(255.0, colour[2] * gain))
