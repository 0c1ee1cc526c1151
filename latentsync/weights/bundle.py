"""A set of weights that infers together: U-Net, autoencoder and audio encoder, by name, folder or file."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.unet import UNet3DConditionModel
from latentsync.weights.companions import FOLDERS, Part, fetched, find_part, fingerprint, read_companions
from latentsync.weights.guard import Fit, check_audio_width
from latentsync.weights.initial import POSITIONS, read
from latentsync.weights.layout import unet_config
from latentsync.weights.load import folder_config, load_strict
from latentsync.weights.parts import load_audio_encoder, load_autoencoder
from latentsync.weights.registry import checkpoints_folder, known, place

log = logging.getLogger(__name__)

PUBLISHED_RESOLUTION = {"latentsync-1.5": 256, "latentsync-1.6": 512}
NAMES = ("demo", *PUBLISHED_RESOLUTION)
PUBLISHED_FRAMES = 16
BESIDE = ("num_frames", "global_step")  # what we write into config.json beside the network's arguments
TINY_WIDTH = 384  # of Whisper tiny's audio tokens


@dataclass(frozen=True)
class Bundle:
    """What inference needs, on one device.

    unet, autoencoder, audio_encoder: in eval mode. resolution: side of the face crop in pixels. num_frames: frames in a
    window. metadata: what the weights say of themselves.
    """

    unet: UNet3DConditionModel
    autoencoder: FrameAutoencoder
    audio_encoder: AudioEncoder
    resolution: int
    num_frames: int
    metadata: dict[str, str] = field(default_factory=dict)


def load_bundle(
    weights: str | Path = "demo",
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    resolution: int | None = None,
    autoencoder: str | Path | None = None,
    audio_encoder: str | Path | None = None,
) -> Bundle:
    """The networks of a set of weights.

    weights: "demo", "latentsync-1.5", "latentsync-1.6" (as `fetch` left them), a folder of ours {unet, vae,
        audio_encoder}, a folder of a U-Net alone (a run's export), a published U-Net `.pt`, or a training `.ckpt`.
    resolution: only where the weights do not say it; a contradiction is an error. autoencoder, audio_encoder: folder or
    Whisper `.pt` to use with a U-Net that comes alone; None = those that fit its audio width from `checkpoints/`.
    dtype: of U-Net and autoencoder; the audio encoder stays in float32. Raises UserError on an unknown name, a missing
    file (which, and from where), damaged or unfitting weights.
    """
    folder = locate(weights)
    unet, config = load_unet(folder)
    fit = Fit.of(config)
    size = settle_resolution(weights, fit.resolution or PUBLISHED_RESOLUTION.get(str(weights)), resolution)
    told = read_companions(folder)
    frame_encoder = load_autoencoder(companion(folder, "autoencoder", told.autoencoder, autoencoder, fit.audio_width))
    sound = load_audio_encoder(companion(folder, "audio_encoder", told.audio_encoder, audio_encoder, fit.audio_width))
    check_audio_width(fit, sound.hidden_size, f"weights '{weights}'")
    check_fingerprint(f"weights '{weights}'", "autoencoder", told.autoencoder, frame_encoder.vae, autoencoder)
    check_fingerprint(f"weights '{weights}'", "audio_encoder", told.audio_encoder, sound.encoder, audio_encoder)
    return Bundle(
        unet=nn.Module.to(unet, device=device, dtype=dtype).eval(),
        autoencoder=frame_encoder.to(device=device, dtype=dtype).eval(),
        audio_encoder=sound.to(device).eval(),
        resolution=size,
        num_frames=fit.num_frames or PUBLISHED_FRAMES,
        metadata=fit.as_metadata(),
    )


def locate(weights: str | Path) -> Path:
    """The folder or file of a set of weights. Raises UserError that names what is missing or the nearest known name."""
    name = str(weights)
    if name == "demo":
        path = checkpoints_folder() / "demo"
        if not (path / "unet").is_dir():
            raise UserError(f"weights 'demo': {path / 'unet'} is not there; check out the repository's {path} folder")
        return path
    if name in PUBLISHED_RESOLUTION:
        path = place(known(name).files[0])
        if not path.is_file():
            raise UserError(f"weights '{name}': {path} is not there; run `python -m latentsync.weights fetch {name}`")
        return path
    path = Path(weights)
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"weights '{name}': no such file or folder; known names are {', '.join(NAMES)}")
    near = get_close_matches(name, NAMES, n=1, cutoff=0.3)
    suggestion = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(NAMES)}"
    raise UserError(f"weights '{name}': not known, and no such folder or file; {suggestion}")


def companion(folder: Path, part: str, told: Part | None, given: str | Path | None, audio_width: int) -> Path:
    """Where a U-Net's autoencoder or audio encoder is: as given, as `told`, in the folder beside it, or fetched."""
    if given is not None:
        return find_part(part, given)
    if told is not None:
        return find_part(part, told.source, folder)
    if folder.is_dir() and (folder / FOLDERS[part]).is_dir():
        return folder / FOLDERS[part]
    demo = checkpoints_folder() / "demo" / FOLDERS[part]
    if audio_width != TINY_WIDTH and demo.is_dir():
        log.info("%s: the weights bring none; the demo's is taken (%s)", part, demo)
        return demo
    return fetched("sd-vae-ft-mse" if part == "autoencoder" else "whisper-tiny")


def check_fingerprint(
    what: str, part: str, told: Part | None, network: nn.Module, given: str | Path | None = None
) -> None:
    """Compare a part with the one the U-Net was trained with: one that was `given` is only reported.

    Raises UserError for another one that nobody asked for.
    """
    if told is None or told.fingerprint is None or (found := fingerprint(network)) == told.fingerprint:
        return
    if given is None:
        raise UserError(
            f"{what}: trained with the {part} '{told.source}' of fingerprint {told.fingerprint}, the one found has "
            f"{found}; fetch or copy it again, or give {part}= to use another one knowingly"
        )
    log.warning(
        "%s: trained with the %s '%s' (%s); '%s' is another one (%s)", what, part, told.source, told.fingerprint,
        given, found,
    )  # fmt: skip


def settle_resolution(weights: str | Path, told: int | None, given: int | None) -> int:
    """The resolution from the weights or the caller. Raises UserError when they contradict each other."""
    if told is not None and given is not None and told != given:
        raise UserError(
            f"weights '{weights}': made for resolution {told}, the configuration says {given}; change the "
            f"configuration (resolution={told}), or take weights made for {given}"
        )
    if told is None and given is None:
        log.info(
            "weights '%s' do not say their resolution; 256 is taken, as published; give resolution=512 if not", weights
        )
    return told or given or 256


def load_unet(path: Path) -> tuple[UNet3DConditionModel, dict[str, Any]]:
    """The U-Net of a file or folder with all its weights, and its configuration with what we wrote beside it."""
    identity, told = read(path)
    if identity.kind not in ("unet", "checkpoint"):
        raise UserError(f"weights '{path}': {identity.kind} weights, not a lip-sync U-Net's")
    shapes = unet_config(identity.state)
    config = {**shapes, **told}
    unet = filled_unet(config, identity.state, f"weights '{path}'")
    unet.register_to_config(**{name: told[name] for name in BESIDE if told.get(name) is not None})
    return unet, config


def filled_unet(config: Mapping[str, Any], state: Mapping[str, Tensor], what: str) -> UNet3DConditionModel:
    """A U-Net built without initialising weights that are overwritten at once, then filled strictly.

    Position tables, which are fixed and which not every file holds, are computed when the file has none.
    """
    arguments = {name: value for name, value in config.items() if not name.startswith("_") and name not in BESIDE}
    with torch.device("meta"):
        unet = UNet3DConditionModel(**arguments)
    absent = [key for key in unet.state_dict() if key not in state and key.endswith(POSITIONS)]
    if not absent:
        load_strict(unet, state, what, assign=True)
    if absent or any(tensor.is_meta for tensor in chain(unet.parameters(), unet.buffers())):
        unet = UNet3DConditionModel(**arguments)
        own = unet.state_dict()
        load_strict(unet, {**{key: own[key] for key in absent}, **state}, what)
    return unet


def describe(folder: Path) -> dict[str, Any]:
    """The configuration of our folder's U-Net, without loading weights: for a check before a long load."""
    return folder_config(folder / "unet" if (folder / "unet").is_dir() else folder)
