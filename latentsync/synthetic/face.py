"""Renders a synthetic talking head: as an aligned crop, or moving in a larger picture with its alignment points.

Head space is measured in canvas units: pixels of the published alignment's 210 × 280 canvas at resolution 256, on which
the brows' centres and the nose sit at the template. An aligned crop of R pixels is that canvas resized to R × R.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.media.rates import FPS
from latentsync.synthetic.articulation import Articulation, Track
from latentsync.synthetic.head import CENTRE_X, EYE_X, LEFT_BROW, NOSE, RIGHT_BROW, HeadTexture, Window, draw_head
from latentsync.synthetic.look import CANVAS, Look
from latentsync.synthetic.mouth import JAW_BOX, JAW_DROP, MOUTH_BOX, Patch, draw_mouths, jaw_map, lip_curves

TEMPLATE = np.array([LEFT_BROW, RIGHT_BROW, NOSE])
_CHUNK = 32
"""Frames whose moving parts are drawn together."""


@dataclass(frozen=True)
class Rendering:
    """frames (F, H, W, 3) uint8 RGB; landmarks3 (F, 3, 2) float64, left brow, right brow, nose, x and y in the picture;
    mouth_box (F, 4) float64: x0, y0, x1, y1 of the lips in the picture."""

    frames: np.ndarray
    landmarks3: np.ndarray
    mouth_box: np.ndarray


def scene_size(resolution: int) -> tuple[int, int]:
    """Width and height of the larger picture that suits crops of `resolution`: 320 × 240 at 128."""
    return resolution * 5 // 2, resolution * 15 // 8


def render_aligned(
    look: Look, articulation: Articulation, resolution: int, rng: np.random.Generator, jitter: float = 1.0
) -> Rendering:
    """The clip as the published alignment crops it, (F, R, R, 3). The head rests but for `jitter` · 1 pixel at R = 128.

    The head moves before the backdrop just as in `render_scene` from an equal generator: the alignment takes it out.
    """
    width, height = scene_size(resolution)
    to_scene = _head_motion(articulation.num_frames, width, height, rng)
    crop = _crop_matrix(resolution)
    poses = crop @ _residual_motion(articulation.num_frames, jitter, rng)
    behind = poses @ np.linalg.inv(to_scene)
    margin = 6.0 + 4 * jitter
    scale = 1.2 * resolution / CANVAS[0]
    window = _window(-margin, -margin, CANVAS[0] + margin, CANVAS[1] + margin, scale)
    backdrop = _draw_backdrop(look, width, height)
    return _render(look, articulation, window, poses, backdrop, behind, (resolution, resolution), rng)


def render_scene(look: Look, articulation: Articulation, size: tuple[int, int], rng: np.random.Generator) -> Rendering:
    """The clip as a camera sees it: a picture of `size` (width, height) in which head and shoulders sway slowly."""
    width, height = size
    poses = _head_motion(articulation.num_frames, width, height, rng)
    _residual_motion(articulation.num_frames, 1.0, rng)  # keeps later draws equal to those of `render_aligned`
    scale = 1.15 * float(np.sqrt(np.linalg.det(poses[:, :2, :2])).max())
    window = _window(-150.0, -125.0, 360.0, 460.0, scale)
    still = np.broadcast_to(np.eye(3), poses.shape)
    return _render(look, articulation, window, poses, _draw_backdrop(look, width, height), still, size, rng)


def _window(left: float, top: float, right: float, bottom: float, scale: float) -> Window:
    return Window(left, top, int(np.ceil((right - left) * scale)), int(np.ceil((bottom - top) * scale)), scale)


def _crop_matrix(resolution: int) -> np.ndarray:
    """Canvas units → pixels of the aligned crop (3, 3): the canvas, resized to a square by pixel centres."""
    unit = resolution / 256.0
    sx, sy = 256.0 / CANVAS[0], 256.0 / CANVAS[1]
    return np.array([[unit * sx, 0, 0.5 * sx - 0.5], [0, unit * sy, 0.5 * sy - 0.5], [0, 0, 1]])


def _similarity(scale: np.ndarray, angle: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """(F, 3, 3): turn and scale head space about the face's middle, then move that middle to (dx, dy)."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    middle_x, middle_y = CENTRE_X, 110.0
    zero, one = np.zeros_like(cos), np.ones_like(cos)
    return np.stack(
        [
            np.stack([cos, -sin, dx - cos * middle_x + sin * middle_y], -1),
            np.stack([sin, cos, dy - sin * middle_x - cos * middle_y], -1),
            np.stack([zero, zero, one], -1),
        ],
        axis=-2,
    )


