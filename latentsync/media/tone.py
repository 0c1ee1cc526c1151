"""High dynamic range and wide gamut to what a BT.709 screen shows, and back: PQ, HLG, BT.2020.

Light counts in units of BT.2408's reference white (203 cd/m²), which becomes the screen's white. Above a knee the light
is bent by the curve of BT.2390, on the largest of red, green and blue, so that hues stay; colours outside BT.709 move
towards grey until they are inside. Every step but that last one can be undone.
"""

from functools import cached_property

import cv2
import numpy as np

# AVCOL_* numbers of ITU-T H.273.
PQ_TAG, HLG_TAG, BT2020_TAG = 16, 18, 9
_REFERENCE_WHITE = 203.0  # cd/m², BT.2408
_USUAL_PEAK = 1000.0  # of a mastering display, where the file does not tell
_BT1886 = 2.4
_HLG_GAMMA = 1.2  # BT.2100 for a screen of 1000 cd/m²
_HLG_PEAK = 1000.0
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])
_LUMA_709 = np.array([0.2126, 0.7152, 0.0722])
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # BT.2407
_TO_2020 = np.linalg.inv(_TO_709)
_STEPS = 16384  # of the tables that stand for powers; fourth roots keep them fine near black


class ToneMap:
    """Between a stream's own RGB and BT.709.

    transfer: tag of PQ or HLG, any other counts as BT.1886. peak: brightest light in cd/m² of what the stream was made
    on, None: 1000 for PQ and HLG. The primaries are BT.2020's.
    """

    def __init__(self, transfer: int, peak: float | None = None) -> None:
        self._transfer = transfer
        if transfer == PQ_TAG:
            brightest = peak or _USUAL_PEAK
        else:
            brightest = _HLG_PEAK if transfer == HLG_TAG else _REFERENCE_WHITE
        self._peak = max(1.0, brightest / _REFERENCE_WHITE)

    def to_sdr(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint16, 0 … 65535, to (H, W, 3) uint8 BT.709."""
        light = self._light_of_signal.take(rgb >> 4)
        if self._transfer == HLG_TAG:
            light *= self._scene_to_screen(light)[..., None]
        light *= self._bend.take(self._steps(_largest(light)))[..., None]
        narrow = cv2.transform(light, _TO_709.astype(np.float32))
        _bring_inside(narrow)
        return _SDR_OF_ROOT.take((cv2.sqrt(narrow) * np.float32(_STEPS - 1) + np.float32(0.5)).astype(np.uint16))

    def from_sdr(self, rgb: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 BT.709 to (H, W, 3) uint16, 0 … 65535: what `to_sdr` makes into `rgb`."""
        light = cv2.transform(_LIGHT_OF_SDR.take(rgb), _TO_2020.astype(np.float32)).clip(0, 1)
        light *= self._unbend.take(_places(_largest(light)))[..., None]
        if self._transfer == HLG_TAG:
            light /= np.maximum(self._scene_to_screen_of_screen(light), 1e-6)[..., None]
        return self._signal_of_root.take(self._steps(light))

    def _steps(self, light: np.ndarray) -> np.ndarray:
        """Places in the tables over [0, peak]."""
        return _places(np.clip(light * np.float32(1 / self._peak), 0, 1))

    @cached_property
    def _grid(self) -> np.ndarray:
        return np.linspace(0, 1, _STEPS) ** 4 * self._peak

    @cached_property
    def _light_of_signal(self) -> np.ndarray:
        """(4096,) float32: light on the screen, or the scene's for HLG, of a signal of 12 bits."""
        signal = np.linspace(0, 1, 4096)
        if self._transfer == PQ_TAG:
            light = pq_to_nits(signal) / _REFERENCE_WHITE
        elif self._transfer == HLG_TAG:
            light = hlg_to_scene(signal)
        else:
            light = signal**_BT1886
        return light.astype(np.float32)

    @cached_property
    def _signal_of_root(self) -> np.ndarray:
        if self._transfer == PQ_TAG:
            signal = nits_to_pq(self._grid * _REFERENCE_WHITE)
        elif self._transfer == HLG_TAG:
            signal = scene_to_hlg(self._grid.clip(0, 1))
        else:
            signal = self._grid.clip(0, 1) ** (1 / _BT1886)
        return np.rint(signal * 65535).astype(np.uint16)

    @cached_property
    def _bend(self) -> np.ndarray:
        """(_STEPS,) float32: what light of `_grid` is multiplied by, so that the peak comes to 1."""
        grid = np.maximum(self._grid, 1e-9)
        return (bent(grid, self._peak) / grid).astype(np.float32)

    @cached_property
    def _unbend(self) -> np.ndarray:
        """(_STEPS,) float32: what bent light, a fourth power in [0, 1], is multiplied by to be what it was."""
        dim = np.maximum(np.linspace(0, 1, _STEPS) ** 4, 1e-9)
        return (np.interp(dim, bent(self._grid, self._peak), self._grid) / dim).clip(1, None).astype(np.float32)

    def _scene_to_screen(self, scene: np.ndarray) -> np.ndarray:
        """HLG's system gamma: (H, W) what the scene's light is multiplied by."""
        luma = cv2.transform(scene, _LUMA_2020[None].astype(np.float32))
        return cv2.pow(np.maximum(luma, 1e-6), _HLG_GAMMA - 1) * np.float32(self._peak)

    def _scene_to_screen_of_screen(self, screen: np.ndarray) -> np.ndarray:
        """The same factor from the light on the screen."""
        luma = cv2.transform(screen, _LUMA_2020[None].astype(np.float32)) * np.float32(1 / self._peak)
        return cv2.pow(np.maximum(luma, 1e-6), (_HLG_GAMMA - 1) / _HLG_GAMMA) * np.float32(self._peak)


def needs_tone_map(transfer: int, primaries: int) -> bool:
    """Whether RGB of a stream with these tags is not what a BT.709 screen takes."""
    return transfer in (PQ_TAG, HLG_TAG) or primaries == BT2020_TAG


def bent(light: np.ndarray, peak: float) -> np.ndarray:
    """BT.2390's curve from [0, peak] to [0, 1], in units of reference white; it grows throughout, and dark stays."""
    if peak <= 1:
        return np.clip(light, 0, 1)
    top = float(nits_to_pq(np.array(peak * _REFERENCE_WHITE)))
    target = float(nits_to_pq(np.array(_REFERENCE_WHITE))) / top
    share = nits_to_pq(np.clip(light, 0, peak) * _REFERENCE_WHITE) / top
    knee = 1.5 * target - 0.5
    t = np.clip((share - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * target
    # Below the knee nothing is bent; through PQ and back it would come out slightly rounded.
    return np.where(share <= knee, light, pq_to_nits(spline * top) / _REFERENCE_WHITE).clip(0, 1)


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084: signal in [0, 1] to cd/m² in [0, 10000]."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = np.asarray(signal, np.float64) ** (1 / m2)
    return 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def nits_to_pq(nits: np.ndarray) -> np.ndarray:
    """The inverse of `pq_to_nits`."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (np.asarray(nits, np.float64) / 10000) ** m1
    return ((c1 + c2 * power) / (1 + c3 * power)) ** m2


_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073


def hlg_to_scene(signal: np.ndarray) -> np.ndarray:
    """BT.2100 HLG: signal in [0, 1] to the scene's light in [0, 1]."""
    signal = np.asarray(signal, np.float64)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _HLG_C) / _HLG_A) + _HLG_B) / 12)


