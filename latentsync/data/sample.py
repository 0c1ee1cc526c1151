"""One clip of training data: its contract in a shard, as a window, and as a batch.

A clip is one webdataset sample. Its members, all named after the clip's key:

| member | holds |
| --- | --- |
| KEY.mp4 | aligned face, H.264, constant frame rate, short GOP |
| KEY.wav or KEY.flac | mono audio that starts and ends with the video |
| KEY.json | metadata, see `validate` |
| KEY.context.mp4 (optional) | the head with its surroundings, for evaluation; training does not look at it |
| KEY.mel.npy (optional) | float32 (80, T), SyncNet mel of the whole clip, 80 columns a second |
| KEY.audio_tokens.npy (optional) | float16 (N, L, D), audio tokens of each of the N frames |
| KEY.latents.npy (optional) | float16 (N, 2, 2C, h, w), posterior moments of the VAE |

Latents: axis 1 is [target, masked target]; channels are the C means, then the C standard deviations, unscaled
(neither shift nor scale applied), so that a training step may draw its own posterior sample without a pixel.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from latentsync.errors import UserError

if TYPE_CHECKING:  # imported where batches are made: what reads clips alone starts without it
    from torch import Tensor

REQUIRED_METADATA: dict[str, type | tuple[type, ...]] = {
    "source": str,
    "start": (int, float),
    "end": (int, float),
    "fps": (int, float),
    "resolution": int,
    "num_frames": int,
    "software_version": str,
}
VIDEO_MEMBER = "mp4"
AUDIO_MEMBERS = ("wav", "flac")
METADATA_MEMBER = "json"
CONTEXT_MEMBER = "context.mp4"
ARRAY_MEMBERS = {"mel": "mel.npy", "audio_tokens": "audio_tokens.npy", "latents": "latents.npy"}
STORED_TYPES = {"mel": np.float32, "audio_tokens": np.float16, "latents": np.float16}

SAFE_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+=@-]{0,79}")


MadeWith = dict[str, dict[str, str]]


class BadSample(Exception):
    """A clip that cannot be used. The message is the reason without the clip's name, so that reasons can be counted."""


@dataclass
class ClipSample:
    """One clip as it lies in a shard.

    key: see `check_key`; video: mp4 bytes; audio: wav or flac bytes; metadata: see `validate`;
    mel (80, T), audio_tokens (N, L, D), latents (N, 2, 2C, h, w), context (mp4 bytes): optional, see the table.
    """

    key: str
    video: bytes
    audio: bytes
    metadata: dict[str, Any]
    mel: np.ndarray | None = None
    audio_tokens: np.ndarray | None = None
    latents: np.ndarray | None = None
    context: bytes | None = None


@dataclass
class ClipWindow:
    """What one clip gives to a batch: F target frames, F reference frames, the audio of the target frames.

    target, reference: (F, 3, H, W) uint8; mel: (80, 52); audio_tokens: (F, L, D);
    target_moments, masked_moments, reference_moments: (F, 2C, h, w); truth: name -> (F,);
    made_with: "audio_encoder" and "autoencoder" -> {"source", "fingerprint"} of what made tokens and moments, if known.
    """

    key: str
    start_frame: int
    reference_start: int
    mel: Tensor
    audio_tokens: Tensor | None = None
    target: Tensor | None = None
    reference: Tensor | None = None
    target_moments: Tensor | None = None
    masked_moments: Tensor | None = None
    reference_moments: Tensor | None = None
    truth: dict[str, Tensor] = field(default_factory=dict)
    made_with: MadeWith = field(default_factory=dict)