def _sway(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """A slow wandering curve (F,) within [-1, 1]: two sines of periods 2.5 to 9 s."""
    times = np.arange(num_frames) / FPS
    rates, phases = rng.uniform(0.11, 0.4, 2), rng.uniform(0, 2 * np.pi, 2)
    waves = np.sin(2 * np.pi * rates[:, None] * times + phases[:, None])
    return 0.6 * waves[0] + 0.4 * waves[1]


def _head_motion(num_frames: int, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Head space → scene (F, 3, 3): the head fills most of the height, and sways, nods and leans."""
    scale = height / 400.0 * rng.uniform(0.92, 1.06) * (1 + 0.03 * _sway(num_frames, rng))
    angle = 0.07 * _sway(num_frames, rng)
    dx = width * (0.5 + rng.uniform(-0.06, 0.06) + 0.035 * _sway(num_frames, rng))
    dy = height * (0.50 + rng.uniform(-0.02, 0.02) + 0.025 * _sway(num_frames, rng))
    return _similarity(scale, angle, dx, dy)


def _residual_motion(num_frames: int, jitter: float, rng: np.random.Generator) -> np.ndarray:
    """What an alignment leaves over, in head space (F, 3, 3): a pixel or so, some of it from frame to frame."""
    slow = np.stack([_sway(num_frames, rng) for _ in range(4)])
    fast = np.clip(rng.standard_normal((4, num_frames)), -2, 2)
    shift = jitter * (0.9 * slow[:2] + 0.25 * fast[:2])
    scale = 1 + jitter * (0.006 * slow[2] + 0.0012 * fast[2])
    angle = jitter * (0.008 * slow[3] + 0.0015 * fast[3])
    return _similarity(scale, angle, CENTRE_X + shift[0], 110.0 + shift[1])


def _draw_backdrop(look: Look, width: int, height: int) -> np.ndarray:
    """The wall behind: a gradient with soft spots (H, W, 3) uint8."""
    x = (np.arange(width, dtype=np.float32) / width)[None, :]
    y = (np.arange(height, dtype=np.float32) / height)[:, None]
    top, bottom = (np.array(colour, np.float32) for colour in look.backdrop)
    picture = top + (bottom - top) * y[..., None] + np.zeros((1, width, 1), np.float32)
    for bx, by, radius, strength in look.backdrop_blobs:
        distance = np.sqrt(((x - bx) * width / height) ** 2 + (y - by) ** 2)
        picture *= (1 + 0.16 * strength * np.clip((radius - distance) / 0.02, 0, 1))[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _render(
    look: Look,
    articulation: Articulation,
    window: Window,
    poses: np.ndarray,
    backdrop: np.ndarray,
    behind: np.ndarray,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> Rendering:
    """Draw the head once, its moving parts for each frame; warp it by `poses`, the backdrop by `behind`."""
    head = draw_head(look, window, np.random.default_rng(int(look.chin * 1e6)))
    lids = _draw_blinks(articulation.num_frames, look.blink_period, rng)
    gaze = np.stack([_sway(articulation.num_frames, rng) for _ in range(2)], axis=-1)
    from_texture = np.array([[1 / window.scale, 0, window.left], [0, 1 / window.scale, window.top], [0, 0, 1]])
    frames = np.empty((articulation.num_frames, size[1], size[0], 3), np.uint8)
    for start in range(0, articulation.num_frames, _CHUNK):
        part = slice(start, min(start + _CHUNK, articulation.num_frames))
        textures = _animate(look, head, window, articulation[part], lids[part], gaze[part])
        for frame, texture in zip(range(part.start, part.stop), textures):
            layer = cv2.warpAffine(texture, (poses[frame] @ from_texture)[:2], size, flags=cv2.INTER_LINEAR)
            wall = cv2.warpAffine(backdrop, behind[frame][:2], size, borderMode=cv2.BORDER_REFLECT)
            rest = (255 - layer[..., 3:]).astype(np.uint16)
            frames[frame] = layer[..., :3] + ((wall * rest + 127) // 255).astype(np.uint8)
    return Rendering(frames, _points(poses, TEMPLATE), _mouth_boxes(look, articulation, poses))


def _animate(
    look: Look, head: HeadTexture, window: Window, track: Track, lids: np.ndarray, gaze: np.ndarray
) -> list[np.ndarray]:
    """The head's texture for each frame: (h, w, 4) uint8, premultiplied."""
    still = np.concatenate([head.rgb * head.alpha[..., None], 255 * head.alpha[..., None]], -1)
    still = np.clip(np.rint(still), 0, 255).astype(np.uint8)
    mouth_window, mouth_area = window.part(*MOUTH_BOX)
    jaw_window, jaw_area = window.part(*JAW_BOX)
    mouths = draw_mouths(look, track, mouth_window, float(head.shade[mouth_area].mean()))
    follow = jaw_map(jaw_window) * JAW_DROP * window.scale
    rows, columns = np.asarray(np.indices(follow.shape, dtype=np.float32))
    eyes = []
    for side in (0, 1):
        reach = look.eye_half_width + 4
        eye_window, area = window.part(EYE_X[side] - reach, look.eye_y - 18, EYE_X[side] + reach, look.eye_y + 14)
        eyes.append((area, _draw_eyes(look, lids, gaze, eye_window, side, float(head.shade[area].mean()))))
    textures = []
    for frame, opening in enumerate(track.opening):
        texture = still.copy()
        texture[jaw_area] = cv2.remap(still[jaw_area], columns, rows - np.float32(opening) * follow, cv2.INTER_LINEAR)
        _lay(texture, mouth_area, mouths, frame)
        for area, patch in eyes:
            _lay(texture, area, patch, frame)
        textures.append(texture)
    return textures


def _draw_eyes(look: Look, lids: np.ndarray, gaze: np.ndarray, window: Window, side: int, gain: float) -> Patch:
    """One eye for every frame: `lids` (F,) 0 shut to 1 open, `gaze` (F, 2) in [-1, 1], `side` 0 left or 1 right."""
    x, y = window.grid()
    rows = y[None]
    cx, cy = EYE_X[side], look.eye_y
    arch = np.clip(1 - ((x - cx) / look.eye_half_width) ** 2, 0, 1)
    lean = 1.6 * (x - cx) / look.eye_half_width * (-1 if side == 1 else 1)  # the outer corner sits a little higher
    low = cy + lean + 0.55 * look.eye_height * arch
    high = cy + lean - look.eye_height * arch**0.75
    upper = low + (high - low) * lids[:, None]  # (F, W)
    px = 1.0 / window.scale
    open_part = np.clip(0.5 + (rows - upper[:, None]) / (1.3 * px), 0, 1) * np.clip(
        0.5 - (rows - low[None]) / (1.3 * px), 0, 1
    )
    open_part = open_part * (lids > 0.08)[:, None, None]
    eye_x = cx + 3.5 * gaze[:, 0, None, None]
    eye_y = cy - 1.5 + 1.2 * gaze[:, 1, None, None]
    radius = np.sqrt((x[None] - eye_x) ** 2 + (rows - eye_y) ** 2)
    iris = np.clip(0.5 - (radius - 0.92 * look.eye_height) / px, 0, 1)
    pupil = np.clip(0.5 - (radius - 0.42 * look.eye_height) / px, 0, 1)
    glint = np.exp(-((x[None] - eye_x - 2.6) ** 2 + (rows - eye_y + 2.8) ** 2) / 3.4)
    shadow = 1 - 0.30 * np.exp(-(((rows - upper[:, None]) / 3.5) ** 2))
    rgb = np.empty((*np.broadcast_shapes(radius.shape, shadow.shape), 3), np.float32)
    ring = 1 - 0.45 * np.clip((radius / (0.92 * look.eye_height) - 0.7) / 0.3, 0, 1)
    for channel, white in enumerate((238.0, 235.0, 232.0)):
        plane = white + iris * (look.eye[channel] * ring * 1.1 - white)
        plane = plane * (1 - pupil) + 16 * pupil
        rgb[..., channel] = plane * shadow * gain + 200 * glint * np.maximum(iris, 0)
    thinning = 0.85 * (arch > 0.02) * np.clip(arch / 0.2, 0.5, 1)
    lash = np.exp(-(((rows - upper[:, None]) / 1.7) ** 2)) * thinning[None]
    rgb = rgb * (1 - lash[..., None]) + np.array((44, 28, 26), np.float32) * lash[..., None]
    alpha = np.maximum(open_part, lash)
    return Patch(np.clip(rgb, 0, 255).astype(np.float32), alpha[..., None].astype(np.float32))


def _draw_blinks(num_frames: int, period: float, rng: np.random.Generator) -> np.ndarray:
    """How open the lids are, (F,) in [0, 1]: a blink of about a quarter of a second every `period` seconds or so."""
    lids = np.ones(num_frames)
    times = (np.arange(num_frames) + 0.5) / FPS
    blink = rng.uniform(0.0, period)
    while blink < times[-1] + 0.3:
        lids = np.minimum(lids, 1 - np.clip(1.5 - np.abs(times - blink) / 0.085, 0, 1))
        blink += period * rng.uniform(0.6, 1.5)
    return lids


def _lay(texture: np.ndarray, area: tuple[slice, slice], patch: Patch, frame: int) -> None:
    """Blend one frame of `patch` over an opaque part of the texture."""
    below = texture[area][..., :3].astype(np.float32)
    texture[area][..., :3] = below + patch.alpha[frame] * (patch.rgb[frame] - below) + 0.5


def _points(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`points` (N, 2) or (F, N, 2) under each pose (F, 3, 3): (F, N, 2)."""
    return points @ poses[:, :2, :2].transpose(0, 2, 1) + poses[:, None, :2, 2]


def _mouth_boxes(look: Look, track: Track, poses: np.ndarray) -> np.ndarray:
    """x0, y0, x1, y1 (F, 4) of the lips in the picture."""
    curves = lip_curves(look, track, np.array([[CENTRE_X]], np.float32))
    half, top, bottom = curves.outer_half[:, 0], curves.outer_top[:, 0], curves.outer_bottom[:, 0]
    left, right = CENTRE_X - half, CENTRE_X + half
    corners = np.stack([np.stack([cx, cy], -1) for cx in (left, right) for cy in (top, bottom)], axis=1)
    placed = _points(poses, corners.astype(np.float64))
    return np.concatenate([placed.min(axis=1), placed.max(axis=1)], axis=-1)
