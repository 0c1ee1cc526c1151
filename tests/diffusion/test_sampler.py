"""The sampler: an oracle leads it to the truth; guidance, other schedulers, progress. Parity is in tests/parity."""

from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler
from tiny_lipsync import tiny_unet
from torch import Tensor, nn

from latentsync.diffusion.conditioning import KnownLatents
from latentsync.diffusion.guidance import check_guidance_scale, guide
from latentsync.diffusion.sampler import Sampler, initial_noise
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.diffusion.scheduler_names import SCHEDULERS
from latentsync.diffusion.schedulers import make_scheduler
from latentsync.errors import UserError

SHAPE = (1, 4, 3, 4, 4)
SCHEDULE = NoiseSchedule()


class Oracle(nn.Module):
    """Knows the clean latents: the first four reference channels, times the audio's mean. Counts what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[torch.Size, torch.dtype]] = []

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        self.shown.append((sample.shape, sample.dtype))
        clean = sample[:, 9:13] * encoder_hidden_states.mean(dim=(1, 2, 3))[:, None, None, None, None]
        alpha = SCHEDULE.alphas_cumprod[timestep.long()]
        return (sample[:, :4] - alpha.sqrt() * clean) / (1 - alpha).sqrt()


def inputs(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    masked, reference = (torch.randn(SHAPE, generator=generator).to(dtype) for _ in range(2))
    mask = torch.ones(1, 1, *SHAPE[2:], dtype=dtype)
    noise = initial_noise(SHAPE, generator).to(dtype)
    audio_tokens = torch.ones(1, 3, 2, 8, dtype=dtype)
    return {"noise": noise, "known": KnownLatents(mask, masked, reference), "audio_tokens": audio_tokens}


@pytest.mark.parametrize("scheduler", ["ddim", "dpm"])
def test_true_noise_leads_to_the_clean_latents_with_any_scheduler(scheduler: str) -> None:
    ddim = SCHEDULE.scheduler()
    chosen = ddim if scheduler == "ddim" else DPMSolverMultistepScheduler.from_config(ddim.config)
    given = inputs()
    latents = Sampler(Oracle(), chosen)(**given, num_inference_steps=10)
    # With `set_alpha_to_one` false, √(1 − ᾱ_0) = 3 % of the noise stays.
    torch.testing.assert_close(latents, given["known"].reference, atol=0.1, rtol=0.05)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_network_of_velocities_is_sampled_as_one(name: str) -> None:
    """Every scheduler that can be named; v = (√ᾱ z_t − z_0) / √(1−ᾱ)."""
    schedule, given = NoiseSchedule(prediction_type="v_prediction"), inputs()

    def oracle(sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        alpha = schedule.alphas_cumprod[timestep.long()]
        return (alpha.sqrt() * sample[:, :4] - sample[:, 9:13]) / (1 - alpha).sqrt()

    network = Oracle()
    network.forward = oracle  # type: ignore[method-assign]
    latents = Sampler(network, make_scheduler(name, schedule))(**given, num_inference_steps=10)
    torch.testing.assert_close(latents, given["known"].reference, atol=0.15, rtol=0.05)


def test_sampling_keeps_no_graph() -> None:
    given = inputs()
    given["audio_tokens"].requires_grad_()
    assert not Sampler(Oracle(), SCHEDULE.scheduler())(**given, num_inference_steps=2).requires_grad


def test_guidance_costs_a_second_pass_and_only_above_one() -> None:
    for scale, passes in ((0.0, 1), (1.0, 1), (1.5, 2)):
        oracle = Oracle()
        Sampler(oracle, SCHEDULE.scheduler())(**inputs(), num_inference_steps=2, guidance_scale=scale)
        assert {shape for shape, _ in oracle.shown} == {(passes, 13, *SHAPE[2:])}


def test_guidance_goes_on_beyond_the_conditional_answer() -> None:
    given = inputs()
    latents = Sampler(Oracle(), SCHEDULE.scheduler())(**given, num_inference_steps=10, guidance_scale=2.0)
    # Without audio the oracle knows nothing (0), with it the reference: guidance 2 goes twice as far.
    torch.testing.assert_close(latents, 2 * given["known"].reference, atol=0.1, rtol=0.05)
    assert torch.equal(guide(torch.zeros(2), torch.ones(2), 1.5), torch.full((2,), 1.5))


@pytest.mark.parametrize(("start", "guided"), [(0.0, 4), (0.5, 2), (0.6, 2), (0.75, 1), (1.0, 0)])
def test_guidance_may_begin_later(start: float, guided: int) -> None:
    oracle = Oracle()
    Sampler(oracle, SCHEDULE.scheduler())(**inputs(), num_inference_steps=4, guidance_scale=2.0, guidance_start=start)
    assert [shape[0] for shape, _ in oracle.shown] == [1] * (4 - guided) + [2] * guided


@torch.no_grad()
def test_guidance_that_begins_later_is_the_plain_loop_with_two_passes_from_there_on() -> None:
    unet = tiny_unet(zero_outputs=False).eval()
    given = {**inputs(), "audio_tokens": torch.randn(1, 3, 6, 16, generator=torch.Generator().manual_seed(1))}
    given |= {
        "noise": torch.randn(1, 4, 3, 8, 8),
        "known": KnownLatents(*(torch.randn(1, n, 3, 8, 8) for n in (1, 4, 4))),
    }
    found = Sampler(unet, SCHEDULE.scheduler())(
        **given, num_inference_steps=4, guidance_scale=2.0, guidance_start=0.5, feature_reuse=1
    )
    scheduler = SCHEDULE.scheduler()
    scheduler.set_timesteps(4)
    latents = given["noise"]
    for number, timestep in enumerate(scheduler.timesteps):
        sample = given["known"].stack(latents)
        noise = unet(sample, timestep, given["audio_tokens"])
        if number >= 2:
            noise = guide(unet(sample, timestep, torch.zeros_like(given["audio_tokens"])), noise, 2.0)
        latents = scheduler.step(noise, timestep, latents).prev_sample
    torch.testing.assert_close(found, latents, atol=1e-4, rtol=1e-4)


def test_network_gets_half_precision_and_steps_are_float32() -> None:
    oracle, given = Oracle(), inputs(torch.bfloat16)
    latents = Sampler(oracle, SCHEDULE.scheduler())(**given, num_inference_steps=10)
    assert latents.dtype == torch.bfloat16
    assert {dtype for _, dtype in oracle.shown} == {torch.bfloat16}
    torch.testing.assert_close(latents, given["known"].reference, atol=0.1, rtol=0.05)


def test_progress_is_told_after_every_step() -> None:
    told: list[tuple[int, int]] = []
    progress = lambda done, total: told.append((done, total))  # noqa: E731
    Sampler(Oracle(), SCHEDULE.scheduler())(**inputs(), num_inference_steps=3, progress=progress)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_generator_decides_what_an_ancestral_scheduler_adds() -> None:
    def run(seed: int) -> Tensor:
        scheduler = EulerAncestralDiscreteScheduler.from_config(SCHEDULE.scheduler().config)
        generator = torch.Generator().manual_seed(seed)
        return Sampler(Noisy(), scheduler)(**inputs(), num_inference_steps=3, generator=generator)

    class Noisy(nn.Module):
        def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
            return sample[:, :4] * 0.5

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_start_noise_is_one_frame_repeated() -> None:
    noise = initial_noise((2, 4, 5, 16, 16), torch.Generator().manual_seed(0))
    assert noise.shape == (2, 4, 5, 16, 16)
    assert (noise == noise[:, :, :1]).all()
    assert not torch.equal(noise[0], noise[1])
    assert noise.var().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(noise, initial_noise((2, 4, 5, 16, 16), torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("scale", [-0.1, 10.5, 11, float("nan"), float("inf")])
def test_guidance_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(UserError, match="guidance_scale"):
        check_guidance_scale(scale)
    with pytest.raises(UserError, match="guidance_scale"):
        Sampler(Oracle(), SCHEDULE.scheduler())(**inputs(), guidance_scale=scale)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_no_step_reads_anything_back_from_the_device(scheduler: str) -> None:
    # On the meta device there is nothing to read: whatever asks for a number raises.
    unet = tiny_unet().eval().to("meta")
    known = KnownLatents(*(torch.empty(2, channels, 4, 8, 8, device="meta") for channels in (1, 4, 4)))
    noise, tokens = torch.empty(2, 4, 4, 8, 8, device="meta"), torch.empty(2, 4, 6, 16, device="meta")
    for reuse in (1, 2):
        sampler = Sampler(unet, make_scheduler(scheduler, SCHEDULE))
        latents = sampler(
            noise, known, tokens, num_inference_steps=4, guidance_scale=1.5, feature_reuse=reuse, guidance_start=0.4
        )
        assert latents.shape == noise.shape


def test_zero_steps_are_refused() -> None:
    with pytest.raises(UserError, match="num_inference_steps=0"):
        Sampler(Oracle(), SCHEDULE.scheduler())(**inputs(), num_inference_steps=0)


def test_standardized_start_noise_has_no_mean_and_unit_deviation_in_each_channel_and_is_the_draw_otherwise() -> None:
    plain, level = (
        initial_noise((2, 4, 3, 8, 8), torch.Generator().manual_seed(0), choice) for choice in (False, True)
    )
    std, mean = torch.std_mean(level, dim=(3, 4))
    assert torch.allclose(mean, torch.zeros_like(mean), atol=1e-6)
    assert torch.allclose(std, torch.ones_like(std), atol=1e-6)
    assert torch.equal(level[:, :, 0], level[:, :, 2])
    own_std, own_mean = torch.std_mean(plain, dim=(3, 4), keepdim=True)
    assert own_mean.abs().max() > 0.05
    assert torch.allclose(level * own_std + own_mean, plain, atol=1e-6)
