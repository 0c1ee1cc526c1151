"""What the written video cannot keep of the input's pictures, one line each, before anything is begun."""

from pathlib import Path

from latentsync.errors import UserError
from latentsync.inference.options import SDR, LipSyncOptions
from latentsync.media.frame_fitter import INTERLACED_CODECS
from latentsync.media.pixel_format import keeps_alpha, losses
from latentsync.media.traits import Traits
from latentsync.media.video_stream import CONTAINERS, SUFFIXES_OF


def check_codec(codec: str, output: Path) -> None:
    """Raise UserError for a container that has no place for the codec."""
    if output.suffix.lower() not in SUFFIXES_OF[codec]:
        known = " or ".join(SUFFIXES_OF[codec])
        raise UserError(f"output '{output}': codec={codec} cannot be stored in '{output.suffix}'; give {known}")


def picture_notes(path: Path, traits: Traits, options: LipSyncOptions, output: Path) -> tuple[str, ...]:
    """Lines for the user; none where all is kept."""
    codec = options.codec
    notes = []
    if not (options.color == SDR and traits.wide):
        notes += losses(traits.pixel_format, codec, CONTAINERS[output.suffix.lower()], traits.wide)
    if traits.interlaced and not options.deinterlace and codec not in INTERLACED_CODECS:
        notes.append(f"interlaced, which codec={codec} is not here: it is deinterlaced (codec=h264 keeps the fields)")
    if traits.dynamic and options.color != SDR:
        notes.append("HDR10+ or Dolby Vision metadata is left out: it describes other pictures; HDR10's own is kept")
    return tuple(f"input '{path}': {note}" for note in notes)


def stores_alpha(options: LipSyncOptions, output: Path) -> bool:
    """Whether transparency has a place in the output."""
    return keeps_alpha(options.codec, CONTAINERS[output.suffix.lower()])


def deinterlaces(options: LipSyncOptions) -> bool:
    """Whether interlaced pictures are made whole."""
    return options.deinterlace or options.codec not in INTERLACED_CODECS
