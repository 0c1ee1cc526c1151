"""Bytes to arrays and back: video, pictures, audio and mel. Nothing else in the project opens a media file."""

from latentsync.media.audio import decode_audio, encode_wav, load_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.media.frames import TimedFrame, read_frames, read_frames_at, read_image
from latentsync.media.mel import log_mel, mel_window
from latentsync.media.probe import VideoInfo, is_image, is_video, probe_video
from latentsync.media.video_writer import VideoWriter, encode_clip

__all__ = [
    "ClipReader",
    "TimedFrame",
    "VideoInfo",
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
]