@dataclass
class ClipBatch:
    """B clip windows; Lightning moves it between devices by itself.

    start_frames, reference_starts: (B,) int64, frame numbers in the clip; target, reference: (B, F, 3, H, W) float
    [-1, 1], uint8 until `on_device`, or None when pixels are not read; mel: (B, 1, 80, 52); audio_tokens:
    (B, F, L, D) or None without an audio encoder; target_moments, masked_moments, reference_moments: (B, F, 2C, h, w)
    or None when latents are not read; truth: name -> (B, F), what is known of each frame of synthetic clips (e.g.
    "opening"), or None.
    made_with: as of `ClipWindow`.
    """

    keys: list[str]
    start_frames: Tensor
    reference_starts: Tensor
    mel: Tensor
    audio_tokens: Tensor | None = None
    target: Tensor | None = None
    reference: Tensor | None = None
    target_moments: Tensor | None = None
    masked_moments: Tensor | None = None
    reference_moments: Tensor | None = None
    truth: dict[str, Tensor] | None = None
    made_with: MadeWith = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def on_device(self) -> ClipBatch:
        """With pixels as numbers in [-1, 1]: they travel as bytes, from workers and to the device."""
        return replace(self, target=_as_numbers(self.target), reference=_as_numbers(self.reference))

    def pin_memory(self) -> ClipBatch:
        """A copy in page-locked memory; torch's DataLoader calls this when asked to pin."""
        from torch import Tensor

        tensors: dict[str, Any] = {
            part.name: getattr(self, part.name).pin_memory()
            for part in fields(self)
            if isinstance(getattr(self, part.name), Tensor)
        }
        if self.truth is not None:
            tensors["truth"] = {name: values.pin_memory() for name, values in self.truth.items()}
        return replace(self, **tensors)


def _as_numbers(pixels: Tensor | None) -> Tensor | None:
    return pixels if pixels is None or pixels.is_floating_point() else pixels.float().div_(127.5).sub_(1)


def check_key(key: str) -> None:
    """Refuse a key that would be unsafe as a file name or ambiguous in a tar.

    Raises UserError unless the key has 1 to 80 characters out of letters, digits and _ + = @ -, does not begin with
    one of + = @ -, and is not of the form __NAME__ (webdataset passes over those).
    """
    if not SAFE_KEY.fullmatch(key) or (key.startswith("__") and key.endswith("__")):
        raise UserError(f"clip key {key!r}: use 1 to 80 letters, digits, '_' or '-' (no '/', no '.', not __NAME__)")


def validate(metadata: Mapping[str, Any]) -> None:
    """Check the metadata of a clip.

    Required: source (where the clip was cut from), start and end (seconds in the source), fps (frames a second),
    resolution (height = width, pixels), num_frames, software_version. Optional: offset (frames), confidence, truth
    (name -> one number a frame, for synthetic clips), window (left, top, right, bottom: the head and its surroundings
    in the source, pixels), audio_encoder and autoencoder ({"source", "fingerprint"} of what made the stored arrays),
    and anything else that JSON can hold.
    Raises BadSample with the first thing that is wrong.
    """
    for name, kind in REQUIRED_METADATA.items():
        if name not in metadata:
            raise BadSample(f"metadata lacks {name!r}")
        value = metadata[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise BadSample(f"metadata {name!r} is a {type(value).__name__}")
    for name in ("fps", "resolution", "num_frames"):
        if not 0 < metadata[name] < math.inf:
            raise BadSample(f"metadata {name!r} is not a positive number")
    if not 0 <= metadata["start"] <= metadata["end"] < math.inf:
        raise BadSample("metadata 'start' and 'end' are not a time range")


def to_members(sample: ClipSample) -> dict[str, bytes]:
    """The sample's tar members: extension -> bytes. Equal samples give equal bytes.

    Raises UserError for an unsafe key, BadSample for metadata out of contract or audio that is neither wav nor flac.
    """
    check_key(sample.key)
    validate(sample.metadata)
    members = {
        VIDEO_MEMBER: sample.video,
        audio_member(sample.audio): sample.audio,
        METADATA_MEMBER: json.dumps(sample.metadata, sort_keys=True, ensure_ascii=False, allow_nan=False).encode(),
    }
    if sample.context is not None:
        members[CONTEXT_MEMBER] = sample.context
    for name, member in ARRAY_MEMBERS.items():
        array = getattr(sample, name)
        if array is not None:
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(array, dtype=STORED_TYPES[name]), allow_pickle=False)
            members[member] = buffer.getvalue()
    return members


