"""The video stream of a file to be written: codec, quality, colour tags, time base."""

from fractions import Fraction
from typing import Any, cast

from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from latentsync.media.fields import BOTTOM, TOP
from latentsync.media.frame_fitter import FrameFitter
from latentsync.media.picture import VideoLook, plane_arrays
from latentsync.media.pixel_format import pixel_format
from latentsync.media.stream_metadata import DescribedStream, crop_box, described_stream, hdr_boxes
from latentsync.media.tone import HLG_TAG, PQ_TAG
from latentsync.work.native_logs import held_back_stderr

_ENCODERS = {
    "h264": "libx264", "hevc": "libx265", "prores": "prores_ks", "vp9": "libvpx-vp9", "av1": "libsvtav1"
}  # fmt: skip
# x264's names of speed, and what the others call about the same.
_SPEEDS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
_VP9_SPEEDS = (8, 7, 6, 5, 4, 3, 2, 1, 0)
_AV1_SPEEDS = (12, 11, 10, 9, 8, 7, 6, 4, 3)
# What is taken from `crf`, so that the mean difference on a screen is about that of H.264 with BT.709.
_FINER_HDR, _FINER_AV1 = 5, 3
_FIELD_ORDERS = {TOP: 2, BOTTOM: 3}  # AV_FIELD_TT, AV_FIELD_BB
# FFmpeg's names of containers, and what each has a place for, by the suffix of a file.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
SUFFIXES_OF = {
    "h264": (".mp4", ".m4v", ".mov", ".mkv"),
    "hevc": (".mp4", ".m4v", ".mov", ".mkv"),
    "prores": (".mov", ".mkv"),
    "vp9": (".mkv", ".mp4"),
    "av1": (".mp4", ".mkv"),
}


def add_video_stream(
    container: OutputContainer,
    look: VideoLook,
    codec: str = "h264",
    crf: int = 18,
    preset: str = "veryfast",
    gop: int | None = None,
    options: dict[str, str] | None = None,
) -> VideoStream | DescribedStream:
    """Add a stream for pictures that look as `look` says, made ready by a `FrameFitter`.

    crf: 0 = lossless, larger is smaller and worse; ProRes has none. gop: most frames between key frames, None: the
    encoder's choice. options: more of the encoder's own.
    """
    fitter = FrameFitter(look, codec, container.format.name)
    quality = {**_quality(codec, crf, preset, look, fitter), **(options or {})}
    encodes: VideoStream | DescribedStream

    def set_up(context: Any) -> None:
        _set_up(context, look, fitter)
        context.options = dict(quality)
        if gop is not None:
            context.gop_size = gop

    boxes = _boxes(look, fitter, codec)
    if boxes:
        encodes, stream = described_stream(
            container, _ENCODERS[codec], set_up, lambda n: _blank(look, fitter, n), boxes
        )
    else:
        encodes = stream = cast(VideoStream, container.add_stream(_ENCODERS[codec], rate=look.rate))
        set_up(stream.codec_context)
    if look.display_matrix is not None:
        stream.set_display_matrix(look.display_matrix)
    if codec == "hevc" and container.format.name != "matroska":
        cast(Any, stream.codec_context).codec_tag = "hvc1"  # what players of Apple's want
    if codec == "av1":
        with held_back_stderr():  # it introduces itself on thirty lines
            stream.codec_context.open()
    return encodes


def _set_up(context: Any, look: VideoLook, fitter: FrameFitter) -> None:
    """Size, format, times and tags of an encoder."""
    context.width, context.height, context.pix_fmt = fitter.width, fitter.height, fitter.pixel_format
    context.time_base, context.framerate = look.time_base, look.rate
    context.colorspace, context.color_primaries, context.color_trc = look.matrix, look.primaries, look.transfer
    context.color_range = fitter.color_range
    if fitter.fields is not None:
        context.field_order = _FIELD_ORDERS[fitter.fields]
    if look.aspect not in (0, 1):
        context.sample_aspect_ratio = Fraction(look.aspect)


