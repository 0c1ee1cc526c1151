"""RGB <-> YUV with the right matrix and range, so that reading and writing a video shifts no colour."""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

# AVCOL_* numbers of ITU-T H.273, as files carry them.
BT709_TAG = 1
_UNSPECIFIED_TAG = 2
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


def source_matrix(tag: int, width: int, height: int) -> Colorspace:
    """The YUV matrix a frame was made with; an untagged one is judged by its size, as players do (HD is BT.709)."""
    if tag in _SWS_OF_TAG:
        return _SWS_OF_TAG[tag]
    return Colorspace.ITU709 if width >= 1280 or height > 576 else Colorspace.ITU601


class RgbReader:
    """Decoded frames to RGB arrays; holds the scaler, so make one a stream."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 RGB, contiguous, as stored (not yet rotated)."""
        matrix = source_matrix(frame.colorspace, frame.width, frame.height)
        rgb = self._scaler.reformat(frame, format="rgb24", src_colorspace=matrix, interpolation=CAREFUL, threads=1)
        return np.ascontiguousarray(rgb.to_ndarray())


class YuvMaker:
    """RGB arrays to BT.709 limited-range yuv420p frames; holds the scaler, so make one a stream."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, image: np.ndarray) -> VideoFrame:
        """image: (H, W, 3) uint8 RGB with even H and W."""
        return self._scaler.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=CAREFUL,
            threads=1,
        )
