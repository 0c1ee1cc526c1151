"""The objective: a weighted sum in which a weight of 0 costs nothing, not even building the loss."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentsync.errors import UserError
from latentsync.losses.clean_latents import CleanLatentsLoss
from latentsync.losses.loss import Loss, LossInputs
from latentsync.losses.objective import Objective, ObjectiveResult
from latentsync.losses.sync import SyncLoss
from latentsync.losses.trepa import TrepaLoss
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.video_encoder import VideoEncoder


class PixelError(Loss):
    """Mean absolute error of decoded frames, in place of LPIPS, which needs a large file."""

    needs = "frames"

    def forward(self, inputs: LossInputs) -> Tensor:
        decoded, frames = inputs.pixels()
        return (decoded - frames).abs().mean()


@pytest.fixture
def inputs() -> LossInputs:
    """Two clips of 16 frames, 64 × 64 pixels, 16 × 16 latents, everything random and everything predicted wrong."""
    latents = (2, 4, 16, 16, 16)
    mask = torch.ones((2, 1, 16, 16, 16))
    mask[..., 8:, :] = 0
    return LossInputs(
        model_pred=draw(1, *latents).requires_grad_(),
        target=draw(2, *latents),
        clean_pred=draw(3, *latents).requires_grad_(),
        clean=draw(4, *latents),
        mask=mask,
        mel=draw(5, 2, 1, 80, 52),
        frames=draw(6, 2, 16, 3, 64, 64).clamp(-1, 1),
    )


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Decoder:
    """Frames (B, F, 3, 64, 64) that are the latents, enlarged; counts the frames that it is asked for."""

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def __call__(self, latents: Tensor) -> Tensor:
        self.decoded.append(latents.shape[2])
        return latents[:, :3].transpose(1, 2).repeat_interleave(4, 3).repeat_interleave(4, 4).tanh()


def evaluate(objective: Objective, inputs: LossInputs, shown: Tensor | None = None) -> ObjectiveResult:
    return objective(inputs, Decoder(), shown)


@pytest.fixture
def factories(syncnet: StableSyncNet, video_encoder: VideoEncoder) -> dict[str, Callable[[], Loss]]:
    """What builds each loss but the noise loss, which is there by itself."""
    return {
        "perceptual_loss": PixelError,
        "trepa_loss": lambda: TrepaLoss(video_encoder),
        "sync_loss": lambda: SyncLoss(syncnet),
        "clean_latents_loss": CleanLatentsLoss,
    }


def must_not_be_built() -> Loss:
    raise AssertionError("a loss of weight 0 was built")


def test_total_is_the_weighted_sum(factories: Any, inputs: LossInputs) -> None:
    weights = {"noise": 1.0, "perceptual": 0.1, "trepa": 10.0, "sync": 0.05, "clean_latents": 0.5}
    result = evaluate(Objective(**weights, **factories), inputs)
    assert result.raw.keys() == result.weighted.keys() == weights.keys()
    for name, weight in weights.items():
        assert result.raw[name].ndim == 0
        assert result.raw[name] > 0
        torch.testing.assert_close(result.weighted[name], weight * result.raw[name])
    torch.testing.assert_close(result.total, torch.stack(list(result.weighted.values())).sum())


@pytest.mark.parametrize("name", ["noise", "perceptual", "trepa", "sync", "clean_latents"])
def test_every_term_looks_at_its_own_prediction(name: str, factories: Any, inputs: LossInputs) -> None:
    total = evaluate(Objective(**{"noise": 0.0, name: 1.0}, **factories), inputs).total
    of_noise, of_clean = torch.autograd.grad(total, (inputs.model_pred, inputs.clean_pred), allow_unused=True)
    assert (of_noise is not None) == (name == "noise")
    assert (of_clean is not None) == (name != "noise")


def test_noise_loss_is_the_mean_squared_error(inputs: LossInputs) -> None:
    expected = (inputs.model_pred - inputs.target).square().mean()
    torch.testing.assert_close(evaluate(Objective(), inputs).total, expected)
    assert evaluate(Objective(), replace(inputs, model_pred=inputs.target)).total.item() == 0


@pytest.mark.parametrize("zero", ["perceptual", "trepa", "sync"])
def test_weight_zero_builds_nothing(zero: str, factories: Any, inputs: LossInputs) -> None:
    weights = {"perceptual": 1.0, "trepa": 1.0, "sync": 1.0, zero: 0.0}
    objective = Objective(**weights, **{**factories, f"{zero}_loss": must_not_be_built})
    assert zero not in objective.losses
    assert zero in objective.names
    assert zero not in evaluate(objective, inputs).raw


def test_stage_one_has_no_weights_and_decodes_nothing(inputs: LossInputs) -> None:
    objective = Objective(perceptual_loss=must_not_be_built, trepa_loss=must_not_be_built, sync_loss=must_not_be_built)
    assert list(objective.parameters()) == []
    assert objective.needs == "latents"
    decoder = Decoder()
    assert objective(replace(inputs, frames=None), decoder).total > 0
    assert decoder.decoded == []


SHOWN = torch.tensor([[1, 4, 15], [0, 2, 3]])


@pytest.mark.parametrize(
    ("names", "shown", "needs", "decoded"),
    [
        (["noise", "clean_latents"], SHOWN, "latents", []),
        (["perceptual"], SHOWN, "frames", [3]),
        (["perceptual"], None, "frames", [16]),
        (["perceptual", "trepa"], SHOWN, "clip", [16]),
        (["sync"], SHOWN, "clip", [16]),
    ],
)
def test_what_the_neediest_asks_for_is_decoded_once(
    names: list[str], shown: Any, needs: str, decoded: list[int], factories: Any, inputs: LossInputs
) -> None:
    objective, decoder = Objective(**{"noise": 0.0, **dict.fromkeys(names, 1.0)}, **factories), Decoder()
    objective(inputs, decoder, shown)
    assert objective.needs == needs
    assert decoder.decoded == decoded


@pytest.mark.parametrize("other", [{}, {"trepa": 1.0}])
def test_losses_of_frames_see_each_clips_shown_frames_beside_any_other_loss(
    other: Any, factories: Any, inputs: LossInputs
) -> None:
    objective = Objective(noise=0.0, perceptual=1.0, **other, **factories)
    assert inputs.frames is not None
    error = (Decoder()(inputs.clean_pred) - inputs.frames).abs()
    expected = torch.stack([error[clip, frame].mean() for clip in (0, 1) for frame in SHOWN[clip]]).mean()
    torch.testing.assert_close(evaluate(objective, inputs, SHOWN).raw["perceptual"], expected)


@pytest.mark.parametrize("name", ["perceptual", "trepa", "sync"])
def test_losses_on_pixels_ask_for_them(name: str, factories: Any, inputs: LossInputs) -> None:
    with pytest.raises(UserError, match=r"the data have none; set data\.pixels=true"):
        evaluate(Objective(**{name: 1.0}, **factories), replace(inputs, frames=None))


def test_sync_loss_in_latents_needs_no_pixels(latent_syncnet: StableSyncNet, inputs: LossInputs) -> None:
    objective = Objective(noise=0, sync=1, sync_loss=lambda: SyncLoss(latent_syncnet))
    assert objective.needs == "latents"
    total = evaluate(objective, replace(inputs, frames=None)).total
    assert torch.autograd.grad(total, inputs.clean_pred)[0].abs().max() > 0


def test_checkpointing_reaches_the_networks_there_are(factories: Any, inputs: LossInputs) -> None:
    gradients = []
    for checkpointing in (False, True):
        objective = Objective(trepa=10, sync=0.05, **factories)
        for loss in objective.losses.values() if checkpointing else ():
            loss.enable_gradient_checkpointing()
        assert objective.losses["sync"].syncnet.visual_encoder.gradient_checkpointing == checkpointing
        assert objective.losses["trepa"].video_encoder.videomae.is_gradient_checkpointing == checkpointing
        gradients.append(torch.autograd.grad(evaluate(objective, inputs).total, inputs.clean_pred)[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_frozen_networks_stay_frozen_in_training(factories: Any, inputs: LossInputs) -> None:
    objective = Objective(trepa=10, sync=0.05, **factories).train()
    evaluate(objective, inputs).total.backward()
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


@pytest.mark.parametrize("name", ["perceptual", "trepa", "sync", "a_new_one"])
def test_weight_without_a_loss_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"objective\.{name}=1\.0, but objective\.{name}_loss says nothing"):
        Objective(**{name: 1.0})


def test_clips_of_the_wrong_length_are_refused(factories: Any, inputs: LossInputs) -> None:
    short = inputs.at(torch.arange(12).expand(2, 12))
    for name in ("trepa", "sync"):
        with pytest.raises(UserError, match=r"16 frames, the clips have 12"):
            evaluate(Objective(**{name: 1.0}, **factories), short)


def test_frames_at_numbers_are_each_clips_own_in_every_part(inputs: LossInputs) -> None:
    decoded = Decoder()(inputs.clean_pred)
    some = replace(inputs, decoded=decoded).at(SHOWN)
    for clip in (0, 1):
        for place, number in enumerate(SHOWN[clip].tolist()):
            for name in ("model_pred", "target", "clean_pred", "clean", "mask"):
                assert torch.equal(getattr(some, name)[clip, :, place], getattr(inputs, name)[clip, :, number]), name
            assert torch.equal(some.pixels()[0][clip, place], decoded[clip, number])
            assert torch.equal(some.pixels()[1][clip, place], inputs.frames[clip, number])  # type: ignore[index]
    assert torch.equal(some.mel, inputs.mel)
