"""RGB <-> YUV with the right matrix and range, so that reading and writing a video shifts no colour."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from latentsync.media.hdr_metadata import mastering_peak
from latentsync.media.pixel_format import pixel_format
from latentsync.media.tone import BT2020_TAG, ToneMap, needs_tone_map

# AVCOL_* numbers of ITU-T H.273, as files carry them.
BT709_TAG = 1
UNSPECIFIED_TAG = 2
LIMITED_RANGE, FULL_RANGE = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
_SWS_OF_TAG = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
# Chroma is interpolated on both sides: nearest chroma costs about 3 dB on a smooth picture.
_FULL_CHROMA = Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
CAREFUL = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | _FULL_CHROMA


def source_matrix(tag: int, width: int, height: int, primaries: int = UNSPECIFIED_TAG) -> Colorspace:
    """The YUV matrix a frame was made with; an untagged one is judged by its primaries, then by its size, as players
    do (HD is BT.709)."""
    if tag in _SWS_OF_TAG:
        return _SWS_OF_TAG[tag]
    if primaries == BT2020_TAG:
        return Colorspace.BT2020
    return Colorspace.ITU709 if width >= 1280 or height > 576 else Colorspace.ITU601


@dataclass(frozen=True)
class Colors:
    """What the samples of a stream mean, by the tags of ITU-T H.273.

    full: samples use their whole range. peak: brightest light of the mastering display in cd/m², None: not told. What
    a BT.709 screen cannot show as it is (PQ, HLG, BT.2020) is brought to it, and back, by `tone.ToneMap`.
    """

    matrix: int = BT709_TAG
    primaries: int = BT709_TAG
    transfer: int = BT709_TAG
    full: bool = False
    peak: float | None = None

    @property
    def wide(self) -> bool:
        """Whether RGB with these tags is not what a BT.709 screen takes."""
        return needs_tone_map(self.transfer, self.primaries)

    @property
    def range(self) -> ColorRange:
        """As the scaler calls it."""
        return ColorRange.JPEG if self.full else ColorRange.MPEG

    def rgb(self, frame: VideoFrame, scaler: VideoReformatter | None = None) -> np.ndarray:
        """Planes to (H, W, 3) uint8 RGB of a BT.709 screen, contiguous, as stored (not turned).

        scaler: give the same one for all frames of a stream, where they come one after the other.
        """
        rgb = (scaler or VideoReformatter()).reformat(
            frame,
            format="rgb48le" if self.wide else "rgb24",
            src_colorspace=source_matrix(self.matrix, frame.width, frame.height, self.primaries),
            src_color_range=ColorRange.JPEG if pixel_format(frame.format.name).rgb else self.range,
            interpolation=CAREFUL,
            threads=1,
        )
        array = rgb.to_ndarray()
        return np.ascontiguousarray(_tone_map(self.transfer, self.peak).to_sdr(array) if self.wide else array)

    def planes(self, rgb: np.ndarray, name: str, of_size: tuple[int, int]) -> VideoFrame:
        """(h, w, 3) uint8 RGB of a BT.709 screen to planes; of_size: (width, height) of the picture it is a part of."""
        array, kind = np.ascontiguousarray(rgb), "rgb24"
        if self.wide:
            array, kind = _tone_map(self.transfer, self.peak).from_sdr(array), "rgb48le"
        return VideoReformatter().reformat(
            VideoFrame.from_ndarray(array, format=kind),
            format=name,
            dst_colorspace=source_matrix(self.matrix, *of_size, self.primaries),
            dst_color_range=self.range,
            interpolation=CAREFUL,
            threads=1,
        )


@lru_cache(maxsize=8)
def _tone_map(transfer: int, peak: float | None) -> ToneMap:
    return ToneMap(transfer, peak)


@dataclass(frozen=True)
class Tags:
    """Tags as a container keeps them, for frames of decoders that have none of their own (ProRes)."""

    matrix: int = UNSPECIFIED_TAG
    primaries: int = UNSPECIFIED_TAG
    transfer: int = UNSPECIFIED_TAG
    range: int = 0


def container_tags(context: VideoCodecContext) -> Tags:
    """Of a stream that was opened and not yet decoded: decoding writes over them."""
    return Tags(int(context.colorspace), int(context.color_primaries), int(context.color_trc), int(context.color_range))


def frame_colors(frame: VideoFrame, tags: Tags | None = None, peak: float | None = None) -> Colors:
    """What a decoded frame tells of itself; `tags` where it does not."""
    tags = tags or Tags()
    own = int(frame.color_range) or tags.range
    return Colors(
        matrix=_first_told(int(frame.colorspace), tags.matrix),
        primaries=_first_told(int(frame.color_primaries), tags.primaries),
        transfer=_first_told(int(frame.color_trc), tags.transfer),
        full=own == FULL_RANGE or frame.format.name.startswith("yuvj"),
        peak=peak,
    )


def _first_told(own: int, container: int) -> int:
    return container if own == UNSPECIFIED_TAG else own


class RgbReader:
    """Decoded frames of one stream to RGB arrays; tags: what its container tells."""

    def __init__(self, tags: Tags | None = None) -> None:
        self._tags, self._scaler = tags, VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a BT.709 screen, contiguous, as stored (not yet rotated)."""
        return frame_colors(frame, self._tags, mastering_peak(frame)).rgb(frame, self._scaler)


class YuvMaker:
    """RGB arrays to BT.709 limited-range frames; holds the scaler, so make one a stream.

    pixel_format: FFmpeg's name of a planar format.
    """

    def __init__(self, pixel_format: str = "yuv420p") -> None:
        self._scaler, self._format = VideoReformatter(), pixel_format

    def __call__(self, image: np.ndarray) -> VideoFrame:
        """image: (H, W, 3) uint8 RGB."""
        return self._scaler.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
            format=self._format,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=CAREFUL,
            threads=1,
        )
