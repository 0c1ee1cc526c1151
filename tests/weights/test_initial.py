"""Where training starts: what carries over from each source, what starts anew, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from latentsync.errors import UserError
from latentsync.models.unet import UNet3DConditionModel
from latentsync.weights.initial import FROM_STABLE_DIFFUSION, build_unet, carry_over, initialise
from latentsync.weights.unet import POSITIONS


@pytest.fixture(scope="module")
def stage1(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["unet_spatial"]["config"]


@pytest.fixture(scope="module")
def stage2(manifest: dict[str, Any]) -> dict[str, Any]:
    widths = manifest["unet_spatial"]["config"]["block_out_channels"]
    return {**manifest["unet_temporal"]["config"], "block_out_channels": widths}


def stable_diffusion_folder(folder: Path, config: dict[str, Any], channels: int) -> dict[str, torch.Tensor]:
    """A U-Net folder of Stable Diffusion's shape at a small size: text width, 4 or 9 input channels."""
    narrow = UNet3DConditionModel(**{**config, "in_channels": channels, "cross_attention_dim": 96})
    generator = torch.Generator().manual_seed(0)
    state = {k: torch.randn(v.shape, generator=generator) for k, v in narrow.state_dict().items()}
    folder.mkdir()
    safetensors.torch.save_file(state, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel", "in_channels": channels}))
    return state


@pytest.mark.parametrize("channels", [4, 9])
def test_stable_diffusion_carries_over_all_but_conv_in_and_audio(
    channels: int, stage2: dict[str, Any], stage1: dict[str, Any], tmp_path: Path
) -> None:
    state = stable_diffusion_folder(tmp_path / "sd", stage1, channels)
    unet = UNet3DConditionModel(**stage2)
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    report = initialise(unet, tmp_path / "sd")
    after = unet.state_dict()
    anew = {k for k in after if ".motion_modules." in k or k.endswith(FROM_STABLE_DIFFUSION)}
    assert set(report.anew) == {k for k in anew if not k.endswith(POSITIONS)}
    assert all(torch.equal(after[k], before[k] if k in anew else state[k]) for k in after)
    for words in ("carried over", "temporal layers", "audio cross-attention k, v", "conv_in.weight"):
        assert words in str(report)


def test_full_size_stable_diffusion_differs_exactly_where_the_table_says(key_table: Any, shared: Path) -> None:
    difference = json.loads((shared / "goldens" / "state_dicts" / "sd15_to_stage2_diff.json").read_text())
    with torch.device("meta"):
        unet = UNet3DConditionModel()
    state = key_table("sd15_unet2d_keys")
    report = carry_over(unet, state, "sd15", may_start_anew=FROM_STABLE_DIFFUSION)
    missing = {key for key in difference["missing_in_sd15"] if not key.endswith(POSITIONS)}
    assert set(report.anew) == missing | set(difference["mismatch"])
    assert set(report.unused) == set(difference["mismatch"])
    assert len(report.carried) == 686 - len(difference["mismatch"])


def test_stage_2_starts_from_stage_1_with_new_temporal_layers(
    stage1: dict[str, Any], stage2: dict[str, Any], golden_state: Any, tmp_path: Path
) -> None:
    state = golden_state("unet_spatial")
    path = tmp_path / "stage1.pt"
    torch.save({"state_dict": state, "global_step": 3}, path)
    unet = build_unet(path, resolution=128, **stage2)
    after = unet.state_dict()
    assert all(torch.equal(after[key], value) for key, value in state.items())
    proj_outs = [value for key, value in after.items() if key.endswith("temporal_transformer.proj_out.weight")]
    assert proj_outs
    assert all(not value.any() for value in proj_outs)
    assert unet.config["resolution"] == 128


def test_training_goes_on_from_a_lightning_checkpoint(
    stage1: dict[str, Any], golden_state: Any, tmp_path: Path
) -> None:
    state = golden_state("unet_spatial")
    path = tmp_path / "last.ckpt"
    content = {f"unet.{key}": value for key, value in state.items()}
    torch.save({"pytorch-lightning_version": "2.6", "state_dict": content, "global_step": 9}, path)
    unet = build_unet(path, **stage1)
    assert all(torch.equal(unet.state_dict()[key], value) for key, value in state.items())


def test_animatediff_fills_the_temporal_layers_alone(stage2: dict[str, Any], tmp_path: Path) -> None:
    unet = UNet3DConditionModel(**stage2)
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    motion = {f"module.{k}": torch.ones_like(v) for k, v in before.items() if ".motion_modules." in k}
    motion = {k: torch.ones(1, 32, v.shape[2]) if k.endswith(POSITIONS) else v for k, v in motion.items()}
    motion["module.mid_block.motion_modules.0.temporal_transformer.norm.weight"] = torch.ones(32)
    torch.save({"state_dict": motion}, tmp_path / "mm_sd.ckpt")
    report = initialise(unet, tmp_path / "mm_sd.ckpt")
    for key, value in unet.state_dict().items():
        trained = ".motion_modules." in key and not key.endswith(POSITIONS)
        assert torch.equal(value, torch.ones_like(value) if trained else before[key])
    assert not report.anew
    assert report.unused == ["mid_block.motion_modules.0.temporal_transformer.norm.weight"]
    bare = UNet3DConditionModel(**{**stage2, "use_motion_module": False})
    with pytest.raises(UserError, match="use_motion_module=true"):
        initialise(bare, tmp_path / "mm_sd.ckpt")


def test_other_sizes_and_layouts_are_refused_with_the_setting_to_change(
    stage1: dict[str, Any], stage2: dict[str, Any], golden_state: Any, tmp_path: Path
) -> None:
    torch.save({"state_dict": golden_state("unet_spatial")}, tmp_path / "stage1.pt")
    with pytest.raises(UserError, match=r"cross_attention_dim=48") as error:
        build_unet(tmp_path / "stage1.pt", **{**stage1, "cross_attention_dim": 64})
    assert "misshapen" in str(error.value)
    full = UNet3DConditionModel(**stage2).state_dict()
    torch.save({"state_dict": full}, tmp_path / "stage2.pt")
    with pytest.raises(UserError, match="motion_module_decoder_only=false"):
        build_unet(tmp_path / "stage2.pt", **{**stage2, "motion_module_decoder_only": True})


def test_another_resolution_is_refused_unless_asked_for(stage1: dict[str, Any], tmp_path: Path) -> None:
    build_unet(resolution=128, **stage1).save_pretrained(tmp_path / "unet")
    with pytest.raises(UserError, match="made for resolution 128") as error:
        build_unet(tmp_path / "unet", resolution=256, **stage1)
    assert "new_resolution=true" in str(error.value)
    assert build_unet(tmp_path / "unet", resolution=256, new_resolution=True, **stage1).config["resolution"] == 256


def test_another_number_of_heads_is_refused_though_every_shape_fits(stage1: dict[str, Any], tmp_path: Path) -> None:
    build_unet(**{**stage1, "attention_head_dim": 4}).save_pretrained(tmp_path / "unet")
    with pytest.raises(UserError, match=r"trained with 4 attention heads.*attention_head_dim=4"):
        build_unet(tmp_path / "unet", **{**stage1, "attention_head_dim": 8})


def test_unknown_unfetched_and_unfitting_sources_are_named(stage1: dict[str, Any], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    unet = UNet3DConditionModel(**stage1)
    with pytest.raises(UserError, match="did you mean 'sd15-unet'"):
        initialise(unet, "sd15unet")
    with pytest.raises(UserError, match="fetch sd15-unet"):
        initialise(unet, "sd15-unet")
    with pytest.raises(UserError, match="no such file"):
        initialise(unet, "runs/absent.ckpt")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pt")
    with pytest.raises(UserError, match="lpips-backbone"):
        initialise(unet, "vgg.pt")
