"""Parameters and peak memory of a training step, by running it on tensors that have shapes and no memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from latentsync.data.sample import ClipBatch
from latentsync.diffusion.clip_random import ClipRandom
from latentsync.errors import UserError
from latentsync.media.mel import window_length
from latentsync.training.lipsync import LipSyncModule
from latentsync.training.plan.live_bytes import LiveBytes
from latentsync.training.plan.networks import size_of
from latentsync.training.syncnet import SyncNetModule, pair_loss

TOKENS = 50  # audio tokens a frame of Whisper tiny: 10 encoder steps of 5 hidden layers


@dataclass(frozen=True)
class NetworkSize:
    """Of one network: its parameters, how many of them are trained, and the bytes of parameters and buffers."""

    parameters: int
    trainable: int
    weights: int


@dataclass(frozen=True)
class Estimate:
    """All in bytes but `networks`.

    gradients, optimizer: of the trained parameters. activations: whatever else is alive at the peak of the step, that
    is what the backward pass needs, and intermediate results. batch: the data of one step.
    """

    networks: dict[str, NetworkSize]
    batch: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def weights(self) -> int:
        return sum(network.weights for network in self.networks.values())

    @property
    def peak(self) -> int:
        return self.weights + self.batch + self.gradients + self.optimizer + self.activations


@contextmanager
def shapes_only() -> Iterator[None]:
    """Tensors made within have a shape, a type and no memory."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def estimate(module: LightningModule, data: Mapping[str, Any], precision: str | int, accumulated: int = 1) -> Estimate:
    """Run forward, backward and the optimizer once, within `shapes_only`, in which `module` was built, too.

    data: settings of the data module. precision: of the trainer. accumulated: batches a step.
    Raises UserError for a module of another kind.
    """
    networks = {name: NetworkSize(*size_of(network)) for name, network in parts_of(module).items()}
    batch = empty_batch(module, data)
    optimizer: torch.optim.Optimizer = module.configure_optimizers()["optimizer"]  # type: ignore[index, call-overload, assignment]
    with LiveBytes() as live:
        for _ in range(min(accumulated, 2)):  # the second batch finds the first one's gradients there
            with autocast(precision):
                loss = loss_of(module, batch)
            loss.backward()
        del loss
        gradients = sum(p.grad.numel() * p.grad.element_size() for p in module.parameters() if p.grad is not None)
        peak = live.peak
        optimizer.step()
        module.zero_grad(set_to_none=True)
        states = 0
        for state in optimizer.state.values():
            states += tensor_bytes(state)
    return Estimate(networks, tensor_bytes(vars(batch)), gradients, states, max(peak - gradients, 0))


def parts_of(module: LightningModule) -> dict[str, nn.Module]:
    """The networks of a module by name. Raises UserError for a module that is not trained on clips."""
    if isinstance(module, LipSyncModule):
        losses = {f"{name} loss": loss for name, loss in module.objective.losses.items() if list(loss.parameters())}
        return {"unet": module.unet, "autoencoder": module.autoencoder, **losses}
    if isinstance(module, SyncNetModule):
        frozen = {} if module.autoencoder is None else {"autoencoder": module.autoencoder}
        return {"syncnet": module.syncnet, **frozen}
    raise UserError("plan=true: only the training of the U-Net and of SyncNet can be planned")


def loss_of(module: LightningModule, batch: ClipBatch) -> Tensor:
    """What the module's training step minimises, without its logging."""
    if isinstance(module, LipSyncModule):
        return module.step(batch, ClipRandom.of(batch.keys, seed=0)).total
    assert isinstance(module, SyncNetModule)
    frames, _ = module.windows(batch, torch.Generator())
    return pair_loss(module.cosine(frames, batch.mel), torch.ones(len(batch), dtype=torch.bool))


def empty_batch(module: LightningModule, data: Mapping[str, Any]) -> ClipBatch:
    """A batch of the configured shapes."""
    size, frames, side = data["batch_size"], data["num_frames"], data["resolution"]
    batch = ClipBatch(
        keys=[str(index) for index in range(size)],
        start_frames=torch.zeros(size, dtype=torch.int64),
        reference_starts=torch.zeros(size, dtype=torch.int64),
        mel=torch.zeros(size, 1, 80, window_length(frames)),
    )
    if data["pixels"]:
        batch.target, batch.reference = (torch.zeros(size, frames, 3, side, side) for _ in range(2))
    if data["latents"]:
        shape = (size, frames, 8, side // 8, side // 8)
        batch.target_moments, batch.masked_moments, batch.reference_moments = (torch.zeros(shape) for _ in range(3))
    if isinstance(module, LipSyncModule):
        batch.audio_tokens = torch.zeros(size, frames, TOKENS, module.unet.config["cross_attention_dim"])
    return batch


def autocast(precision: str | int) -> Any:
    """Mixed precision as the trainer has it; both 16-bit types take the same room."""
    mixed = str(precision).endswith("mixed")
    return torch.autocast("cpu", dtype=torch.bfloat16) if mixed else nullcontext()


def tensor_bytes(values: Mapping[str, Any]) -> int:
    """Bytes of the tensors among `values`."""
    return sum(value.numel() * value.element_size() for value in values.values() if isinstance(value, Tensor))
