"""Opening media files: one place that turns what is wrong with a file into one clear line."""

import io
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from latentsync.errors import UserError

# Pictures that sit inside audio files (cover art) are video streams with this flag.
_ATTACHED_PICTURE = "attached_pic"


def open_media(source: str | Path | bytes, role: str, keep_readable: bool = False) -> InputContainer:
    """Open a file, or its bytes, for reading.

    role: what the file is for in the user's words ("input", "audio"); it begins each message. keep_readable: open a
    file that is cut off, for what it still has.
    Raises UserError when it is missing, a folder, empty, not a media file, or cut off.
    """
    if isinstance(source, bytes):
        try:
            return av.open(io.BytesIO(source), "r")
        except (av.error.FFmpegError, ValueError) as error:
            raise UserError(f"{role}: {len(source)} bytes that are not a media file ({error})") from error
    path = Path(source)
    if not path.exists():
        raise UserError(f"{role} '{path}': no such file; check the path")
    if path.is_dir():
        raise UserError(f"{role} '{path}': is a folder; give a file")
    if path.stat().st_size == 0:
        raise UserError(f"{role} '{path}': the file is empty; give another one")
    try:
        container = av.open(str(path), "r")
    except PermissionError as error:
        raise UserError(f"{role} '{path}': no permission to read it; check the file's rights") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise UserError(
            f"{role} '{path}': not a media file, or cut off before its index was written ({error}); "
            "give a whole video, picture or audio file"
        ) from error
    missing = _missing_bytes(container, path.stat().st_size)
    if missing and not keep_readable:
        container.close()
        raise UserError(f"{role} '{path}': cut off, the last {missing} bytes are missing; give the whole file")
    return container


def _missing_bytes(container: InputContainer, size: int) -> int:
    """How far an mp4's index points beyond the file's end; 0 for a whole file and for containers that keep no such
    index."""
    if "mp4" not in container.format.name:
        return 0
    ends = [entry.pos + entry.size for stream in container.streams for entry in stream.index_entries]
    return max(0, max(ends, default=0) - size)


def first_video_stream(container: InputContainer, path: str | Path, role: str = "input") -> VideoStream:
    """The first video stream that is not cover art; UserError when there is none."""
    stream = find_video_stream(container)
    if stream is None:
        raise UserError(f"{role} '{path}': no video stream; give a video or a picture")
    return stream


def find_video_stream(container: InputContainer) -> VideoStream | None:
    """The first video stream that is not cover art, or None."""
    for stream in container.streams.video:
        if _ATTACHED_PICTURE not in (stream.disposition.name or ""):
            return stream
    return None
