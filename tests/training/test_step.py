"""The training step's wiring: what the U-Net is shown, what was added to the latents, and what the losses are told."""

from functools import partial

import pytest
import torch
from tiny_lipsync import FRAMES, SIDE, batch, draws, module
from torch import Tensor, nn

from latentsync.data.sample import ClipBatch
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.losses.loss import Loss, LossInputs
from latentsync.losses.objective import Objective
from latentsync.training.lipsync import LipSyncModule


class RecordingUNet(nn.Module):
    """Keeps what it is called with; predicts a tenth of the noisy latents."""

    def forward(self, sample: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        self.sample, self.timesteps, self.tokens = sample, timesteps, tokens
        return 0.1 * sample[:, :4]


class RecordingLoss(Loss):
    """Keeps what it is shown."""

    def forward(self, inputs: LossInputs) -> Tensor:
        self.inputs = inputs
        return inputs.model_pred.mean()


def recorded(one: ClipBatch, seed: int = 5, **options: object) -> tuple[LipSyncModule, RecordingUNet, LossInputs]:
    """A step of a module whose U-Net and loss keep what they see."""
    lip_sync = module(partial(Objective, noise=0.0, seen=1.0, seen_loss=RecordingLoss), **options)
    unet = RecordingUNet()
    lip_sync.unet = unet  # type: ignore[assignment]
    lip_sync.step(one, draws(one, seed))
    return lip_sync, unet, lip_sync.objective.losses["seen"].inputs


def stored(count: int) -> ClipBatch:
    """Clips with latents in place of pixels; mean and deviation of the three parts differ."""
    one = batch(count)
    one.target = one.reference = None
    for place, name in enumerate(("target", "masked", "reference")):
        mean = torch.full((count, FRAMES, 4, SIDE // 8, SIDE // 8), 10.0 * place - 10)
        setattr(one, f"{name}_moments", torch.cat([mean, torch.full_like(mean, 0.5)], dim=2))
    return one


def test_unet_is_shown_noisy_mask_masked_and_reference_of_pixels() -> None:
    one = batch(2)
    lip_sync, unet, _ = recorded(one)
    latents = lip_sync.conditioning.encode(one, draws(one))
    assert unet.sample.shape == (2, 13, FRAMES, SIDE // 8, SIDE // 8)
    assert torch.equal(unet.sample[:, 4:5], latents.mask)
    assert torch.equal(unet.sample[:, 5:9], latents.masked)
    assert torch.equal(unet.sample[:, 9:13], latents.reference)
    assert torch.equal(unet.tokens, one.audio_tokens)


def test_stored_latents_come_in_the_same_channels() -> None:
    lip_sync, unet, seen = recorded(stored(2))
    scale = lip_sync.autoencoder.scale
    for part, mean in ((seen.clean, -10), (unet.sample[:, 5:9], 0), (unet.sample[:, 9:13], 10)):
        assert float(part.mean()) == pytest.approx(mean * scale, abs=0.02)
        assert float(part.std()) == pytest.approx(0.5 * scale, rel=0.05)


def test_noise_that_was_added_is_the_noise_to_be_predicted() -> None:
    lip_sync, unet, seen = recorded(batch(2))
    left = lip_sync.schedule.alphas_cumprod[unet.timesteps].view(-1, 1, 1, 1, 1)
    added = (unet.sample[:, :4] - left.sqrt() * seen.clean) / (1 - left).sqrt()
    torch.testing.assert_close(added, seen.target, atol=1e-4, rtol=1e-4)
    assert float(seen.target.std()) == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(
        seen.clean_pred, (unet.sample[:, :4] - (1 - left).sqrt() * seen.model_pred) / left.sqrt(), atol=1e-4, rtol=1e-4
    )
    assert torch.equal(seen.model_pred, 0.1 * unet.sample[:, :4])


def test_where_the_schedule_says_velocity_it_is_what_is_to_be_predicted() -> None:
    one = batch(2)
    lip_sync, unet, of_noise = recorded(one)
    lip_sync.schedule = NoiseSchedule(prediction_type="v_prediction")
    lip_sync.step(one, draws(one, 5))
    seen = lip_sync.objective.losses["seen"].inputs
    left = lip_sync.schedule.alphas_cumprod[unet.timesteps].view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(seen.target, left.sqrt() * of_noise.target - (1 - left).sqrt() * seen.clean)
    expected = left.sqrt() * unet.sample[:, :4] - (1 - left).sqrt() * seen.model_pred
    torch.testing.assert_close(seen.clean_pred, expected)


@pytest.mark.parametrize(("alpha", "shared"), [(0.0, 0.0), (1.0, 0.5), (3.0, 0.9)])
def test_frames_share_as_much_noise_as_the_setting_says(alpha: float, shared: float) -> None:
    _, _, seen = recorded(stored(32), mixed_noise_alpha=alpha)
    pairs = seen.target.transpose(1, 2).flatten(2)[:, :2].transpose(0, 1).flatten(1)  # of frames 0 and 1 of every clip
    assert float(torch.corrcoef(pairs)[0, 1]) == pytest.approx(shared, abs=0.05)


def test_every_timestep_of_the_schedule_may_be_drawn() -> None:
    _, unet, _ = recorded(stored(400))
    tenths = torch.bincount(unet.timesteps * 10 // 1000, minlength=10)
    assert len(tenths) == 10
    assert tenths.min() > 10  # of 40


def step_of(lip_sync: LipSyncModule, one: ClipBatch, validation: bool) -> Tensor:
    lip_sync.log = lambda *arguments, **settings: None  # type: ignore[assignment]
    (lip_sync.validation_step if validation else lip_sync.training_step)(one, 0)
    return lip_sync.unet.sample  # type: ignore[return-value]


@pytest.mark.parametrize("validation", [False, True])
def test_all_that_is_drawn_follows_the_modules_seed(validation: bool) -> None:
    one, seen = stored(2), {}
    for run, seed in (("one", 1), ("again", 1), ("other", 2)):
        lip_sync, _, _ = recorded(one, seed=9)
        lip_sync.seed = seed
        seen[run] = step_of(lip_sync, one, validation)
    assert torch.equal(seen["one"], seen["again"])
    for part in (slice(0, 4), slice(5, 9), slice(9, 13)):  # noisy, masked, reference
        assert not torch.equal(seen["one"][:, part], seen["other"][:, part])


def test_dropped_sound_is_all_of_a_clips_and_no_other_draw_depends_on_it() -> None:
    one = batch(8)
    _, unet, _ = recorded(one, audio_dropout=0.5)
    dropped = (unet.tokens == 0).flatten(1).all(1)
    assert 0 < dropped.sum() < 8
    assert one.audio_tokens is not None
    assert torch.equal(unet.tokens[~dropped], one.audio_tokens[~dropped])
    assert torch.equal(unet.sample, recorded(one)[1].sample)
