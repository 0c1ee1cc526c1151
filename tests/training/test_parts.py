"""The modules that train the demo model's small networks: what they learn from, what they measure, what they export."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from diffusers import AutoencoderKL
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from latentsync.data.sample import ClipBatch
from latentsync.errors import UserError
from latentsync.face.mouth_mask import mouth_mask
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.patch_discriminator import PatchDiscriminator
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.video_encoder import VideoEncoder, videomae_for_pretraining
from latentsync.training.autoencoder import AutoencoderModule, single_frames
from latentsync.training.export import ExportPart
from latentsync.training.optimization import freeze, optimizer_config, select_trainable
from latentsync.training.syncnet import SyncNetModule
from latentsync.training.video_encoder import VideoEncoderModule

ADAM = partial(torch.optim.AdamW, lr=3e-3)


class Losses(Callback):
    """Every training step's loss."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer, module, outputs, *_) -> None:
        self.seen.append(outputs["loss"].item())


def fit(
    module: lightning.LightningModule, batch: object, steps: int, *callbacks: Callback
) -> tuple[list[float], dict[str, float]]:
    """Losses of `steps` steps on one batch, and what was logged at the one validation at the end, on that batch."""
    losses = Losses()
    data = DataLoader([batch] * steps, batch_size=None)
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, logger=False, callbacks=[losses, *callbacks], limit_val_batches=2,
        num_sanity_val_steps=0, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, data, data)
    return losses.seen, {name: float(value) for name, value in trainer.callback_metrics.items()}


def clips(batch_size: int, side: int) -> ClipBatch:
    """Clips that can be learned: the brightness of smooth target frames is the loudness that their mel shows."""
    draw = partial(torch.rand, generator=torch.Generator().manual_seed(1))

    def frames(brightness: Tensor) -> Tensor:
        texture = nn.functional.interpolate(draw(batch_size * 16, 3, 4, 4), size=(side, side), mode="bilinear")
        return brightness[:, None, None, None, None] + 0.4 * texture.unflatten(0, (batch_size, 16)) - 0.2

    loudness = torch.where(torch.arange(batch_size) % 2 == 0, 0.7, -0.7)
    return ClipBatch(
        keys=[f"clip{index}" for index in range(batch_size)],
        start_frames=torch.zeros(batch_size, dtype=torch.long),
        reference_starts=torch.full((batch_size,), 20),
        mel=loudness[:, None, None, None] * 4 + draw(batch_size, 1, 80, 52) - 0.5,
        target=frames(loudness),
        reference=frames(-loudness),
    )


def lower_at_the_end(losses: list[float]) -> bool:
    """Whether the mean of the last five is below that of the first five: by how much hangs on the libraries."""
    return sum(losses[-5:]) < sum(losses[:5])


def autoencoder_module(**options: Any) -> AutoencoderModule:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8, 16, 16, 16], norm_num_groups=8, layers_per_block=1, mid_block_add_attention=False,
    )  # fmt: skip
    return AutoencoderModule(vae, ADAM, resolution=64, **options)


def smooth_frames() -> Tensor:
    small = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return nn.functional.interpolate(small, size=(64, 64), mode="bilinear")


def test_autoencoder_learns_and_its_export_scales_latents_by_their_moments(tmp_path: Path) -> None:
    module, frames = autoencoder_module(), smooth_frames()
    losses, measured = fit(module, frames, 30, ExportPart("vae", str(tmp_path / "vae")))
    assert lower_at_the_end(losses)
    error = nn.functional.mse_loss(module.vae(frames).sample, frames)  # of the modes, as validation decodes them
    assert measured["val/psnr"] == pytest.approx(float(10 * torch.log10(4 / error)), abs=0.01)
    mean, square = module.latent_moments.tolist()
    loaded = FrameAutoencoder.from_pretrained(tmp_path / "vae")
    latents = loaded.encode(frames[None], sample=False)
    plain = loaded.moments(frames[None])[0]
    assert torch.allclose(latents.transpose(1, 2), (plain - mean) / (square - mean**2) ** 0.5, atol=1e-4)


