"""LoRA: the adapter alone is trained and kept, and merging it changes no answer."""

from functools import partial
from pathlib import Path

import lightning
import pytest
import torch
from tiny_lipsync import SIDE, batch, tiny_autoencoder, tiny_unet
from torch import Tensor
from torch.utils.data import DataLoader

from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError
from latentsync.losses.objective import Objective
from latentsync.models.lora import add_adapter, load_adapter, lora_config, merged, save_adapter
from latentsync.models.unet import UNet3DConditionModel
from latentsync.training.lora import ExportLora, LoraLipSyncModule
from latentsync.weights.__main__ import main


def module(**options: object) -> LoraLipSyncModule:
    optimizer = partial(torch.optim.AdamW, lr=2e-3)
    return LoraLipSyncModule(
        tiny_unet(False), autoencoder=tiny_autoencoder(), objective=Objective(), schedule=NoiseSchedule(),
        optimizer=optimizer, resolution=SIDE, **{"rank": 2, "alpha": 4.0, **options},
    )  # fmt: skip


def fit(lora: LoraLipSyncModule, folder: Path, **options: object) -> lightning.Trainer:
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[ExportLora(str(folder), **options)],
    )  # fmt: skip
    trainer.fit(lora, DataLoader([batch(seed=1), batch(seed=2)], batch_size=None))
    return trainer


def answer(unet: UNet3DConditionModel) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    latents, tokens = (torch.randn(shape, generator=generator) for shape in ((1, 13, 4, 8, 8), (1, 4, 4, 16)))
    with torch.no_grad():
        return unet.eval()(latents, torch.tensor([500]), tokens)


def test_adapter_alone_is_trained_and_both_exports_give_its_answers(tmp_path: Path) -> None:
    lora = module()
    untouched = tiny_unet(False)
    assert torch.allclose(answer(lora.unet), answer(untouched), atol=1e-6)  # a new adapter changes nothing
    trainer = fit(lora, tmp_path)
    adapted = answer(lora.unet)
    assert (adapted - answer(untouched)).abs().max() > 1e-2
    base = {name.replace(".base_layer", ""): value for name, value in lora.unet.state_dict().items()}
    assert all(torch.equal(base[name], value) for name, value in untouched.state_dict().items())
    whole = UNet3DConditionModel.from_pretrained(tmp_path / "unet")
    assert whole.state_dict().keys() == untouched.state_dict().keys()
    assert torch.allclose(answer(whole), adapted, atol=1e-4)
    apart = tiny_unet(False)
    load_adapter(apart, tmp_path / "adapter")
    assert torch.allclose(answer(apart), adapted, atol=1e-6)
    assert all(".lora_" in name for name in lora.state_dict())
    assert trainer.global_step == 2


def test_checkpoint_of_an_adapter_resumes_and_one_of_another_rank_is_refused(tmp_path: Path) -> None:
    lora = module()
    trainer = fit(lora, tmp_path)
    trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    fresh = module()
    fresh.on_load_checkpoint(checkpoint)
    fresh.load_state_dict(checkpoint["state_dict"], strict=False)
    assert torch.equal(answer(fresh.unet), answer(lora.unet))
    with pytest.raises(UserError, match="does not fit the configured adapter"):
        module(rank=4).on_load_checkpoint(checkpoint)


def test_merge_command_gives_a_folder_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tiny_unet(False).save_pretrained(tmp_path / "base")
    lora = module()
    fit(lora, tmp_path, merge=False)
    assert not (tmp_path / "unet").exists()
    assert main(["merge", *(str(tmp_path / name) for name in ("base", "adapter", "whole"))]) == 0
    assert torch.allclose(
        answer(UNet3DConditionModel.from_pretrained(tmp_path / "whole")), answer(lora.unet), atol=1e-4
    )
    assert main(["merge", *(str(tmp_path / name) for name in ("base", "nowhere", "whole2"))]) == 2
    assert "there is no adapter_config.json" in capsys.readouterr().err


def test_what_cannot_be_adapted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lora: "):
        add_adapter(tiny_unet(), lora_config(2, 2.0, ["no_such_layer"]))
    with pytest.raises(UserError, match="leave it null"):
        module(trainable=["attn2."])
    small = tiny_unet()
    save_adapter(merged_into(small), tmp_path / "adapter")
    other = UNet3DConditionModel(
        block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=16, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    )  # fmt: skip
    with pytest.raises(UserError, match="was not made for this U-Net"):
        load_adapter(other, tmp_path / "adapter")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rank": 0}, "lora: rank=0: give a whole number from 1"),
        ({"rank": 2.5}, "lora: rank=2.5: give a whole number"),
        ({"rank": True}, "lora: rank=True"),
        ({"alpha": 0.0}, "lora: alpha=0.0: give a number above 0"),
        ({"alpha": float("nan")}, "lora: alpha=nan"),
        ({"dropout": 1.0}, "lora: dropout=1.0: give 0 to below 1"),
        ({"dropout": -0.1}, "lora: dropout=-0.1"),
        ({"targets": []}, "lora: targets=[]: give a list"),
        ({"targets": "to_q"}, "lora: targets=to_q: give a list"),
        ({"targets": ["to_q", "to_qq"]}, "no layer's name ends in 'to_qq'; the nearest is 'to_q'"),
        ({"targets": ["to_out"]}, "no layer's name ends in 'to_out'; the nearest is 'to_out.0'"),
        ({"targets": ["zzz"]}, "no layer's name ends in 'zzz'; there are "),
    ],
)
def test_settings_that_make_no_adapter_are_told_in_one_line(given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as told:
        module(**given)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def merged_into(unet: UNet3DConditionModel) -> UNet3DConditionModel:
    tuner = add_adapter(unet, lora_config(2, 2.0, ["to_q"]))
    assert merged(tuner) is not unet
    return unet
