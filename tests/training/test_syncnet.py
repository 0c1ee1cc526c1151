"""SyncNet's training: which frames meet which sound, what a loss means, and what a validation leaves."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from configs.compose import load_config
from latentsync.data.sample import ClipBatch
from latentsync.errors import UserError
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.syncnet import StableSyncNet
from latentsync.training.syncnet import SyncNetModule, pair_loss
from latentsync.training.syncnet_histogram import SyncNetHistogram, histogram

COMMON = {"block_out_channels": [32, 32, 64], "attn_blocks": [0, 0, 0], "dropout": 0.0}
AUDIO = {**COMMON, "in_channels": 1, "downsample_factors": [[4, 4], 4, [5, 4]]}


def adam(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=1e-3)


def module(**arguments: object) -> SyncNetModule:
    torch.manual_seed(0)
    vision = {**COMMON, "in_channels": 48, "downsample_factors": [[2, 4], 4, 4]}
    return SyncNetModule(StableSyncNet(AUDIO, vision, resolution=64), adam, **arguments).eval()


def latent_module() -> SyncNetModule:
    torch.manual_seed(0)
    vision = {**COMMON, "in_channels": 64, "downsample_factors": [2, 2, 2]}
    syncnet = StableSyncNet(AUDIO, vision, resolution=8, latent_space=True, lower_half=False)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    return SyncNetModule(syncnet, adam, autoencoder=FrameAutoencoder(vae)).eval()


def clips(count: int) -> ClipBatch:
    """Clips of noise at 64 × 64."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.rand((count, *shape), generator=generator) * 2 - 1

    starts = torch.zeros(count, dtype=torch.int64)
    return ClipBatch(
        keys=[str(index) for index in range(count)], start_frames=starts, reference_starts=starts + 16,
        mel=4 * draw(1, 80, 52), target=draw(16, 3, 64, 64), reference=draw(16, 3, 64, 64),
    )  # fmt: skip


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_loss_is_the_cross_entropy_of_the_pairs_that_were_drawn() -> None:
    ours, batch = module(), clips(8)
    ours.log_dict = lambda *arguments, **options: None  # nothing but the loss is of interest here
    from latentsync.training.randomness import step_generator

    loss = ours.training_step(batch, 0)
    synced = torch.rand(8, generator=step_generator(ours, ours.seed, 0)) < 0.5
    assert 0 < synced.sum() < 8
    expected = 0.0
    for index, is_synced in enumerate(synced):
        frames = (batch.target if is_synced else batch.reference)[index : index + 1]
        cosine = ours.cosine(frames, batch.mel[index : index + 1]).clamp(0, 1)
        expected -= (cosine if is_synced else 1 - cosine).log().item() / 8
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_gradients_accumulated_over_halves_are_those_of_the_whole_batch() -> None:
    ours, batch = module(), clips(8)
    synced = torch.arange(8) % 2 == 0

    def gradients(parts: list[slice]) -> Tensor:
        ours.zero_grad()
        for part in parts:
            (pair_loss(ours.cosine(batch.target[part], batch.mel[part]), synced[part]) / len(parts)).backward()
        return torch.cat([parameter.grad.flatten() for parameter in ours.syncnet.parameters()])

    whole, halves = gradients([slice(0, 8)]), gradients([slice(0, 4), slice(4, 8)])
    assert (whole - halves).abs().max() < 1e-5 * whole.abs().max()


def test_negatives_are_the_reference_or_the_next_clips_target() -> None:
    batch = clips(4)
    for share, expected in ((0.0, batch.reference), (1.0, batch.target.roll(1, 0))):
        positive, negative = module(negatives_from_other_clips=share).windows(batch, generator())
        assert torch.equal(positive, batch.target)
        assert torch.equal(negative, expected)
    mixed = module(negatives_from_other_clips=0.5).windows(batch, generator(5))[1]
    own = [torch.equal(mixed[i], batch.reference[i]) for i in range(4)]
    other = [torch.equal(mixed[i], batch.target[i - 1]) for i in range(4)]
    assert all(a != b for a, b in zip(own, other))
    assert 0 < sum(own) < 4


