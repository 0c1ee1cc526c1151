"""A model as one thing: U-Net, autoencoder and audio encoder that belong together, by name, folder or file."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latentsync.errors import UserError
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.unet import UNet3DConditionModel
from latentsync.weights.adapter import Weights, describes_network, load_autoencoder, read
from latentsync.weights.companions import ALIGNMENT, MASK, Companions, Part, find_part, part_inside, read_companions
from latentsync.weights.registry import NAMES, checkpoints_folder, find, published
from latentsync.weights.unet import Fit
from latentsync.weights.whisper import load_audio_encoder

log = logging.getLogger(__name__)

PUBLISHED_FRAMES = 16
PUBLISHED_GUIDANCE = 1.5  # of its inference command
TINY_WIDTH = 384  # of Whisper tiny's audio tokens


@dataclass(frozen=True)
class Bundle:
    """What inference needs, on one device.

    unet, autoencoder, audio_encoder: in eval mode. resolution: side of the face crop in pixels. num_frames: frames in a
    window. guidance_scale: that the model was made for. schedule: arguments of `NoiseSchedule`, None = the
    published one. metadata: what the weights say of themselves.
    """

    unet: UNet3DConditionModel
    autoencoder: FrameAutoencoder
    audio_encoder: AudioEncoder
    resolution: int
    num_frames: int
    guidance_scale: float = 1.0
    schedule: Mapping[str, Any] | None = None
    metadata: dict[str, str] = field(default_factory=dict)


def load_bundle(
    weights: str | Path = "demo",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    resolution: int | None = None,
    autoencoder: str | Path | None = None,
    audio_encoder: str | Path | None = None,
) -> Bundle:
    """The networks of a model.

    weights: "demo", "latentsync-1.0", "-1.5", "-1.6" (as `fetch` left them), a model's folder (ours, an export, one
        laid out as LatentSync's or ComfyUI's instructions say, a hub snapshot), a U-Net's `.pt`, or a training `.ckpt`.
    resolution: only where nothing says it; a contradiction is an error. autoencoder, audio_encoder: others than those
    that the model names or brings: a name, folder, Whisper `.pt` or model. dtype: of U-Net and autoencoder; the audio
    encoder stays in float32. Raises UserError on an unknown name, a missing file (which, and from where), damaged or
    unfitting weights, parts other than those that were trained with, and a resolution that nothing tells.
    """
    path, what = find(weights), f"weights '{weights}'"
    found = read_unet(path, what)
    told = companions_of(path, found)
    fit = Fit.of(found.config())
    check_ways(what, told)
    if found.checkpoint is not None and told.audio_encoder is None and audio_encoder is None:
        log.warning("%s: the checkpoint does not name its audio encoder; give audio_encoder= and autoencoder=", what)
    size = settle_resolution(what, weights, found, fit.resolution or told.resolution, resolution)
    frame_encoder = load_autoencoder(companion(path, "autoencoder", told.autoencoder, autoencoder, fit, what))
    sound = load_audio_encoder(companion(path, "audio_encoder", told.audio_encoder, audio_encoder, fit, what))
    if fit.audio_width != sound.hidden_size:
        raise UserError(
            f"{what}: the U-Net was trained on audio tokens of width {fit.audio_width}, the audio encoder gives "
            f"{sound.hidden_size}; give the one it was trained with: audio_encoder= (Whisper tiny: 384, small: 768)"
        )
    check_fingerprint(what, "autoencoder", told.autoencoder, frame_encoder.origin, autoencoder)
    check_fingerprint(what, "audio_encoder", told.audio_encoder, sound.origin, audio_encoder)
    unet: Any = found.adapter.load(found)
    return Bundle(
        unet=nn.Module.to(unet, device=device, dtype=dtype).eval(),
        autoencoder=frame_encoder.to(device=device, dtype=dtype).eval(),
        audio_encoder=sound.to(device).eval(),
        resolution=size,
        num_frames=fit.num_frames or told.num_frames or PUBLISHED_FRAMES,
        guidance_scale=settle_guidance(weights, found, told.guidance_scale),
        schedule=told.schedule or _schedule_in(found.config()),
        metadata=fit.as_metadata(),
    )


def _schedule_in(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of weights without a `model.json`: what their own configuration says that they predict."""
    return {"prediction_type": config["prediction_type"]} if config.get("prediction_type") else None


def load_unet(weights: str | Path = "demo") -> UNet3DConditionModel:
    """The U-Net alone of whatever `load_bundle` takes, in evaluation mode, in the type it was saved in."""
    found = read_unet(find(weights), f"weights '{weights}'")
    unet = found.adapter.load(found)
    assert isinstance(unet, UNet3DConditionModel)
    return unet.eval()


def read_unet(path: Path, what: str) -> Weights:
    """The lip-sync U-Net in a file or a model's folder. Raises UserError when it is another network's."""
    found = read(unet_in(path))
    if found.kind != "unet":
        inside = f" ({found.path.name})" if path.is_dir() and found.path != path else ""
        raise UserError(f"{what}{inside}: {found.kind} weights, not a lip-sync U-Net's")
    return found


