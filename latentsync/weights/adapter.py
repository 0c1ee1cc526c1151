"""What weights are: one adapter a network recognises them by their keys, reads the configuration off their shapes, and
takes them in from the published form and out to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.truncation import told_length
from latentsync.models.weight_files import folder_config, folder_weights, load_state, load_strict, state_of
from latentsync.weights.known import KNOWN

if TYPE_CHECKING:
    from latentsync.models.autoencoder import FrameAutoencoder

Content = Mapping[str, Any]  # of a file as it was loaded, with the file's own nesting
State = dict[str, Tensor]


class Adapter:
    """A network between its published form and ours. kind: its short name; what: the same for people.

    class_name: what `config.json` of our folders says; None = the network has no folder of ours.
    """

    kind = "unknown"
    what = "not a network that LatentSync uses"
    class_name: str | None = None

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        """Whether a table of tensors holds this network."""
        return True

    def notes(self, state: State) -> list[str]:
        """What else is worth telling of weights of this kind, keys as in the file."""
        return []

    def config(self, content: Content) -> dict[str, Any]:
        """The network's settings as far as the file and its shapes tell. Raises UserError where they cannot."""
        return {}

    def network(self, config: Mapping[str, Any]) -> nn.Module:
        """The network of a configuration, not yet filled."""
        raise UserError(f"{self.kind} weights: {self.what}")

    def from_published(self, content: Content) -> State:
        """The weights under our names, of a published file or one of ours."""
        return state_of(content)

    def to_published(self, state: Mapping[str, Tensor], global_step: int) -> dict[str, Any]:
        """The content of a published file."""
        raise UserError(f"{self.kind} weights have no published format; our U-Net and SyncNet have")

    def load(self, weights: "Weights", config: Mapping[str, Any] | None = None) -> nn.Module:
        """The network, every key used. config: None = what the weights tell. Raises UserError."""
        settings = weights.config() if config is None else config
        state, what = self.from_published(weights.content), f"{self.what} '{weights.path}'"
        with torch.device("meta"):
            network = self.network(settings)
        load_strict(network, state, what, assign=True)  # no second copy in memory
        if any(tensor.is_meta for tensor in chain(network.parameters(), network.buffers())):
            network = self.network(settings)  # buffers that no file holds have to be computed
            load_strict(network, state, what)
        return network


@dataclass(frozen=True)
class Weights:
    """What was read from a file or folder.

    content: as loaded; of a training checkpoint, the part of it that a network was recognised in. told: the
    configuration that was written beside it (config.json, or in a checkpoint). checkpoint: a training one as a whole.
    """

    path: Path
    adapter: Adapter
    content: Content
    told: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    global_step: int = 0
    checkpoint: Content | None = None

    @property
    def kind(self) -> str:
        """The adapter's."""
        return self.adapter.kind

    @property
    def state(self) -> State:
        """Key → tensor under our names."""
        return self.adapter.from_published(self.content)

    @property
    def parameters(self) -> int:
        """Numbers held by the file, buffers included."""
        return sum(value.numel() for value in state_of(self.content).values())

    def config(self) -> dict[str, Any]:
        """What the shapes tell, overridden by what is written beside the weights."""
        return {**self.adapter.config(self.content), **self.told}


def read(path: Path) -> Weights:
    """What a file or folder holds. Raises UserError when it cannot be read; unknown networks have kind "unknown"."""
    if not path.is_dir():
        return recognise(load_file(path), path)
    return recognise(folder_weights(path), path, folder_config(path) if describes_network(path) else {})


def load_file(path: Path | str) -> dict[str, Any]:
    """`load_state` that knows, by the name alone, how long a published file is. Raises UserError."""
    try:
        return load_state(path)
    except UserError as error:
        path = Path(path)
        told = told_length(path) if path.is_file() else (0, True)  # one that is too short for it is another file
        sizes = [
            f"{file.size:,} ({entry.name})"
            for entry in KNOWN
            for file in entry.files
            if Path(file.target).name == path.name
            and file.size is not None
            and (told is None or 0.99 * file.size <= told[0] <= file.size)
        ]
        if not sizes:
            raise
        known = f"published, '{path.name}' has {' or '.join(sizes)} bytes, this one {path.stat().st_size:,}"
        raise UserError(f"{error}; {known}") from error