def scene_to_hlg(scene: np.ndarray) -> np.ndarray:
    """The inverse of `hlg_to_scene`."""
    scene = np.asarray(scene, np.float64)
    bright = _HLG_A * np.log(np.maximum(12 * scene - _HLG_B, 1e-9)) + _HLG_C
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def _bring_inside(light: np.ndarray) -> None:
    """Move colours that BT.709 does not have towards the grey of their luminance, in place."""
    outside = np.minimum(np.minimum(light[..., 0], light[..., 1]), light[..., 2]) < 0
    outside |= _largest(light) > 1
    if outside.any():
        some = light[outside]
        grey = np.clip(some @ _LUMA_709.astype(np.float32), 0, 1)[:, None]
        away = some - grey
        # How much of the way from grey keeps the channel within [0, 1].
        room = np.where(away < 0, grey, 1 - grey) / np.maximum(np.abs(away), 1e-9)
        some = grey + away * np.minimum(1, room.min(axis=-1, keepdims=True))
        light[outside] = some
    np.clip(light, 0, 1, out=light)


def _largest(light: np.ndarray) -> np.ndarray:
    """(H, W) of (H, W, 3): `max(axis=-1)` takes ten times as long."""
    return np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])


def _places(share: np.ndarray) -> np.ndarray:
    """Places in a table over the fourth roots of [0, 1]."""
    return (np.sqrt(np.sqrt(share)) * np.float32(_STEPS - 1) + np.float32(0.5)).astype(np.uint16)


_LIGHT_OF_SDR = (np.linspace(0, 1, 256) ** _BT1886).astype(np.float32)
_SDR_OF_ROOT = np.rint(255 * np.linspace(0, 1, _STEPS) ** (2 / _BT1886)).astype(np.uint8)