def unet_in(path: Path) -> Path:
    """Where in a model's folder the U-Net is; any other path as it is. Raises UserError for two candidates."""
    if not path.is_dir() or describes_network(path):
        return path
    files = {file for kind in ("pt", "pth", "safetensors") for file in path.glob(f"*unet*.{kind}")}
    candidates = sorted({*files, *(folder for folder in (path / "unet",) if folder.is_dir())})
    if len(candidates) > 1:
        names = ", ".join(candidate.name for candidate in candidates)
        raise UserError(f"weights '{path}': more than one U-Net in it ({names}); give one: weights={candidates[0]}")
    if not candidates and not any(file.suffix in (".safetensors", ".bin") for file in path.iterdir()):
        raise UserError(
            f"weights '{path}': nothing in it is known by its name; give a model's folder (with unet/, "
            "latentsync_unet.pt, or config.json and safetensors), or a file"
        )
    return candidates[0] if candidates else path


def companions_of(path: Path, found: Weights) -> Companions:
    """What a model's folder or a training checkpoint says of the parts it was trained with."""
    if found.checkpoint is None:
        return read_companions(path) if path.is_dir() else Companions()
    return Companions.of(found.checkpoint.get("model") or {}, f"checkpoint '{path}'")


def companion(path: Path, part: str, told: Part | None, given: str | Path | None, fit: Fit, what: str) -> Path:
    """Where a U-Net's autoencoder or audio encoder is: as given, as `told`, beside it, or the published one.

    A U-Net of another audio width than Whisper tiny's that brings nothing takes the embedded model's, with a line.
    """
    if given is not None:
        return find_part(part, given)
    if told is not None:
        try:
            return find_part(part, told.source, path)
        except UserError as error:
            raise UserError(f"{error} ({what} was trained with it; if it is elsewhere, give {part}=)") from error
    inside = part_inside(path if path.is_dir() else path.parent, part)
    if inside is not None:
        return inside
    if fit.audio_width == TINY_WIDTH or not (checkpoints_folder() / "demo").is_dir():
        return find_part(part, "sd-vae-ft-mse" if part == "autoencoder" else "whisper-tiny")
    log.info("%s: names no %s; the demo's is taken; another: %s=", what, part, part)
    return find_part(part, "demo")


def check_ways(what: str, told: Companions) -> None:
    """Raise UserError for a model whose faces were aligned or masked in a way that this version does not have."""
    for name, given, ours in (("alignment", told.alignment, ALIGNMENT), ("mask", told.mask, MASK)):
        if given not in (None, ours):
            raise UserError(
                f"{what}: trained with the {name} '{given}', this version has '{ours}'; use its own version"
            )


def check_fingerprint(
    what: str, part: str, told: Part | None, origin: Mapping[str, str] | None, given: str | Path | None = None
) -> None:
    """Compare a part with the one the U-Net was trained with: one that was `given` is only reported.

    Raises UserError for another one that nobody asked for.
    """
    if told is None or told.fingerprint is None or origin is None or origin["fingerprint"] == told.fingerprint:
        return
    found = origin["fingerprint"]
    if given is None:
        raise UserError(
            f"{what}: trained with the {part} '{told.source}' of fingerprint {told.fingerprint}, the one found has "
            f"{found}; fetch or copy it again, or give {part}= to use another one knowingly"
        )
    log.warning(
        "%s: trained with the %s '%s' (%s); '%s' is another one (%s)",
        *(what, part, told.source, told.fingerprint, given, found),
    )


def settle_guidance(name: str | Path, found: Weights, told: float | None) -> float:
    """The guidance scale that a model says it is best used with, that of the published files, or 1: none."""
    if told is not None:
        return told
    return PUBLISHED_GUIDANCE if (NAMES.get(str(name)) or published(found.path)) is not None else 1.0


def settle_resolution(what: str, name: str | Path, found: Weights, told: int | None, given: int | None) -> int:
    """The resolution: written with the weights, of the published file that they are, or the caller's.

    Raises UserError when two contradict each other, and when nothing tells: shapes are the same at any resolution.
    """
    if told is None:
        entry = NAMES.get(str(name)) or published(found.path)
        told = entry.resolution if entry is not None else None
        if entry is not None and str(name) != entry.name:
            log.info("%s: %s by its size and checksum; resolution %s", what, entry.name, told)
        if told is None and any("1.0" in note for note in found.notes):
            told = 256
    if told is not None and given is not None and told != given:
        raise UserError(
            f"{what}: made for resolution {told}, the configuration says {given}; change the configuration "
            f"(resolution={told}), or take weights made for {given}"
        )
    if told is None and given is None:
        raise UserError(
            f"{what}: does not say its resolution, and shapes cannot tell; give resolution=256 (LatentSync 1.5 and "
            "before) or resolution=512 (1.6); weights_resolution= of eval.evaluate"
        )
    return int(told or given or 0)