def test_error_in_the_mouth_costs_more_than_elsewhere() -> None:
    module, frames = autoencoder_module(), torch.zeros(1, 3, 64, 64)
    mouth, brow = frames.clone(), frames.clone()
    mouth[..., 40:48, 28:36] = 1
    brow[..., 4:12, 28:36] = 1
    cost = [float(module._weighted(wrong, frames)) for wrong in (mouth, brow)]
    area, generated = 64 * 64, float((1 - mouth_mask(64)).sum())
    assert cost[1] == pytest.approx(2 * 64 / area)
    assert cost[0] == pytest.approx(2 * 64 / area + module.mouth_weight * 2 * 64 / generated)


def test_clips_give_their_target_and_reference_frames_one_by_one() -> None:
    batch = clips(2, 32)
    frames = single_frames(batch)
    assert frames.shape == (2 * 32, 3, 32, 32)
    assert torch.equal(frames[0], batch.target[0, 0])
    assert torch.equal(frames[16], batch.reference[0, 0])
    batch.target = None
    with pytest.raises(UserError, match="pixels=true"):
        single_frames(batch)


def test_adversary_and_autoencoder_are_taught_against_each_other_and_neither_by_the_others_loss() -> None:
    torch.manual_seed(3)
    judge = PatchDiscriminator((8, 16), norm_num_groups=4)
    module = autoencoder_module(adversary=judge, adversarial_weight=0.5)
    frames = smooth_frames()
    decoded = (frames * 0.5).requires_grad_()
    terms = module._adversarial(judge, decoded, frames)
    terms["adversarial"].backward(retain_graph=True)
    assert decoded.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in judge.parameters())
    decoded.grad = None
    terms["adversary"].backward()
    assert decoded.grad is None
    assert all(weight.grad is not None for weight in judge.parameters())
    assert float(terms["adversarial"]) == pytest.approx(-0.5 * float(judge(decoded).mean()), abs=1e-5)


def test_adversary_counts_from_its_step_on() -> None:
    def logged(start: int) -> dict[str, float]:
        judge = PatchDiscriminator((8,), norm_num_groups=4)
        module = autoencoder_module(adversary=judge, adversarial_weight=0.1, adversarial_start=start)
        return fit(module, smooth_frames(), 2)[1]

    assert "train/adversary" in logged(1)
    assert "train/adversary" not in logged(2)


def test_training_the_decoder_alone_leaves_the_latents_and_their_scale(tmp_path: Path) -> None:
    module, frames = autoencoder_module(trainable=["decoder."]), smooth_frames()
    module.vae.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    before, decoder = module.vae.encode(frames).latent_dist.mode(), module.vae.decoder.conv_out.weight.clone()
    fit(module, frames, 3)
    assert torch.equal(module.vae.encode(frames).latent_dist.mode(), before)
    assert not torch.equal(module.vae.decoder.conv_out.weight, decoder)
    assert (module.vae.config["scaling_factor"], module.vae.config["shift_factor"]) == (0.5, 0.25)


@pytest.mark.parametrize("weight", ["perceptual_weight", "adversarial_weight"])
def test_a_weight_without_what_it_weighs_is_refused(weight: str) -> None:
    with pytest.raises(UserError, match=weight):
        autoencoder_module(**{weight: 0.1})


def syncnet_module() -> SyncNetModule:
    torch.manual_seed(0)
    common = {"block_out_channels": [32, 32, 64], "attn_blocks": [0, 0, 0], "dropout": 0.0}
    audio = {**common, "in_channels": 1, "downsample_factors": [[4, 4], 4, [5, 4]]}
    vision = {**common, "in_channels": 48, "downsample_factors": [[2, 4], 4, 4]}
    return SyncNetModule(StableSyncNet(audio, vision, resolution=64), ADAM)


