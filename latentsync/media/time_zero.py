"""When a file's time begins: its first picture, by the stamp that it is shown at; without pictures, its sound."""

from contextlib import closing
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from latentsync.errors import UserError
from latentsync.media.containers import find_video_stream, open_media

# Containers whose own time begins at 0: what is missing before the first sample was not sent, or lost.
_OWN_ZERO = ("mov", "matroska")
# A first sample later than this is no lost beginning: the file was cut out of a longer recording.
_LONGEST_LEAD = 10.0


def time_zero(container: InputContainer, source: str | Path | bytes, sound: AudioStream) -> float | None:
    """The time stamp, in seconds, that is 0 for everybody who reads this file's pictures or sound.

    container: as opened from `source`; it is left where it stands. None: the first sample, whatever its stamp.
    """
    pictures = find_video_stream(container)
    if pictures is not None:
        return _first_picture(container, source, pictures)
    start = sound.start_time
    if start is None or sound.time_base is None:
        return None
    seconds = float(start * sound.time_base)
    absolute = container.format.name.split(",")[0] in _OWN_ZERO
    return 0.0 if absolute and 0 <= seconds <= _LONGEST_LEAD else None


def _first_picture(container: InputContainer, source: str | Path | bytes, pictures: VideoStream) -> float:
    """The stamp of the first picture that is shown.

    Not what the container tells: it counts pictures that an edit list hides or that lack their key picture. Only in
    AVI, which stores no times of showing, is the decoder's stamp a guess, late by the depth of its reordering.
    """
    told = float((pictures.start_time or 0) * (pictures.time_base or 0))
    if container.format.name == "avi":
        return told
    try:
        with closing(open_media(source, "input", keep_readable=True)) as again:
            frame = next(again.decode(again.streams[pictures.index]), None)
    except (av.error.FFmpegError, UserError):
        return told  # whoever wants its pictures says what is wrong with them
    if not isinstance(frame, VideoFrame) or frame.time is None:
        return told
    return frame.time
