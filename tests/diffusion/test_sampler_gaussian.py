"""The sampler on Gaussian data, where the perfect network and the answer of the reverse process are known exactly."""

from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler
from torch import Tensor, nn

from latentsync.diffusion.conditioning import KnownLatents
from latentsync.diffusion.sampler import Sampler, initial_noise
from latentsync.diffusion.schedule import NoiseSchedule

SHAPE = (2, 4, 3, 4, 4)
SPREAD = 0.5  # standard deviation of the data


class GaussianNetwork(nn.Module):
    """The exact noise prediction for data N(mean, SPREAD²), where the audio tokens' mean is the data's."""

    def __init__(self) -> None:
        super().__init__()
        self.alphas = NoiseSchedule().alphas_cumprod
        self.samples: list[Tensor] = []

    def forward(self, sample: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        self.samples.append(sample)
        left = self.alphas[timestep.long()]
        mean = tokens.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1, 1)
        return (1 - left).sqrt() * (sample[:, :4] - left.sqrt() * mean) / (left * SPREAD**2 + 1 - left)


def conditions(mean: float) -> dict[str, Any]:
    batch, _, num_frames, height, width = SHAPE
    mask = torch.full((batch, 1, num_frames, height, width), 7.0)
    return {
        "known": KnownLatents(mask, masked=torch.full(SHAPE, 8.0), reference=torch.full(SHAPE, 9.0)),
        "audio_tokens": torch.full((batch, num_frames, 5, 6), mean),
    }


def start() -> Tensor:
    return initial_noise(SHAPE, torch.Generator().manual_seed(0))


def exact_answer(mean: float) -> Tensor:
    """Where the probability-flow ODE ends: the map between Gaussians keeps each point's quantile."""
    return mean + SPREAD * start()


def sample(mean: float, scheduler: Any = None, **settings: Any) -> Tensor:
    sampler = Sampler(GaussianNetwork(), NoiseSchedule().scheduler() if scheduler is None else scheduler)
    return sampler(start(), **conditions(mean), **settings)


@pytest.mark.parametrize("kind", [None, DPMSolverMultistepScheduler, EulerDiscreteScheduler])
def test_every_scheduler_ends_near_the_exact_answer(kind: Any) -> None:
    scheduler = None if kind is None else kind.from_config(NoiseSchedule().scheduler().config)
    latents = sample(0.8, scheduler, num_inference_steps=100)
    assert (latents - exact_answer(0.8)).abs().max() < 0.1


def test_more_steps_come_nearer() -> None:
    errors = [float((sample(0.8, num_inference_steps=n) - exact_answer(0.8)).abs().mean()) for n in (10, 50, 200)]
    assert errors[0] > errors[1] > errors[2]


def test_guidance_of_two_is_audio_twice_as_strong() -> None:
    """The prediction is linear in the tokens, so a guided run is a plain one with scale · tokens."""
    guided = sample(0.4, num_inference_steps=10, guidance_scale=2.0)
    torch.testing.assert_close(guided, sample(0.8, num_inference_steps=10), atol=1e-5, rtol=1e-5)


def test_network_sees_noisy_mask_masked_and_reference_in_this_order() -> None:
    network = GaussianNetwork()
    Sampler(network, NoiseSchedule().scheduler())(start(), **conditions(0.0), num_inference_steps=1)
    (seen,) = network.samples
    torch.testing.assert_close(seen[:, :4], start())
    assert seen[:, 4:, 0, 0, 0].tolist() == [[7.0] + [8.0] * 4 + [9.0] * 4] * 2