def test_syncnet_learns_one_batch_and_its_export_loads_back(tmp_path: Path) -> None:
    module, batch = syncnet_module(), clips(8, 64)

    @torch.no_grad()
    def apart() -> float:
        """How much more alike sound and lips are in sync than out of sync."""
        module.eval()
        return float((module.cosine(batch.target, batch.mel) - module.cosine(batch.reference, batch.mel)).mean())

    before = apart()
    fit(module.train(), batch, 40, ExportPart("syncnet", str(tmp_path / "syncnet")))
    assert apart() > max(before, 0)
    loaded = StableSyncNet.from_pretrained(tmp_path / "syncnet")
    with torch.no_grad():
        ours = module.eval().cosine(batch.target, batch.mel)
        module.syncnet = loaded.eval()
        theirs = module.cosine(batch.target, batch.mel)
    assert torch.equal(ours, theirs)


def video_encoder_module() -> VideoEncoderModule:
    torch.manual_seed(0)
    sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    videomae = videomae_for_pretraining(
        **sizes, **decoder, intermediate_size=32, decoder_intermediate_size=32, num_frames=16, tubelet_size=2
    )
    return VideoEncoderModule(videomae, ADAM)


def test_tubes_hide_the_same_patches_in_every_frame_and_as_many_in_every_clip() -> None:
    module = video_encoder_module()
    mask = module.tube_mask(6, torch.Generator().manual_seed(0)).reshape(6, 8, 16)  # clips, tubes, patches
    assert (mask == mask[:, :1]).all()
    assert (mask[:, 0].sum(1) == 12).all()
    assert len({tuple(row.tolist()) for row in mask[:, 0]}) > 1


def test_video_encoder_learns_and_its_export_gives_standardised_features(tmp_path: Path) -> None:
    module, batch = video_encoder_module(), clips(6, 32)
    losses, _ = fit(module, batch, 150, ExportPart("video_encoder", str(tmp_path / "video")))
    assert lower_at_the_end(losses)
    loaded = VideoEncoder.from_pretrained(tmp_path / "video").eval()
    with torch.no_grad():
        pixels = (batch.target + 1) / 2
        features = loaded(pixels)
        assert torch.allclose(features, module.video_encoder.eval()(pixels), atol=1e-6)
        plain = module.plain_features(batch.target)
    # Validation saw this batch twice: mean 0, and the spread that std with 12 for 6 values leaves.
    standard = (plain - plain.mean(0)) / plain.repeat(2, 1).std(0)
    assert torch.allclose(features, standard, atol=1e-3)


def test_trainable_patterns_choose_exactly_the_parameters_they_name() -> None:
    network = nn.ModuleDict({"attn1": nn.Linear(2, 3), "attn2": nn.Linear(2, 3), "norm": nn.LayerNorm(2)})
    assert select_trainable(network, ["attn2."]) == 9
    assert {name for name, one in network.named_parameters() if one.requires_grad} == {"attn2.weight", "attn2.bias"}
    assert select_trainable(network, ["attn1.", "norm."]) == 9 + 4
    assert select_trainable(network, ["all"]) == 9 + 9 + 4
    with pytest.raises(UserError, match="nothing would be trained"):
        select_trainable(network, [])


def test_optimizer_gets_what_is_trainable_and_steps_its_schedule_every_step() -> None:
    network = nn.Sequential(nn.Linear(2, 3), freeze(nn.Linear(3, 2)))
    schedule = partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda step: 1.0)
    built = optimizer_config(network.parameters(), ADAM, schedule)
    (group,) = built["optimizer"].param_groups
    assert [id(one) for one in group["params"]] == [id(one) for one in network[0].parameters()]
    assert built["lr_scheduler"]["interval"] == "step"
    assert built["lr_scheduler"]["scheduler"].optimizer is built["optimizer"]