def _boxes(look: VideoLook, fitter: FrameFitter, codec: str) -> list[bytes]:
    """What the codec itself has no words for: a crop to odd sizes; ProRes, where the picture was mastered."""
    boxes = hdr_boxes(look.hdr) if look.hdr is not None and codec == "prores" else []
    return [*boxes, crop_box(look.width, look.height, fitter.width, fitter.height)] if fitter.padded else boxes


def _blank(look: VideoLook, fitter: FrameFitter, number: int) -> VideoFrame:
    frame = VideoFrame(look.width, look.height, look.pixel_format)
    for plane in plane_arrays(frame):
        plane[:] = 0
    frame.pts, frame.time_base = number * max(1, round(1 / (look.rate * look.time_base))), look.time_base
    return fitter(frame)


def _quality(codec: str, crf: int, preset: str, look: VideoLook, fitter: FrameFitter) -> dict[str, str]:
    """The encoder's own options."""
    return {**_options(codec, crf, preset, look, fitter), **({"flags": "+ilme+ildct"} if fitter.fields else {})}


def _options(codec: str, crf: int, preset: str, look: VideoLook, fitter: FrameFitter) -> dict[str, str]:
    speed = _SPEEDS.index(preset)
    if crf > 0 and look.transfer in (PQ_TAG, HLG_TAG):
        # A step of their signal is more than twice as large on the screen.
        crf = max(1, crf - _FINER_HDR)
    if codec == "hevc":
        return {"preset": preset, "crf": str(crf), "x265-params": _x265_params(crf, look)}
    if codec == "prores":
        # 4444 for what has chroma in full, else 422 HQ.
        return {"profile": "4" if pixel_format(fitter.pixel_format).narrower == 0 else "3", "vendor": "apl0"}
    if codec == "vp9":
        lossless = {"lossless": "1"} if crf == 0 else {}
        return {"crf": str(crf), "deadline": "good", "cpu-used": str(_VP9_SPEEDS[speed]), "row-mt": "1", **lossless}
    if codec == "av1":
        crf = max(1, crf - _FINER_AV1) if crf else 0
        return {"crf": str(crf), "preset": str(_AV1_SPEEDS[speed]), "svtav1-params": _svt_params(crf, look)}
    params = _x264_params(look, fitter)
    return {
        "preset": preset,
        **({"qp": "0"} if crf == 0 else {"crf": str(crf)}),
        **({"x264-params": ":".join(params)} if params else {}),
    }


def _x264_params(look: VideoLook, fitter: FrameFitter) -> list[str]:
    params = []
    if fitter.fields is not None:
        params.append("tff=1" if fitter.fields == TOP else "bff=1")
    mastering = look.hdr.mastering_text() if look.hdr else None
    if mastering:
        params.append(f"mastering-display={mastering}")
    if look.hdr and look.hdr.light_level:
        params.append("cll={},{}".format(*look.hdr.light_level))
    return params


def _x265_params(crf: int, look: VideoLook) -> str:
    params = ["log-level=error"]
    if crf == 0:
        params.append("lossless=1")
    mastering = look.hdr.mastering_text() if look.hdr else None
    if mastering:
        params.append(f"master-display={mastering}")
    if look.hdr and look.hdr.light_level:
        params.append("max-cll={},{}".format(*look.hdr.light_level))
    return ":".join(params)


def _svt_params(crf: int, look: VideoLook) -> str:
    params = ["lossless=1"] if crf == 0 else ["tune=1"]
    mastering = look.hdr.mastering_text_in_units() if look.hdr else None
    if mastering:
        params.append(f"mastering-display={mastering}")
    if look.hdr and look.hdr.light_level:
        params.append("content-light={},{}".format(*look.hdr.light_level))
    return ":".join(params)
