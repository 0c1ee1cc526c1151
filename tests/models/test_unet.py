"""The U-Net: what reaches what, configurations taken and refused, saving, checkpointing. Parity is in tests/parity."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentsync.errors import UserError
from latentsync.models.unet import UNet3DConditionModel

SMALL = {"block_out_channels": [32, 32], "layers_per_block": 1, "cross_attention_dim": 16}
SMALL |= {"down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"]}
SMALL |= {"up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"]}


def make_unet(seed: int = 0, **changes: Any) -> UNet3DConditionModel:
    """A small U-Net in which no weight is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet3DConditionModel(**{**SMALL, **changes}).eval()
        for parameter in unet.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return unet


def clips(batch: int = 2, num_frames: int = 3, side: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Input, timesteps and audio tokens."""
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(batch, 13, num_frames, side, side, generator=generator)
    tokens = torch.randn(batch, num_frames, 5, 16, generator=generator)
    return sample, torch.tensor([981, 17, 400][:batch]), tokens


def test_new_unet_predicts_zero_and_has_the_input_s_size() -> None:
    sample, timesteps, tokens = clips()
    output = UNet3DConditionModel(**SMALL)(sample, timesteps, tokens)
    assert output.shape == (2, 4, 3, 4, 4)
    assert not output.any()


@pytest.mark.parametrize("use_motion_module", [False, True])
@torch.inference_mode()
def test_each_clip_of_a_batch_has_its_own_timestep_and_statistics(use_motion_module: bool) -> None:
    unet, (sample, timesteps, tokens) = make_unet(use_motion_module=use_motion_module), clips()
    together = unet(sample, timesteps, tokens)
    for clip in range(2):
        alone = unet(sample[clip : clip + 1], timesteps[clip], tokens[clip : clip + 1])
        torch.testing.assert_close(alone, together[clip : clip + 1], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_one_number_stands_for_the_timestep_of_all_clips() -> None:
    unet, (sample, _, tokens) = make_unet(), clips()
    assert torch.equal(unet(sample, 17, tokens), unet(sample, torch.tensor([17, 17]), tokens))


@torch.inference_mode()
def test_order_of_frames_matters_to_temporal_layers_alone() -> None:
    sample, timesteps, tokens = clips()
    for use_motion_module in (False, True):
        unet = make_unet(use_motion_module=use_motion_module)
        reversed_frames = unet(sample.flip(2), timesteps, tokens.flip(1)).flip(2)
        same = torch.allclose(reversed_frames, unet(sample, timesteps, tokens), atol=1e-4)
        assert same != use_motion_module


@torch.inference_mode()
def test_group_norms_carry_a_frame_s_content_into_the_others_without_temporal_layers() -> None:
    unet, (sample, timesteps, tokens) = make_unet(use_motion_module=False), clips()
    brighter = sample.clone()
    brighter[:, :, 0] *= 3
    change = (unet(brighter, timesteps, tokens) - unet(sample, timesteps, tokens)).abs().amax(dim=(0, 1, 3, 4))
    assert (change > 1e-3).all()
    assert change[0] == change.max()


@torch.inference_mode()
def test_every_frame_hears_its_own_audio() -> None:
    unet, (sample, timesteps, tokens) = make_unet(use_motion_module=False), clips()
    other = tokens.clone()
    other[:, 1] = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(2))
    change = (unet(sample, timesteps, other) - unet(sample, timesteps, tokens)).abs().amax(dim=(0, 1, 3, 4))
    assert change[1] > 2 * max(change[0], change[2])


@torch.inference_mode()
def test_new_temporal_layers_change_nothing() -> None:
    spatial, (sample, timesteps, tokens) = make_unet(use_motion_module=False), clips()
    temporal = UNet3DConditionModel(**SMALL, use_motion_module=True).eval()
    absent, unexpected = temporal.load_state_dict(spatial.state_dict(), strict=False)
    assert not unexpected
    assert all(".motion_modules." in key for key in absent)
    torch.testing.assert_close(temporal(sample, timesteps, tokens), spatial(sample, timesteps, tokens))


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"use_motion_module": False}, set()),
        ({"motion_module_decoder_only": True}, {"up_blocks.0", "up_blocks.1"}),
        ({"motion_module_resolutions": [1]}, {"down_blocks.0", "up_blocks.1"}),
        ({"motion_module_resolutions": [2], "motion_module_decoder_only": True}, {"up_blocks.0"}),
    ],
)
def test_temporal_layers_sit_where_the_configuration_says(changes: dict, places: set[str]) -> None:
    with torch.device("meta"):
        keys = UNet3DConditionModel(**SMALL, **changes).state_dict()
    assert {".".join(key.split(".")[:2]) for key in keys if ".motion_modules." in key} == places


@pytest.mark.parametrize(
    ("changes", "patterns", "millions"),
    [
        ({}, ("motion_modules.", "attentions."), 674.8),
        ({"motion_module_decoder_only": True}, ("motion_modules.", "attn2."), 284.7),
    ],
)
def test_published_patterns_choose_the_published_number_of_weights(
    changes: dict, patterns: tuple[str, ...], millions: float
) -> None:
    with torch.device("meta"):
        unet = UNet3DConditionModel(**changes)
    chosen = sum(p.numel() for name, p in unet.named_parameters() if any(part in name for part in patterns))
    assert chosen / 1e6 == pytest.approx(millions, abs=0.05)


def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_less() -> None:
    unet, (sample, timesteps, tokens) = make_unet().train(), clips()

    def gradients() -> tuple[list[Tensor], int]:
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        unet.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = unet(sample, timesteps, tokens).square().mean()
        loss.backward()
        assert all(parameter.grad is not None for parameter in unet.parameters())
        return [parameter.grad.clone() for parameter in unet.parameters()], sum(kept.values())

    plain, kept_plain = gradients()
    unet.enable_gradient_checkpointing()
    checkpointed, kept_checkpointed = gradients()
    for one, other in zip(plain, checkpointed):
        torch.testing.assert_close(one, other)
    assert kept_checkpointed < kept_plain / 2


@torch.inference_mode()
def test_saved_folder_loads_to_the_same_network(tmp_path: Path) -> None:
    unet, inputs = make_unet(resolution=128, motion_module_kwargs={"temporal_position_encoding_max_len": 32}), clips()
    unet.save_pretrained(tmp_path)
    loaded = UNet3DConditionModel.from_pretrained(tmp_path).eval()
    assert (tmp_path / "diffusion_pytorch_model.safetensors").is_file()
    assert loaded.config["resolution"] == 128
    assert torch.equal(loaded(*inputs), unet(*inputs))


@torch.inference_mode()
def test_bfloat16_is_near_float32_and_takes_float32_inputs() -> None:
    unet, inputs = make_unet(), clips()
    exact = unet(*inputs)
    rough = unet.to(torch.bfloat16)(*inputs)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"act_fn": "gelu"}, "act_fn"),
        ({"add_audio_layer": False}, "add_audio_layer"),
        ({"center_input_sample": True}, "center_input_sample"),
        ({"downsample_padding": 0}, "downsample_padding"),
        ({"mid_block_type": "UNetMidBlock2D"}, "mid_block_type"),
        ({"mid_block_scale_factor": 2}, "mid_block_scale_factor"),
        ({"motion_module_mid_block": True}, "motion_module_mid_block"),
        ({"motion_module_type": "Fancy"}, "motion_module_type"),
        ({"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift"),
        ({"down_block_types": ["DownBlock3D"]}, "down_block_types"),
        ({"up_block_types": ["UpBlock3D", "UpBlock2D"]}, "UpBlock2D"),
        ({"block_out_channels": [32, 48]}, "norm_num_groups"),
        ({"attention_head_dim": 5}, "attention_head_dim"),
        ({"motion_module_kwargs": {"heads": 8}}, "heads"),
        ({"motion_module_kwargs": {"temporal_attention_dim_div": 2}}, "temporal_attention_dim_div"),
        ({"motion_module_kwargs": {"attention_block_types": ["Temporal_Cross"]}}, "attention_block_types"),
        ({"motion_module_kwargs": {"num_attention_heads": 5}}, "num_attention_heads"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(changes: dict, key: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=key):
        UNet3DConditionModel(**{**SMALL, **changes})


def test_inputs_that_do_not_fit_are_refused() -> None:
    unet, (sample, timesteps, tokens) = make_unet(), clips()
    with pytest.raises(UserError, match="resolution divisible by 16"):
        unet(sample[..., :3], timesteps, tokens)
    with pytest.raises(UserError, match="in_channels"):
        unet(sample[:, :9], timesteps, tokens)
    with pytest.raises(UserError, match="cross_attention_dim"):
        unet(sample, timesteps, tokens[..., :8])
    with pytest.raises(UserError, match="audio tokens"):
        unet(sample, timesteps, tokens[:, :2])
    many = (sample[:, :, :1].expand(-1, -1, 25, -1, -1), timesteps, tokens[:, :1].expand(-1, 25, -1, -1))
    with pytest.raises(UserError, match="num_frames=25"):
        unet(*many)


@pytest.mark.parametrize("resolution", [0, 8, 24, 250, "256"])
def test_resolution_that_cannot_be_halved_often_enough_is_refused(resolution: Any) -> None:
    with pytest.raises(UserError, match=f"resolution={resolution}: not a multiple of 16"):
        make_unet(resolution=resolution)  # two levels
    assert make_unet(resolution=48).config["resolution"] == 48