def describes_network(folder: Path) -> bool:
    """Whether a folder's config.json is a network's; the hub's snapshots of published files have one that is not."""
    if not (folder / "config.json").is_file():
        return False
    return bool(folder_config(folder).keys() & {"_class_name", "model_type", "d_model", "in_channels", "audio_encoder"})


def recognise(content: Content, path: Path | None = None, told: Mapping[str, Any] | None = None) -> Weights:
    """The same of content that is loaded already."""
    path, told = Path("?") if path is None else path, dict(told or {})
    if "pytorch-lightning_version" in content:
        return recognise_checkpoint(content, path)
    state = state_of(content)
    adapter = next(one for one in adapters() if one.recognises(state))
    step = int(content.get("global_step") or told.get("global_step") or 0)
    notes = [f"trained {step:,} steps"] if "global_step" in content else []
    notes += adapter.notes(state)
    return Weights(path, adapter, content, told, tuple(notes), step)


def recognise_checkpoint(content: Content, path: Path) -> Weights:
    """A Lightning checkpoint: the first of its parts that is a known network, and which parts there are."""
    state, step = state_of(content), int(content.get("global_step", 0))
    parts = sorted({key.split(".")[0] for key in state})
    notes = (f"Lightning checkpoint, step {step:,}, parts: {', '.join(parts)}",)
    for part in parts:
        inside = recognise({k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}, path)
        if inside.adapter.class_name is not None:
            told = dict(content.get(f"{part}_config") or {})
            return Weights(path, inside.adapter, inside.content, told, (*notes, *inside.notes), step, content)
    return Weights(path, Adapter(), content, {}, notes, step, content)


class AutoencoderAdapter(Adapter):
    """A diffusers autoencoder, attention names before 0.17 too; without config.json taken for Stable Diffusion's."""

    kind, what, class_name = "autoencoder", "Stable Diffusion autoencoder", "AutoencoderKL"

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        return "encoder.conv_in.weight" in state and "decoder.conv_in.weight" in state

    def config(self, content: Content) -> dict[str, Any]:
        from latentsync.models.autoencoder import STABLE_DIFFUSION

        return STABLE_DIFFUSION

    def network(self, config: Mapping[str, Any]) -> nn.Module:
        from diffusers import AutoencoderKL

        return AutoencoderKL.from_config(dict(config))

    def from_published(self, content: Content) -> State:
        from latentsync.models.autoencoder import modern_attention

        return modern_attention(state_of(content))


class Unloaded(Adapter):
    """Told by its keys for `inspect` and for messages; other rooms load it."""

    def __init__(self, kind: str, what: str, key: str) -> None:
        self.kind, self.what, self.key = kind, what, re.compile(key)

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        return any(self.key.fullmatch(key) for key in state)


MOTION = r"(module\.)?(down|mid|up)_blocks?\..*motion_modules\..*"


UNLOADED = (
    Unloaded("videomae-transformers", "VideoMAE, transformers' format", r".*patch_embeddings\.projection\.weight"),
    Unloaded("syncnet-v2", "SyncNet v2 (evaluation)", r".*netcnnaud\.0\.weight"),
    Unloaded("motion-modules", "AnimateDiff motion modules: an initialisation for the temporal layers", MOTION),
    Unloaded("lpips-backbone", "LPIPS backbone (convolutions)", r"features\.0\.weight"),
)


def adapters() -> tuple[Adapter, ...]:
    """All of them; the first that recognises a file has it."""
    from latentsync.weights.syncnet import SyncNetAdapter  # here: each of them imports this module
    from latentsync.weights.unet import StableDiffusionUNet, UNetAdapter
    from latentsync.weights.videomae import VideoMAEAdapter
    from latentsync.weights.whisper import OpenAIWhisper, TransformersWhisper

    loaded = (StableDiffusionUNet, UNetAdapter, SyncNetAdapter, OpenAIWhisper, TransformersWhisper, VideoMAEAdapter)
    return (*(adapter() for adapter in loaded), AutoencoderAdapter(), *UNLOADED, Adapter())


def load_autoencoder(source: Path | str) -> "FrameAutoencoder":
    """The autoencoder of a known name, a model, or a diffusers folder, every key used. Raises UserError."""
    from latentsync.models.autoencoder import FrameAutoencoder
    from latentsync.weights.companions import find_part

    return FrameAutoencoder.from_pretrained(find_part("autoencoder", source))
