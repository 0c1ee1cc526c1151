"""Cuts one training window out of a clip: target frames, reference frames, and the target's audio."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from latentsync.data.sample import BadSample, ClipSample, ClipWindow
from latentsync.media.audio import decode_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.media.mel import log_mel, mel_window
from latentsync.media.rates import SAMPLE_RATE

SHORTEST_WAVE = SAMPLE_RATE // 50  # one step of the audio encoder

if TYPE_CHECKING:
    from latentsync.models.audio_encoder import AudioEncoder


def draw_window(
    num_frames_clip: int, num_frames: int, generator: np.random.Generator, distance: int | None = None
) -> tuple[int, int]:
    """First frames of a target and a reference window of `num_frames` each, at least `distance` ≥ 1 frames apart.

    distance: None = num_frames: they do not overlap. The target is uniform over all starts that leave room for a
    reference, the reference over those that the target leaves. Raises BadSample when the clip has fewer than
    num_frames + distance frames.
    """
    distance = num_frames if distance is None else distance
    starts = np.arange(num_frames_clip - num_frames + 1)
    targets = starts[(starts >= distance) | (starts + distance < len(starts))]
    if len(targets) == 0:
        raise BadSample(f"fewer than {num_frames + distance} frames")
    target = generator.choice(targets)
    return int(target), int(generator.choice(starts[abs(starts - target) >= distance]))


def clip_generator(seed: int, epoch: int, key: str) -> np.random.Generator:
    """The randomness of one clip in one epoch: the same whichever worker reads the clip, and when."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


