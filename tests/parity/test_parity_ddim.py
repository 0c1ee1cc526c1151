"""A whole DDIM run, with and without guidance, ends in the published latents."""

import torch
from golden_folder import Golden, assert_close, under_either_reading
from test_parity_unet import NUM_TOKENS, published_unet

from latentsync.diffusion.conditioning import KnownLatents
from latentsync.diffusion.sampler import Sampler
from latentsync.diffusion.schedule import NoiseSchedule

KIND = "ddim"


@under_either_reading
def test_sampler_ends_in_the_published_latents(golden: Golden) -> None:
    network = golden.folder.golden(golden.config["unet"])
    latents = golden.arrays["latents"]
    batch, channels, num_frames, height, width = latents.shape
    noise = golden.tensor("noise", batch, channels, 1, height, width).expand(-1, -1, num_frames, -1, -1)
    scheduler = NoiseSchedule().scheduler()
    ours = Sampler(published_unet(network), scheduler)(
        noise,
        KnownLatents(
            mask=(golden.tensor("mask", batch, 1, num_frames, height, width) > 0).float(),
            masked=golden.tensor("masked", batch, channels, num_frames, height, width),
            reference=golden.tensor("ref", batch, channels, num_frames, height, width),
        ),
        audio_tokens=golden.tensor("audio", batch, num_frames, NUM_TOKENS, network.config["cross_attention_dim"]),
        num_inference_steps=golden.config["steps"],
        guidance_scale=golden.config["guidance_scale"],
    )
    assert scheduler.timesteps.tolist() == golden.config.get("timesteps", scheduler.timesteps.tolist())
    assert torch.isfinite(ours).all()
    assert_close(ours, latents, relative=1e-3, what="latents")
