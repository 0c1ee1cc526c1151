"""The validation video shows what it says and its sync scores are SyncNet's; the objective with the real LPIPS."""

from functools import partial
from pathlib import Path

import cv2
import lightning
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from tiny_lipsync import draws
from torch import nn
from torch.utils.data import DataLoader

from latentsync.data.sample import ClipBatch
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError
from latentsync.losses.objective import Objective
from latentsync.losses.perceptual import PerceptualLoss
from latentsync.losses.sync import SyncLoss
from latentsync.losses.trepa import TrepaLoss
from latentsync.media.frames import read_frames
from latentsync.media.probe import probe_video
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.video_encoder import pretrained_encoder, videomae_for_pretraining
from latentsync.training.lipsync import LipSyncModule
from latentsync.training.validation_video import MARGIN, MOMENTS, ValidationVideo, grid

SIDE, FRAMES = 64, 16
GREY = np.array([0.299, 0.587, 0.114])


def syncnet() -> StableSyncNet:
    torch.manual_seed(2)
    common = {"block_out_channels": [32, 32, 64], "attn_blocks": [0, 0, 0], "dropout": 0.0}
    audio = {**common, "in_channels": 1, "downsample_factors": [[4, 4], 4, [5, 4]]}
    vision = {**common, "in_channels": 3 * FRAMES, "downsample_factors": [[2, 4], 4, 4]}
    return StableSyncNet(audio, vision, resolution=SIDE)


def trepa() -> TrepaLoss:
    torch.manual_seed(3)
    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return TrepaLoss(pretrained_encoder(videomae_for_pretraining(**sizes, intermediate_size=32)))


def lip_sync(objective: Objective | None = None) -> LipSyncModule:
    torch.manual_seed(0)
    unet = UNet3DConditionModel(
        block_out_channels=(32, 32, 32, 32), layers_per_block=1, cross_attention_dim=16, attention_head_dim=2
    )
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8, 16, 16, 16], norm_num_groups=8, layers_per_block=1, mid_block_add_attention=False,
    )  # fmt: skip
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    return LipSyncModule(
        unet, FrameAutoencoder(vae), objective or Objective(), NoiseSchedule(), optimizer, resolution=SIDE
    )


def batch(pixels: bool = True) -> ClipBatch:
    draw = partial(torch.rand, generator=torch.Generator().manual_seed(0))
    small = partial(draw, FRAMES, 3, 4, 4)
    target, reference = (
        nn.functional.interpolate(small(), size=(SIDE, SIDE), mode="bilinear")[None] * 2 - 1 for _ in range(2)
    )
    moments = {f"{name}_moments": draw(1, FRAMES, 8, 8, 8) for name in ("target", "masked", "reference")}
    return ClipBatch(
        keys=["clip"], start_frames=torch.zeros(1, dtype=torch.long), reference_starts=torch.full((1,), 20),
        mel=draw(1, 1, 80, 52) * 8 - 4, audio_tokens=draw(1, FRAMES, 4, 16) - 0.5,
        **({"target": target, "reference": reference} if pixels else moments),
    )  # fmt: skip


