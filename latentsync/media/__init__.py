"""Bytes to arrays and back: video, pictures, audio and mel. Nothing else in the project opens a media file.

The mel spectrogram is loaded when it is first asked for: a mistake in a request is answered without waiting for torch.
"""

from typing import TYPE_CHECKING, Any

from latentsync.media.audio import decode_audio, encode_wav, load_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.media.frames import SteadyFrame, TimedFrame, read_frames, read_frames_at
from latentsync.media.picture import Picture, VideoLook
from latentsync.media.picture_maker import still_picture
from latentsync.media.picture_reader import PictureReader
from latentsync.media.probe import VideoInfo, is_image, is_video, probe_video
from latentsync.media.stills import read_image
from latentsync.media.video_writer import VideoWriter, encode_clip

if TYPE_CHECKING:
    from latentsync.media.mel import log_mel, mel_window

__all__ = [
    "ClipReader",
    "Picture",
    "PictureReader",
    "SteadyFrame",
    "TimedFrame",
    "VideoInfo",
    "VideoLook",
    "VideoWriter",
    "decode_audio",
    "encode_clip",
    "encode_wav",
    "is_image",
    "is_video",
    "load_audio",
    "log_mel",
    "mel_window",
    "probe_video",
    "read_frames",
    "read_frames_at",
    "read_image",
    "still_picture",
]


def __getattr__(name: str) -> Any:
    if name in ("log_mel", "mel_window"):
        from latentsync.media import mel

        return getattr(mel, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
