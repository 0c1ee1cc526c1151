"""The noise schedule: closed forms, precision, and the scheduler's timesteps. Parity is in tests/parity."""

import pytest
import torch

from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError

TIMESTEPS = torch.tensor([0, 250, 999])


def latents(seed: int) -> torch.Tensor:
    return torch.randn(3, 4, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_true_noise_gives_back_the_clean_latents() -> None:
    schedule = NoiseSchedule()
    noisy = schedule.add_noise(latents(0), latents(1), TIMESTEPS)
    torch.testing.assert_close(schedule.clean_estimate(noisy, latents(1), TIMESTEPS), latents(0), atol=1e-4, rtol=1e-4)


def test_true_velocity_gives_back_the_clean_latents() -> None:
    schedule = NoiseSchedule(prediction_type="v_prediction")
    noisy = schedule.add_noise(latents(0), latents(1), TIMESTEPS)
    velocity = schedule.target(latents(0), latents(1), TIMESTEPS)
    torch.testing.assert_close(schedule.clean_estimate(noisy, velocity, TIMESTEPS), latents(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(velocity, schedule.scheduler().get_velocity(latents(0), latents(1), TIMESTEPS))
    assert schedule.scheduler().config.prediction_type == "v_prediction"


def test_published_networks_predict_the_noise() -> None:
    assert torch.equal(NoiseSchedule().target(latents(0), latents(1), TIMESTEPS), latents(1))
    assert NoiseSchedule().scheduler().config.prediction_type == "epsilon"
    with pytest.raises(UserError, match="prediction_type=sample is unknown; use epsilon or v_prediction"):
        NoiseSchedule(prediction_type="sample")


def test_noising_keeps_unit_variance_at_every_timestep() -> None:
    schedule = NoiseSchedule()
    timesteps = torch.arange(0, 1000, 100)
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(10, 4, 4, 32, 32, generator=generator) for _ in range(2))
    variances = schedule.add_noise(clean, noise, timesteps).flatten(1).var(dim=1)
    torch.testing.assert_close(variances, torch.ones(10), atol=0.05, rtol=0)


def test_schedule_is_that_of_its_diffusers_scheduler() -> None:
    schedule = NoiseSchedule(beta_start=0.001, beta_end=0.02)
    torch.testing.assert_close(schedule.alphas_cumprod, schedule.scheduler().alphas_cumprod)
    expected = schedule.scheduler().add_noise(latents(0), latents(1), TIMESTEPS)
    torch.testing.assert_close(schedule.add_noise(latents(0), latents(1), TIMESTEPS), expected)


def test_twenty_steps_are_the_published_timesteps() -> None:
    scheduler = NoiseSchedule().scheduler()
    scheduler.set_timesteps(20)
    assert scheduler.timesteps.tolist() == list(range(951, 0, -50))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_schedule_stays_float32_in_a_half_precision_module(dtype: torch.dtype) -> None:
    around = torch.nn.ModuleList([NoiseSchedule()]).to(dtype)
    assert torch.equal(around[0].alphas_cumprod, NoiseSchedule().alphas_cumprod)
    noisy = around[0].add_noise(latents(0).to(dtype), latents(1).to(dtype), TIMESTEPS)
    assert noisy.dtype == around[0].clean_estimate(noisy.to(dtype), noisy.to(dtype), TIMESTEPS).dtype == torch.float32


def test_schedule_is_no_part_of_a_checkpoint() -> None:
    assert not NoiseSchedule().state_dict()


def test_gradient_of_the_clean_estimate_grows_with_the_noise() -> None:
    schedule, noise_pred = NoiseSchedule(), latents(1).requires_grad_()
    schedule.clean_estimate(latents(0), noise_pred, TIMESTEPS).sum().backward()
    slope = noise_pred.grad[:, 0, 0, 0, 0]
    alphas = schedule.alphas_cumprod[TIMESTEPS]
    torch.testing.assert_close(slope, -((1 - alphas) / alphas).sqrt())


@pytest.mark.parametrize("betas", [(0.0, 0.1), (0.2, 0.1), (0.5, 1.0)])
def test_impossible_betas_are_refused(betas: tuple[float, float]) -> None:
    with pytest.raises(UserError, match="beta_start"):
        NoiseSchedule(beta_start=betas[0], beta_end=betas[1])
    with pytest.raises(UserError, match="num_train_timesteps=0"):
        NoiseSchedule(num_train_timesteps=0)