class ClipWindows:
    """Makes windows: what is stored in the clip is used, what is not is computed, and both give the same window.

    resolution: height and width of the frames, pixels; clips of another size are resized.
    num_frames: F, frames in a window.
    audio_tokens: whether windows have audio tokens; audio_encoder: folder of the encoder for clips without stored ones.
    pixels: whether frames are decoded. latents: whether stored posterior moments are read.
    seed: of the choice of windows. reference_distance: see `draw_window`.
    """

    def __init__(
        self,
        resolution: int,
        num_frames: int = 16,
        audio_encoder: str | Path | None = None,
        audio_tokens: bool = True,
        pixels: bool = True,
        latents: bool = False,
        seed: int = 0,
        reference_distance: int | None = None,
    ) -> None:
        self.resolution = resolution
        self.num_frames = num_frames
        self.audio_tokens = audio_tokens
        self.pixels = pixels
        self.latents = latents
        self.seed = seed
        self.reference_distance = reference_distance
        self._encoder_folder = audio_encoder
        self._encoder: AudioEncoder | None = None  # loaded by the worker that first needs it

    def __call__(self, sample: ClipSample, epoch: int) -> ClipWindow:
        """The window of this clip in this epoch. Raises BadSample when the clip cannot give one."""
        count = sample.metadata["num_frames"]
        generator = clip_generator(self.seed, epoch, sample.key)
        start, reference = draw_window(count, self.num_frames, generator, self.reference_distance)
        audio = _Audio(sample)
        window = ClipWindow(sample.key, start, reference, mel=self._mel(sample, audio, start))
        if self.audio_tokens:
            window.audio_tokens, origin = self._tokens(sample, audio, start)
            window.made_with |= {"audio_encoder": origin} if origin else {}
        if self.pixels:
            window.target, window.reference = self._frames(sample, start, reference)
        if self.latents:
            target = self._moments(sample, start)
            window.target_moments, window.masked_moments = target[:, 0], target[:, 1]
            window.reference_moments = self._moments(sample, reference)[:, 0]
            origin = stored_origin(sample, "autoencoder")
            window.made_with |= {"autoencoder": origin} if origin else {}
        window.truth = self._truth(sample, start)
        return window

    def _mel(self, sample: ClipSample, audio: "_Audio", start: int) -> Tensor:
        mel = sample.mel if sample.mel is not None else log_mel(audio.wave())
        if mel.ndim != 2 or mel.shape[0] != 80:
            raise BadSample(f"stored mel is of shape {mel.shape}")
        window = mel_window(mel, start, self.num_frames, sample.metadata["fps"])  # (80, 52)
        return torch.from_numpy(np.ascontiguousarray(window, dtype=np.float32))

    def _tokens(self, sample: ClipSample, audio: "_Audio", start: int) -> tuple[Tensor, dict[str, str] | None]:
        end = start + self.num_frames
        if sample.audio_tokens is not None:
            if sample.audio_tokens.ndim != 3 or len(sample.audio_tokens) < sample.metadata["num_frames"]:
                raise BadSample(f"stored audio tokens are of shape {sample.audio_tokens.shape}")
            tokens = torch.from_numpy(sample.audio_tokens[start:end].astype(np.float32))  # (F, L, D)
            return tokens, stored_origin(sample, "audio_encoder")
        if self._encoder_folder is None:
            raise BadSample("no audio tokens stored (precompute them, or set audio_encoder, or audio_tokens=false)")
        encoder = self._load_encoder(self._encoder_folder)
        with torch.no_grad():
            hidden = encoder.hidden_states(audio.wave())
            tokens = encoder.frame_tokens(hidden, sample.metadata["num_frames"], sample.metadata["fps"])
        return tokens[start:end].float().clone(), encoder.origin

    def _load_encoder(self, folder: str | Path) -> "AudioEncoder":
        if self._encoder is None:
            from latentsync.weights.whisper import load_audio_encoder  # transformers takes seconds to import

            self._encoder = load_audio_encoder(folder).eval().requires_grad_(False)
        return self._encoder

    def _frames(self, sample: ClipSample, start: int, reference: int) -> tuple[Tensor, Tensor]:
        wanted = [*range(start, start + self.num_frames), *range(reference, reference + self.num_frames)]
        try:
            frames = ClipReader(sample.video).read(wanted)  # (2F, H, W, 3) uint8
        except IndexError as error:
            raise BadSample("video has fewer frames than its metadata says") from error
        except Exception as error:  # decoders raise anything on damaged bytes; the reason keeps the type visible
            raise BadSample(f"video cannot be decoded ({type(error).__name__})") from error
        if frames.shape[1] != frames.shape[2]:
            raise BadSample(f"video is {frames.shape[2]}×{frames.shape[1]}, not square")
        if frames.shape[1] != self.resolution:
            frames = _resize(frames, self.resolution)
        pixels = rearrange(torch.from_numpy(frames), "f h w c -> f c h w")
        return pixels[: self.num_frames], pixels[self.num_frames :]

    def _moments(self, sample: ClipSample, start: int) -> Tensor:
        latents = sample.latents
        if latents is None:
            raise BadSample("no latents stored (precompute them, or set latents=false)")
        if latents.ndim != 5 or latents.shape[1] != 2 or len(latents) < sample.metadata["num_frames"]:
            raise BadSample(f"stored latents are of shape {latents.shape}")
        if sample.metadata["resolution"] != self.resolution:
            raise BadSample(f"latents stored for resolution {sample.metadata['resolution']}, not {self.resolution}")
        return torch.from_numpy(latents[start : start + self.num_frames].astype(np.float32))  # (F, 2, 2C, h, w)

    def _truth(self, sample: ClipSample, start: int) -> dict[str, Tensor]:
        """What the metadata's "truth" tells of each frame: name -> (F,) float32; other entries are left out."""
        truth = sample.metadata.get("truth")
        if not isinstance(truth, dict):
            return {}
        count = sample.metadata["num_frames"]
        tracks: dict[str, Tensor] = {}
        for name, values in truth.items():
            if isinstance(values, list) and len(values) == count and all(_is_number(value) for value in values):
                tracks[name] = torch.tensor(values[start : start + self.num_frames], dtype=torch.float32)
        return tracks


def stored_origin(sample: ClipSample, part: str) -> dict[str, str] | None:
    """Which network made the clip's stored arrays, {"source", "fingerprint"}, if its metadata tells."""
    told = sample.metadata.get(part)
    return told if isinstance(told, dict) and {"source", "fingerprint"} <= told.keys() else None


class _Audio:
    """The clip's sound, decoded once and only when something asks."""

    def __init__(self, sample: ClipSample) -> None:
        self._bytes = sample.audio
        self._wave: np.ndarray | None = None

    def wave(self) -> np.ndarray:
        if self._wave is None:
            try:
                wave, rate = decode_audio(self._bytes)
            except Exception as error:  # as for the video
                raise BadSample(f"audio cannot be decoded ({type(error).__name__})") from error
            if rate != SAMPLE_RATE:
                raise BadSample(f"audio has {rate} Hz, not {SAMPLE_RATE}")
            if len(wave) < SHORTEST_WAVE:
                raise BadSample(f"audio is shorter than {SHORTEST_WAVE / SAMPLE_RATE:g} s")
            self._wave = wave
        return self._wave


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _resize(frames: np.ndarray, resolution: int) -> np.ndarray:
    """(N, H, W, 3) uint8 to (N, resolution, resolution, 3): by area when smaller, Lanczos when larger."""
    method = cv2.INTER_AREA if resolution < frames.shape[1] else cv2.INTER_LANCZOS4
    return np.stack([cv2.resize(frame, (resolution, resolution), interpolation=method) for frame in frames])
