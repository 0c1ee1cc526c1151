"""The lip-sync module with networks small enough for tests: 16 frames of 64 × 64 pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from latentsync.data.sample import ClipBatch
from latentsync.diffusion.clip_random import ClipRandom
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.losses.clean_latents import CleanLatentsLoss
from latentsync.losses.loss import Loss, LossInputs
from latentsync.losses.objective import Objective
from latentsync.losses.sync import SyncLoss
from latentsync.losses.trepa import TrepaLoss
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.video_encoder import pretrained_encoder, videomae_for_pretraining
from latentsync.training.lipsync import LipSyncModule

SIDE, FRAMES = 64, 16


def tiny_unet(zero_outputs: bool = True) -> UNet3DConditionModel:
    torch.manual_seed(0)
    unet = UNet3DConditionModel(
        block_out_channels=(32, 32, 32, 32), layers_per_block=1, cross_attention_dim=16, attention_head_dim=2
    )
    if not zero_outputs:  # layers that start at zero pass no gradient on to what lies before them
        for parameter in unet.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.05)
    return unet


def tiny_autoencoder() -> FrameAutoencoder:
    torch.manual_seed(1)
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8, 8, 8, 8], norm_num_groups=8, layers_per_block=1, mid_block_add_attention=False,
    )  # fmt: skip
    return FrameAutoencoder(vae)


def tiny_sync_loss() -> SyncLoss:
    torch.manual_seed(2)
    audio = {"in_channels": 1, "downsample_factors": [[2, 1], 2, 2, [2, 3]]}
    vision = {"in_channels": 3 * FRAMES, "downsample_factors": [[1, 2], 2, 2, [2, 1]]}
    encoders = [
        {**one, "block_out_channels": [32, 32, 32, 32], "attn_blocks": [0] * 4, "dropout": 0.0}
        for one in (audio, vision)
    ]
    # audio ends at 5 x 4 positions; the vision encoder is given a picture that ends at as many
    encoders[1]["downsample_factors"] = [[1, 2], 2, [3, 4], [1, 1]]
    return SyncLoss(StableSyncNet(*encoders, resolution=SIDE))


def tiny_trepa() -> TrepaLoss:
    torch.manual_seed(3)
    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return TrepaLoss(pretrained_encoder(videomae_for_pretraining(**sizes, intermediate_size=32)))


class RoughPerceptual(Loss):
    """Stands where LPIPS stands, without its backbone file: a distance of small pictures."""

    needs = "frames"

    def forward(self, inputs: LossInputs) -> Tensor:
        decoded, frames = inputs.pixels()
        pool = partial(nn.functional.avg_pool3d, kernel_size=(1, 4, 4))
        return (pool(decoded) - pool(frames)).square().mean()


def batch(batch_size: int = 1, seed: int = 0) -> ClipBatch:
    generator = torch.Generator().manual_seed(seed)
    draw = partial(torch.rand, generator=generator)
    return ClipBatch(
        keys=[f"clip{index}" for index in range(batch_size)],
        start_frames=torch.zeros(batch_size, dtype=torch.long),
        reference_starts=torch.full((batch_size,), 20),
        mel=draw(batch_size, 1, 80, 52) * 8 - 4,
        audio_tokens=draw(batch_size, FRAMES, 4, 16) - 0.5,
        target=draw(batch_size, FRAMES, 3, SIDE, SIDE) * 2 - 1,
        reference=draw(batch_size, FRAMES, 3, SIDE, SIDE) * 2 - 1,
    )


def module(objective: Callable[[], Objective] = Objective, zero_outputs: bool = True, **options: Any) -> LipSyncModule:
    optimizer = partial(torch.optim.AdamW, lr=options.pop("lr", 1e-3))
    unet = tiny_unet(zero_outputs)
    return LipSyncModule(unet, tiny_autoencoder(), objective(), NoiseSchedule(), optimizer, resolution=SIDE, **options)


def whole_objective() -> Objective:
    weights = {"noise": 1.0, "perceptual": 0.1, "trepa": 10.0, "sync": 0.05, "clean_latents": 0.1}
    return Objective(
        **weights, perceptual_loss=RoughPerceptual, trepa_loss=tiny_trepa, sync_loss=tiny_sync_loss,
        clean_latents_loss=CleanLatentsLoss,
    )  # fmt: skip


def draws(one: ClipBatch, seed: int = 5) -> ClipRandom:
    return ClipRandom.of(one.keys, seed)
