"""Stage probe: is this a video with pictures and sound, and what does its container say of it?"""

from data_prep.candidate import Rejected
from data_prep.manifest import Row
from data_prep.sources import Source
from latentsync.errors import UserError
from latentsync.media.probe import probe_video

STAGE = "probe"


def probe(source: Source) -> Row:
    """The probe_… measurements of a source. Raises Rejected for what cannot be read, and for a video without sound."""
    try:
        if source.path.stat().st_size == 0:
            raise Rejected(STAGE, "empty file")
        info = probe_video(source.path)
    except OSError as error:
        raise Rejected(STAGE, "cannot be read", str(error.strerror)) from error
    except UserError as error:
        raise Rejected(STAGE, "cannot be read", str(error)) from error
    row: Row = {
        "probe_seconds": round(info.duration, 3),
        "probe_width": info.width,
        "probe_height": info.height,
        "probe_fps": round(float(info.fps), 3),
        "probe_rotation": info.rotation,
    }
    if not info.has_audio:
        raise Rejected(STAGE, "no sound")
    return row
