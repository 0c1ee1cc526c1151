"""One window through the networks: padding, the mask, its own random numbers, and answers that are no numbers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from latentsync.errors import UserError
from latentsync.face.mouth_mask import mouth_mask
from latentsync.inference.generator import WindowGenerator, WindowInput, posterior_generator

SIDE = 64


@pytest.fixture(scope="module")
def generate(networks: dict) -> WindowGenerator:
    """A generator with small random networks."""
    return WindowGenerator(networks["unet"], networks["autoencoder"], SIDE)


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    """16 images."""
    return list(np.random.default_rng(0).integers(0, 255, (16, SIDE, SIDE, 3), np.uint8))


def tokens(num_frames: int) -> torch.Tensor:
    """Audio tokens (F, 20, 16)."""
    return torch.randn((16, 20, 16), generator=torch.Generator().manual_seed(1))[:num_frames]


def run(generate: WindowGenerator, crops: list[np.ndarray], audio: torch.Tensor, window: int = 0) -> np.ndarray:
    """Two steps from seed 3."""
    [faces] = generate.generate([an_input(generate, crops, audio, window)], num_inference_steps=2, guidance_scale=1.0)
    return np.stack(faces)


def an_input(generate: WindowGenerator, crops: list[np.ndarray], audio: torch.Tensor, window: int) -> WindowInput:
    return WindowInput(crops, audio, generate.start_noise(3), posterior_generator(3, window, "cpu"))


@pytest.mark.parametrize(("guidance_scale", "scheduler"), [(1.0, "ddim"), (2.0, "ddim"), (1.0, "lcm")])
def test_faces_do_not_depend_on_what_else_is_in_the_batch(
    generate: WindowGenerator, crops: list[np.ndarray], guidance_scale: float, scheduler: str
) -> None:
    parts = [(crops, tokens(16)), (crops[::-1], tokens(16).flip(0)), (crops[3:9], tokens(6))]

    def inputs() -> list[WindowInput]:
        return [an_input(generate, images, audio, number) for number, (images, audio) in enumerate(parts)]

    together = generate.generate(inputs(), 3, guidance_scale, scheduler=scheduler)
    for one, faces in zip(inputs(), together):
        [alone] = generate.generate([one], 3, guidance_scale, scheduler=scheduler)
        assert len(faces) == len(one.crops)
        difference = np.abs(np.stack(alone).astype(int) - np.stack(faces))
        assert difference.max() <= 1  # of 255: rounding
        assert (difference > 0).mean() < 1e-3


def test_other_schedulers_come_near_many_steps_of_the_published_one(
    generate: WindowGenerator, crops: list[np.ndarray]
) -> None:
    def faces(scheduler: str, steps: int) -> np.ndarray:
        one = an_input(generate, crops, tokens(16), 0)
        return np.stack(generate.generate([one], steps, 1.0, scheduler=scheduler)[0]).astype(float)

    best = faces("ddim", 60)
    for name in ("dpmsolver++", "unipc", "euler"):
        assert np.abs(faces(name, 15) - best).mean() < 3, name
    with pytest.raises(UserError, match="scheduler=ddpm is unknown; use one of ddim, dpmsolver"):
        faces("ddpm", 2)


def test_all_frames_start_from_one_noise_that_the_seed_decides(generate: WindowGenerator) -> None:
    noise = generate.start_noise(3)
    assert noise.shape == (1, 4, 16, SIDE // 8, SIDE // 8)
    assert (noise == noise[:, :, :1]).all()
    assert torch.equal(noise, generate.start_noise(3))
    assert not torch.equal(noise, generate.start_noise(4))


def test_a_short_window_is_the_window_filled_up_with_its_last_frame(
    generate: WindowGenerator, crops: list[np.ndarray]
) -> None:
    short = run(generate, crops[:5], tokens(5))
    filled = run(generate, crops[:5] + [crops[4]] * 11, torch.cat([tokens(5), tokens(5)[-1:].expand(11, -1, -1)]))
    np.testing.assert_array_equal(short, filled[:5])


def test_outside_the_mouth_mask_the_crop_comes_back_exactly(generate: WindowGenerator, crops: list[np.ndarray]) -> None:
    generated = run(generate, crops, tokens(16))
    kept = (mouth_mask(SIDE)[0] == 1).numpy()
    np.testing.assert_array_equal(generated[:, kept], np.stack(crops)[:, kept])
    hidden = (mouth_mask(SIDE)[0] == 0).numpy()
    assert (generated[:, hidden] != np.stack(crops)[:, hidden]).mean() > 0.9


def test_a_window_repeats_itself_and_differs_from_the_next(generate: WindowGenerator, crops: list[np.ndarray]) -> None:
    same = run(generate, crops, tokens(16))
    np.testing.assert_array_equal(same, run(generate, crops, tokens(16)))
    assert (same != run(generate, crops, tokens(16), window=1)).any()  # each window draws its own posterior samples


def test_an_answer_that_is_not_a_number_is_one_line(networks: dict, crops: list[np.ndarray]) -> None:
    broken = copy.deepcopy(networks["unet"])
    torch.nn.init.constant_(broken.conv_out.weight, float("nan"))
    with pytest.raises(UserError, match="not a number; try precision=32"):
        run(WindowGenerator(broken, networks["autoencoder"], SIDE), crops, tokens(16))


class RecordingUNet(torch.nn.Module):
    """Keeps what it is called with; predicts a tenth of the noisy latents."""

    dtype = torch.float32

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        self.sample, self.tokens = sample, tokens
        return 0.1 * sample[:, :4]


@torch.inference_mode()
def test_network_is_shown_mask_masked_and_reference_of_the_crops_and_the_windows_sound(
    networks: dict, crops: list[np.ndarray]
) -> None:
    unet, audio = RecordingUNet(), tokens(16)
    generate = WindowGenerator(unet, networks["autoencoder"], SIDE)
    for window in (0, 1):
        run(generate, crops, audio, window)
        frames = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)[None] / 127.5 - 1
        keep, own = mouth_mask(SIDE), posterior_generator(3, window, "cpu")
        reference, masked = (networks["autoencoder"].encode(part, own) for part in (frames, frames * keep))
        assert (unet.sample[0, 4] == keep[0, ::8, ::8]).all()
        torch.testing.assert_close(unet.sample[:, 5:9], masked, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(unet.sample[:, 9:13], reference, atol=1e-4, rtol=1e-4)
        assert torch.equal(unet.tokens[0], audio)


def test_posterior_noise_follows_seed_and_window() -> None:
    drawn = [
        torch.randn(4, generator=posterior_generator(seed, window, "cpu"))
        for seed, window in ((1, 0), (1, 0), (2, 0), (1, 1))
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[3])