def test_syncnet_of_other_frames_than_the_clips_is_refused() -> None:
    vision = {**COMMON, "in_channels": 48, "downsample_factors": [2, 2, 2]}
    with pytest.raises(UserError, match=r"model\.syncnet takes 16 frames, but num_frames=25; give num_frames=16"):
        SyncNetModule(StableSyncNet(AUDIO, vision, num_frames=25), adam)


def test_other_clips_need_a_batch_and_a_share_is_a_share() -> None:
    with pytest.raises(UserError, match=r"data\.batch_size ≥ 2"):
        module(negatives_from_other_clips=0.5).windows(clips(1), generator())
    with pytest.raises(UserError, match=r"negatives_from_other_clips=1\.5: give a share from 0 to 1"):
        module(negatives_from_other_clips=1.5)


def test_syncnet_of_latents_sees_the_same_from_frames_and_from_stored_moments() -> None:
    ours, batch = latent_module(), clips(2)
    from_frames = ours.looked_at(batch, "target", generator())
    assert from_frames.shape == (2, 16, 4, 8, 8)
    batch.target_moments = torch.cat(ours.autoencoder.moments(batch.target), dim=2)
    batch.target = None
    assert torch.allclose(ours.looked_at(batch, "target", generator()), from_frames, atol=1e-6)
    assert ours.cosine(from_frames, batch.mel).shape == (2,)


def test_syncnet_of_latents_says_what_it_lacks() -> None:
    ours, batch = latent_module(), clips(2)
    batch.target = None
    with pytest.raises(UserError, match=r"data\.latents=true"):
        ours.looked_at(batch, "target", generator())
    with pytest.raises(UserError, match=r"model/autoencoder=sd"):
        SyncNetModule(ours.syncnet, adam)


def test_checkpoint_holds_syncnet_alone() -> None:
    ours = latent_module()
    assert set(ours.state_dict()) == {f"syncnet.{name}" for name in ours.syncnet.state_dict()}
    optimizer = ours.configure_optimizers()["optimizer"]
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in ours.syncnet.parameters()}


def test_validation_writes_the_histogram_of_both_kinds_of_pairs(tmp_path: Path) -> None:
    import lightning

    ours = module()
    trainer = lightning.Trainer(
        logger=False, callbacks=[SyncNetHistogram(str(tmp_path / "confidence"))], accelerator="cpu",
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
    )  # fmt: skip
    data = torch.utils.data.DataLoader([clips(3), clips(3)], batch_size=None)
    [measured] = trainer.validate(ours, data, verbose=False)
    assert sum(cosine.numel() for cosine in ours.val_cosines) == 12  # 6 clips, each in sync and out of sync
    cosines = torch.cat(ours.val_cosines, dim=1)
    right = (cosines[0] > 0.5).float().mean() / 2 + (cosines[1] <= 0.5).float().mean() / 2
    assert measured["val/accuracy"] == pytest.approx(float(right))
    assert (tmp_path / "confidence" / "step_00000000.png").read_bytes().startswith(b"\x89PNG")


def test_histogram_counts_every_pair_on_its_side() -> None:
    figure = histogram(torch.tensor([[0.9, 0.8, 0.2], [0.1, 0.7, -0.3]]), step=7)
    counts = [sum(patch.get_height() for patch in container) for container in figure.axes[0].containers]
    assert counts == [3, 3]
    assert "66.7 %" in figure.axes[0].get_title()


@pytest.mark.parametrize(
    ("experiment", "parameters"),
    [("syncnet_pixel_16", 401_306_080), ("syncnet_latent_16", 65_544_416)],
)
def test_published_experiments_build_networks_of_the_published_size(experiment: str, parameters: int) -> None:
    from hydra.utils import instantiate

    config = load_config("train", [f"experiment={experiment}", "data.train_shards=x"])
    with torch.device("meta"):
        syncnet = instantiate(config.model.syncnet, _convert_="all")
    assert sum(parameter.numel() for parameter in syncnet.parameters()) == parameters
    assert config.data.batch_size * config.trainer.accumulate_grad_batches == 256
    assert config.data.reference_distance == 5