def validate(module: lightning.LightningModule, one: ClipBatch, callback: ValidationVideo) -> dict[str, float]:
    trainer = lightning.Trainer(
        accelerator="cpu", logger=False, callbacks=[callback], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.validate(module, DataLoader([one, one], batch_size=None), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_video_shows_target_masked_generated_and_reference_and_scores_are_syncnets(tmp_path: Path) -> None:
    module, one, judge = lip_sync(), batch(), syncnet()
    callback = ValidationVideo(str(tmp_path), num_inference_steps=2, seed=4, syncnet=judge)
    logged = validate(module, one, callback)
    path, sheet = sorted(tmp_path.iterdir())
    assert (path.name, sheet.name) == ("step_00000000.mp4", "step_00000000.png")
    assert cv2.imread(str(sheet)).shape == (4 * SIDE, MOMENTS * (MARGIN + SIDE), 3)
    video = probe_video(path)
    assert (video.width, video.height, video.num_frames, video.fps) == (MARGIN + SIDE, 4 * SIDE, FRAMES, 25)

    generated = decoded(module, callback.generate(module.eval(), one)[1])
    rows = [one.target, one.target * module.conditioning.mouth_mask, generated, one.reference]
    images = np.stack([frame.image for frame in read_frames(path)])[:, :, MARGIN:]
    shown = images.reshape(FRAMES, 4, SIDE, SIDE, 3).astype(float)
    for index, row in enumerate(rows):
        expected = ((row[0].permute(0, 2, 3, 1) + 1) * 127.5).numpy()
        # In grey: the video halves the colours' resolution, and an untrained decoder's picture is noise by the pixel.
        error = np.abs((shown[:, index] - expected) @ GREY).mean()
        assert error < 5, index

    assert logged["val/sync_score"] == pytest.approx(float(judge.cosine(generated, one.mel)), abs=1e-5)
    assert logged["val/sync_score_true"] == pytest.approx(float(judge.cosine(one.target, one.mel)), abs=1e-5)


def test_clips_that_store_latents_alone_are_shown_decoded_and_scored(tmp_path: Path) -> None:
    module, one, judge = lip_sync(), batch(pixels=False), syncnet()
    callback = ValidationVideo(str(tmp_path), num_inference_steps=2, syncnet=judge)
    logged = validate(module, one, callback)
    latents, sampled = callback.generate(module.eval(), one)
    images = np.stack([frame.image for frame in read_frames(tmp_path / "step_00000000.mp4")])[:, :, MARGIN:]
    for index, row in enumerate((latents.target, latents.masked, sampled, latents.reference)):
        expected = ((decoded(module, row)[0].permute(0, 2, 3, 1) + 1) * 127.5).numpy()
        assert np.abs((images[:, index * SIDE : (index + 1) * SIDE] - expected) @ GREY).mean() < 5, index
    assert logged["val/sync_score"] == pytest.approx(float(judge.cosine(decoded(module, sampled), one.mel)), abs=1e-5)
    true = float(judge.cosine(decoded(module, latents.target), one.mel))
    assert logged["val/sync_score_true"] == pytest.approx(true, abs=1e-5)


@torch.no_grad()
def decoded(module: LipSyncModule, latents: torch.Tensor) -> torch.Tensor:
    return module.autoencoder.decode(latents).clamp(-1, 1)


def test_objectives_own_syncnet_scores_unless_another_is_given(tmp_path: Path) -> None:
    objective = Objective(sync=0.05, sync_loss=lambda: SyncLoss(syncnet()))
    module, other = lip_sync(objective), syncnet()
    assert ValidationVideo(str(tmp_path)).judge(module) is objective.losses["sync"].syncnet
    assert ValidationVideo(str(tmp_path), syncnet=other).judge(module) is other
    assert ValidationVideo(str(tmp_path)).judge(lip_sync()) is None


def test_every_row_has_its_name_beside_it() -> None:
    rows = {name: torch.zeros(2, 3, 3, SIDE, SIDE) for name in ("target", "generated")}
    shown = grid(rows)
    assert shown.shape == (3, 2 * SIDE, MARGIN + 2 * SIDE, 3)
    names = [shown[0, index * SIDE : (index + 1) * SIDE, :MARGIN] for index in (0, 1)]
    assert all(name.max() > 200 for name in names)
    assert not np.array_equal(*names)


def test_module_of_another_kind_is_refused_with_the_remedy(tmp_path: Path) -> None:
    class Other(lightning.LightningModule):
        def validation_step(self, batch: ClipBatch, batch_idx: int) -> None: ...

    with pytest.raises(UserError, match="callbacks=training_only"):
        validate(Other(), batch(), ValidationVideo(str(tmp_path)))


def test_published_objective_with_the_real_lpips_reaches_every_weight_of_the_unet() -> None:
    torch.manual_seed(4)
    objective = Objective(
        perceptual=0.1, perceptual_loss=partial(PerceptualLoss.untrained, "squeeze"),
        trepa=10.0, trepa_loss=trepa, sync=0.05, sync_loss=lambda: SyncLoss(syncnet()),
    )  # fmt: skip
    module = lip_sync(objective).train()
    for parameter in module.unet.parameters():  # layers that start at zero pass no gradient to what lies before them
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    result = module.step(batch(), draws(batch()))
    result.total.backward()
    assert objective.weights == {"noise": 1.0, "perceptual": 0.1, "trepa": 10.0, "sync": 0.05}
    expected = sum(objective.weights[name] * value for name, value in result.raw.items())
    assert torch.allclose(result.total, expected)
    for name, parameter in module.named_parameters():
        if name.startswith("unet."):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
        else:
            assert parameter.grad is None, name


def test_float16_moments_as_shards_store_them_give_the_latents_of_the_pixels() -> None:
    module, one = lip_sync(), batch()
    pictures = {"target": one.target, "masked": one.target * module.conditioning.mouth_mask, "reference": one.reference}
    stored = {
        f"{name}_moments": torch.cat(module.autoencoder.moments(frames), dim=2).detach().half().float()
        for name, frames in pictures.items()
    }
    from_stored = ClipBatch(one.keys, one.start_frames, one.reference_starts, one.mel, one.audio_tokens, **stored)
    ours, theirs = (module.conditioning.encode(which, draws(one)) for which in (one, from_stored))
    for name in ("target", "masked", "reference"):
        pixels, moments = getattr(ours, name), getattr(theirs, name)
        assert (pixels - moments).abs().max() < 2e-3 * pixels.abs().max(), name
        assert not torch.equal(pixels, moments), name  # the float16 rounding is there
