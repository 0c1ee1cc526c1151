"""What kind of pictures a file holds, as far as that decides what a copy of it can keep."""

from dataclasses import dataclass
from pathlib import Path

import av

from latentsync.errors import UserError
from latentsync.media.color import container_tags, frame_colors
from latentsync.media.containers import first_video_stream, open_media
from latentsync.media.decoding import decoded_frames
from latentsync.media.hdr_metadata import has_dynamic_metadata
from latentsync.media.pixel_format import working_format
from latentsync.media.probe import is_image
from latentsync.media.stills import has_alpha


@dataclass(frozen=True)
class Traits:
    """pixel_format: FFmpeg's name of the format its pictures are worked on in. interlaced: fields of two moments in a
    frame. wide: PQ, HLG or BT.2020. dynamic: HDR10+, Dolby Vision or the like describes each picture. width, height:
    as stored."""

    pixel_format: str
    width: int = 0
    height: int = 0
    interlaced: bool = False
    wide: bool = False
    dynamic: bool = False


def picture_traits(path: str | Path, keep_readable: bool = False) -> Traits:
    """Look at a file's first picture. Raises UserError for one that is missing or cannot be read."""
    if is_image(path):
        return Traits("yuva420p" if has_alpha(path) else "yuv420p")
    with open_media(path, "input", keep_readable) as container:
        stream = first_video_stream(container, path)
        tags = container_tags(stream.codec_context)
        try:
            frame = next(decoded_frames(container, stream), None)
        except av.error.FFmpegError as error:
            raise UserError(f"input '{path}': cannot be decoded ({error}); give another file") from error
        if frame is None:
            raise UserError(f"input '{path}': holds no picture that can be decoded; give another file")
        return Traits(
            pixel_format=working_format(frame.format.name),
            width=frame.width,
            height=frame.height,
            interlaced=bool(frame.interlaced_frame),
            wide=frame_colors(frame, tags).wide,
            dynamic=has_dynamic_metadata(frame),
        )