def from_members(key: str, members: Mapping[str, bytes]) -> ClipSample:
    """The sample out of its tar members (extension -> bytes); unknown members are passed over.

    Raises BadSample with the reason when a member is missing or cannot be read.
    """
    audio = next((members[name] for name in AUDIO_MEMBERS if name in members), None)
    if VIDEO_MEMBER not in members or audio is None or METADATA_MEMBER not in members:
        missing = [name for name in (VIDEO_MEMBER, METADATA_MEMBER) if name not in members]
        raise BadSample(f"member missing: {', '.join(missing + ([] if audio else ['wav or flac']))}")
    metadata = read_metadata(members[METADATA_MEMBER])
    arrays = {name: read_array(members[member], member) for name, member in ARRAY_MEMBERS.items() if member in members}
    return ClipSample(key, members[VIDEO_MEMBER], audio, metadata, context=members.get(CONTEXT_MEMBER), **arrays)


def read_metadata(data: bytes) -> dict[str, Any]:
    """Parse and validate KEY.json. Raises BadSample."""
    try:
        metadata = json.loads(data)
    except ValueError as error:
        raise BadSample("metadata is not JSON") from error
    if not isinstance(metadata, dict):
        raise BadSample("metadata is not a JSON object")
    validate(metadata)
    return metadata


def read_array(data: bytes, member: str) -> np.ndarray:
    """Read a .npy member, never unpickling. Raises BadSample."""
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BadSample(f"{member} is not a readable array") from error


def audio_member(audio: bytes) -> str:
    """Member name of these bytes, "wav" or "flac", by how they begin. Raises BadSample for anything else."""
    if audio[:4] == b"RIFF":
        return "wav"
    if audio[:4] == b"fLaC":
        return "flac"
    raise BadSample("audio is neither wav nor flac")


def made_with(windows: Sequence[ClipWindow]) -> MadeWith:
    """What all windows were made with, as far as they tell. Raises UserError where two of them differ."""
    found: MadeWith = {}
    for window in windows:
        for part, origin in window.made_with.items():
            before = found.setdefault(part, origin)
            if before["fingerprint"] != origin["fingerprint"]:
                raise UserError(
                    f"clip '{window.key}': made with the {part} '{origin['source']}' ({origin['fingerprint']}), others "
                    f"with '{before['source']}' ({before['fingerprint']}); precompute all of them with one"
                )
    return found


def collate(windows: Sequence[ClipWindow]) -> ClipBatch:
    """Stack windows into a batch. A part must be there in all windows or in none; truth keeps what all of them know."""
    import torch
    from torch.utils.data import default_collate

    if not windows:
        raise ValueError("a batch needs at least one window")

    def stack(name: str) -> Tensor | None:
        parts = [getattr(window, name) for window in windows]
        if all(part is None for part in parts):
            return None
        return default_collate(parts)  # in a worker, straight into the memory that the training process reads

    known = set.intersection(*(set(window.truth) for window in windows))
    return ClipBatch(
        keys=[window.key for window in windows],
        start_frames=torch.tensor([window.start_frame for window in windows]),
        reference_starts=torch.tensor([window.reference_start for window in windows]),
        mel=torch.stack([window.mel for window in windows]).unsqueeze(1),  # (B, 1, 80, 52)
        audio_tokens=stack("audio_tokens"),
        target=stack("target"),
        reference=stack("reference"),
        target_moments=stack("target_moments"),
        masked_moments=stack("masked_moments"),
        reference_moments=stack("reference_moments"),
        truth={name: torch.stack([window.truth[name] for window in windows]) for name in sorted(known)} or None,
        made_with=made_with(windows),
    )
