"""The objective: a weighted sum in which a weight of 0 costs nothing, not even building the loss."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from latentsync.errors import UserError
from latentsync.losses.objective import Objective, ObjectiveInputs
from latentsync.losses.sync import SyncLoss
from latentsync.losses.trepa import TrepaLoss
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.video_encoder import VideoEncoder


class PixelError(nn.Module):
    """Mean absolute error of decoded frames, in place of LPIPS, which needs a large file."""

    def forward(self, decoded: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        return (decoded - frames).abs().mean()


@pytest.fixture
def inputs() -> ObjectiveInputs:
    """Two clips of 16 frames, 64 × 64 pixels, 16 × 16 latents, everything random and everything predicted wrong."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    latents = (2, 4, 16, 16, 16)
    mask = torch.ones((2, 1, 16, 16, 16))
    mask[..., 8:, :] = 0
    return ObjectiveInputs(
        noise_pred=draw(*latents).requires_grad_(),
        noise=draw(*latents),
        clean_pred=draw(*latents).requires_grad_(),
        clean=draw(*latents),
        mask=mask,
        decoded=draw(2, 16, 3, 64, 64).clamp(-1, 1).requires_grad_(),
        frames=draw(2, 16, 3, 64, 64).clamp(-1, 1),
        mel=draw(2, 1, 80, 52),
    )


@pytest.fixture
def factories(syncnet: StableSyncNet, video_encoder: VideoEncoder) -> dict[str, Callable[[], nn.Module]]:
    """What builds each loss that needs a network."""
    return {
        "perceptual_loss": PixelError,
        "trepa_loss": lambda: TrepaLoss(video_encoder),
        "sync_loss": lambda: SyncLoss(syncnet),
    }


def must_not_be_built() -> nn.Module:
    raise AssertionError("a loss of weight 0 was built")


def test_total_is_the_weighted_sum(factories: Any, inputs: ObjectiveInputs) -> None:
    weights = {"noise": 1.0, "perceptual": 0.1, "trepa": 10.0, "sync": 0.05, "clean_latents": 0.5}
    result = Objective(**weights, **factories)(inputs)
    assert result.raw.keys() == result.weighted.keys() == weights.keys()
    for name, weight in weights.items():
        assert result.raw[name].ndim == 0
        assert result.raw[name] > 0
        torch.testing.assert_close(result.weighted[name], weight * result.raw[name])
    torch.testing.assert_close(result.total, torch.stack(list(result.weighted.values())).sum())


def test_every_term_looks_at_its_own_prediction(factories: Any, inputs: ObjectiveInputs) -> None:
    seen = {
        name: {
            of
            for of in ("noise_pred", "clean_pred", "decoded")
            if torch.autograd.grad(
                Objective(**{"noise": 0.0, name: 1.0}, **factories)(inputs).total,
                getattr(inputs, of),
                allow_unused=True,
            )[0]
            is not None
        }
        for name in ("noise", "perceptual", "trepa", "sync", "clean_latents")
    }
    assert seen == {
        "noise": {"noise_pred"},
        "perceptual": {"decoded"},
        "trepa": {"decoded"},
        "sync": {"decoded"},
        "clean_latents": {"clean_pred"},
    }


def test_noise_loss_is_the_mean_squared_error(inputs: ObjectiveInputs) -> None:
    expected = (inputs.noise_pred - inputs.noise).square().mean()
    torch.testing.assert_close(Objective()(inputs).total, expected)
    assert Objective()(replace(inputs, noise_pred=inputs.noise)).total.item() == 0


@pytest.mark.parametrize("zero", ["perceptual", "trepa", "sync"])
def test_weight_zero_builds_nothing(zero: str, factories: Any, inputs: ObjectiveInputs) -> None:
    weights = {"perceptual": 1.0, "trepa": 1.0, "sync": 1.0, zero: 0.0}
    objective = Objective(**weights, **{**factories, f"{zero}_loss": must_not_be_built})
    assert zero not in objective.losses
    assert zero not in objective(inputs).raw


def test_stage_one_has_no_weights_and_needs_no_pixels(inputs: ObjectiveInputs) -> None:
    objective = Objective(perceptual_loss=must_not_be_built, trepa_loss=must_not_be_built, sync_loss=must_not_be_built)
    assert list(objective.parameters()) == []
    assert not objective.needs_pixels
    assert objective(replace(inputs, decoded=None, frames=None)).total > 0


@pytest.mark.parametrize("name", ["perceptual", "trepa", "sync"])
def test_losses_on_pixels_ask_for_them(name: str, factories: Any, inputs: ObjectiveInputs) -> None:
    objective = Objective(**{name: 1.0}, **factories)
    assert objective.needs_pixels
    with pytest.raises(UserError, match=r"the data have none; set data\.pixels=true"):
        objective(replace(inputs, decoded=None, frames=None))


def test_sync_loss_in_latents_needs_no_pixels(latent_syncnet: StableSyncNet, inputs: ObjectiveInputs) -> None:
    objective = Objective(noise=0, sync=1, sync_loss=lambda: SyncLoss(latent_syncnet))
    assert not objective.needs_pixels
    total = objective(replace(inputs, decoded=None, frames=None)).total
    assert torch.autograd.grad(total, inputs.clean_pred)[0].abs().max() > 0


def test_checkpointing_reaches_the_networks_there_are(factories: Any, inputs: ObjectiveInputs) -> None:
    gradients = []
    for checkpointing in (False, True):
        objective = Objective(trepa=10, sync=0.05, **factories)
        if checkpointing:
            objective.enable_gradient_checkpointing()
            assert objective.losses["sync"].syncnet.visual_encoder.gradient_checkpointing
            assert objective.losses["trepa"].video_encoder.videomae.is_gradient_checkpointing
        gradients.append(torch.autograd.grad(objective(inputs).total, inputs.decoded)[0])
    torch.testing.assert_close(gradients[1], gradients[0])
    Objective().enable_gradient_checkpointing()  # nothing there to recompute


def test_frozen_networks_stay_frozen_in_training(factories: Any, inputs: ObjectiveInputs) -> None:
    objective = Objective(trepa=10, sync=0.05, **factories).train()
    objective(inputs).total.backward()
    assert objective.training
    for name in ("trepa", "sync"):
        assert not any(module.training for module in objective.losses[name].modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in objective.parameters())


@pytest.mark.parametrize("name", ["noise", "perceptual", "trepa", "sync", "clean_latents"])
def test_negative_weight_is_refused(name: str, factories: Any) -> None:
    with pytest.raises(UserError, match=rf"objective\.{name}=-0\.1: a weight cannot be negative"):
        Objective(**{name: -0.1}, **factories)


def test_weights_that_are_all_zero_are_refused(factories: Any) -> None:
    with pytest.raises(UserError, match="every weight is 0"):
        Objective(noise=0, **factories)


@pytest.mark.parametrize("name", ["perceptual", "trepa", "sync"])
def test_weight_without_a_loss_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"objective\.{name}=1\.0, but objective\.{name}_loss says nothing"):
        Objective(**{name: 1.0})


def test_clips_of_the_wrong_length_are_refused(factories: Any, inputs: ObjectiveInputs) -> None:
    assert inputs.decoded is not None
    assert inputs.frames is not None
    short = replace(inputs, decoded=inputs.decoded[:, :12], frames=inputs.frames[:, :12])
    for name in ("trepa", "sync"):
        with pytest.raises(UserError, match=r"16 frames, the clips have 12"):
            Objective(**{name: 1.0}, **factories)(short)
