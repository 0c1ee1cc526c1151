"""Which of a file's sound tracks is meant: the default one, or one by its number or language."""

from pathlib import Path

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from latentsync.errors import UserError

Track = str | int | None
"""A number from 0, a language tag, or None: the default track."""

# Sound that goes with a track for some listeners, or instead of it: never meant unless it is asked for.
_FOR_SOME = (
    Disposition.comment
    | Disposition.lyrics
    | Disposition.karaoke
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.descriptions
    | Disposition.dependent
    | Disposition.non_diegetic
)
_UNKNOWN = "und"
# ISO 639: codes of two letters that do not begin their codes of three, and second codes of three.
_SAME = (
    {"de", "deu", "ger"}, {"es", "spa"}, {"zh", "zho", "chi"}, {"ja", "jpn"}, {"pt", "por"}, {"pl", "pol"},
    {"sv", "swe"}, {"tr", "tur"}, {"cs", "ces", "cze"}, {"sk", "slk", "slo"}, {"el", "ell", "gre"},
    {"nl", "nld", "dut"}, {"fr", "fra", "fre"}, {"fa", "fas", "per"}, {"ro", "ron", "rum"}, {"eu", "eus", "baq"},
    {"hy", "hye", "arm"}, {"ka", "kat", "geo"}, {"is", "isl", "ice"}, {"mk", "mkd", "mac"}, {"sq", "sqi", "alb"},
    {"ms", "msa", "may"}, {"my", "mya", "bur"}, {"bo", "bod", "tib"}, {"cy", "cym", "wel"}, {"mi", "mri", "mao"},
    {"id", "ind"}, {"ga", "gle"}, {"gl", "glg"}, {"et", "est"}, {"lt", "lit"}, {"bs", "bos"}, {"mt", "mlt"},
    {"he", "heb"}, {"hr", "hrv"}, {"sr", "srp"}, {"uk", "ukr"}, {"kk", "kaz"}, {"ca", "cat"}, {"da", "dan"},
)  # fmt: skip


def choose_audio_stream(
    container: InputContainer, path: str | Path, track: Track = None, role: str = "audio"
) -> AudioStream:
    """The sound track that is meant.

    track: None = the one that the file flags as default, else the first that is not for some listeners only (audio
    description, commentary, …), else the first. A number (or its digits) counts from 0; anything else is a language
    tag, `en`, `eng` or `en-GB`; of several of one language, the best by the rule for None.
    Raises UserError where there is no sound or no such track, with those that there are.
    """
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not streams:
        hint = "it has sound of a kind that cannot be decoded here" if container.streams.audio else "no audio stream"
        raise UserError(f"{role} '{path}': {hint}; pass audio=FILE with sound")
    wanted = streams
    if track is not None:
        text = str(track).strip()
        wanted = streams[int(text) : int(text) + 1] if text.isdecimal() else _speaking(streams, text)
        if not wanted:
            raise UserError(f"{role} '{path}': audio_track={track}: no such track; it has {_listed(streams)}")
    return min(wanted, key=_rank)


def language(stream: AudioStream) -> str | None:
    """The stream's language tag; None where it has none."""
    tag = stream.metadata.get("language", "").strip()
    return None if tag.lower() in ("", _UNKNOWN) else tag


def check_track(track: object) -> None:
    """Raise UserError for what no file could have as a track."""
    good = track is None or (isinstance(track, int) and not isinstance(track, bool) and track >= 0)
    if not good and not (isinstance(track, str) and track.strip() and not track.strip().startswith("-")):
        raise UserError(f"audio_track={track} is unknown; give a number from 0 or a language tag such as eng")


def _rank(stream: AudioStream) -> tuple[bool, bool]:
    return (not stream.disposition & Disposition.default, bool(stream.disposition & _FOR_SOME))


def _speaking(streams: list[AudioStream], tag: str) -> list[AudioStream]:
    """Those whose language begins as `tag` does: a tag of two letters stands for those of three, and for regions."""
    return [stream for stream in streams if _same_language(tag, language(stream) or _UNKNOWN)]


def _same_language(one: str, other: str) -> bool:
    one, other = (tag.lower().replace("_", "-").split("-")[0] for tag in (one, other))
    if one == other or any({one, other} <= group for group in _SAME):
        return True
    known = any(tag in group for group in _SAME for tag in (one, other))
    short, long = sorted((one, other), key=len)
    return not known and len(short) == 2 and long.startswith(short)


def _listed(streams: list[AudioStream]) -> str:
    words = []
    for number, stream in enumerate(streams):
        about = [language(stream) or "", *(flag.name or "" for flag in Disposition if stream.disposition & flag)]
        said = ", ".join(word.replace("_", " ") for word in about if word)
        words.append(f"{number} ({said})" if said else str(number))
    return "; ".join(words)
