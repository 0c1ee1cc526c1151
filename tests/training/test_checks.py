"""Settings that cannot go together: each is one line that names its key, and the ones beside it pass."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from latentsync.errors import UserError
from latentsync.training.checks import LIP_SYNC, SYNCNET, check_config, frames_of_syncnet

LIP_SYNC_CONFIG: dict[str, Any] = {
    "resolution": 256,
    "num_frames": 16,
    "trainer": {"precision": "16-mixed"},
    "model": {
        "_target_": LIP_SYNC,
        "unet": {"block_out_channels": [320, 640, 1280, 1280]},
        "audio_dropout": 0.1,
        "frozen_dtype": "float32",
        "objective": {"sync": 0.0},
    },
}


def changed(**values: Any) -> dict[str, Any]:
    """The configuration above with values at dotted keys, dots written as __."""
    config = copy.deepcopy(LIP_SYNC_CONFIG)
    for path, value in values.items():
        *parents, last = path.split("__")
        part = config
        for name in parents:
            part = part[name]
        part[last] = value
    return config


def refused(config: dict[str, Any]) -> str:
    with pytest.raises(UserError) as error:
        check_config(config)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("resolution", [64, 256, 512])
def test_resolution_that_vae_and_unet_can_halve_passes(resolution: int) -> None:
    check_config(changed(resolution=resolution))


@pytest.mark.parametrize("resolution", [0, 32, 96, 250, "256"])
def test_other_resolution_is_named(resolution: Any) -> None:
    assert f"resolution={resolution}: not a multiple of 64" in refused(changed(resolution=resolution))


def test_unet_of_fewer_levels_takes_smaller_steps_of_resolution() -> None:
    check_config(changed(resolution=96, model__unet={"block_out_channels": [32, 32, 32]}))


@pytest.mark.parametrize("dropout", ["lots", None, True, -0.1, 1.0, float("nan")])
def test_audio_dropout_that_is_no_probability_names_its_key(dropout: Any) -> None:
    assert refused(changed(model__audio_dropout=dropout)).startswith(f"model.audio_dropout={dropout} ")


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "bf16-mixed"), ("float16", "16-mixed")])
def test_frozen_networks_in_16_bits_need_the_precision_of_the_same_type(dtype: str, precision: str) -> None:
    check_config(changed(model__frozen_dtype=dtype, trainer__precision=precision))
    said = refused(changed(model__frozen_dtype=dtype, trainer__precision="32-true"))
    assert f"model.frozen_dtype={dtype} needs trainer.precision={precision}" in said


@pytest.mark.parametrize(
    "description",
    [
        {"num_frames": 25},
        {"visual_encoder": {"in_channels": 75}},
        {"latent_space": True, "visual_encoder": {"in_channels": 100}},
    ],
)
def test_syncnet_of_other_frames_than_the_clips_is_refused_in_the_loss_and_in_training(
    description: dict[str, Any], tmp_path: Path
) -> None:
    assert frames_of_syncnet(description) == 25
    (tmp_path / "config.json").write_text(json.dumps(description))
    objective = {"sync": 0.05, "sync_loss": {"path": str(tmp_path)}}
    assert "takes 25 frames, but num_frames=16" in refused(changed(model__objective=objective))
    check_config(changed(model__objective=objective, num_frames=25))
    check_config(changed(model__objective={**objective, "sync": 0.0}))
    training = {"num_frames": 16, "model": {"_target_": SYNCNET, "syncnet": description}}
    assert "give num_frames=25" in refused(training)
    check_config({**training, "num_frames": 25})
