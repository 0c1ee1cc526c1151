"""The U-Net answers as the published one, for every configuration in the manifest."""

from typing import Any

import torch
from golden_folder import Golden, assert_close, fill, under_either_reading

from latentsync.models.unet import UNet3DConditionModel

KIND = "unet"
TIMESTEPS = (981, 17)  # of the clips of a batch, in turn, unless the manifest gives others
NUM_TOKENS = 50  # a frame; the same whatever their width


def network_config(golden: Golden) -> dict[str, Any]:
    """The U-Net's own part of a manifest's configuration."""
    return {key: value for key, value in golden.config.items() if key != "timesteps"}


def published_unet(golden: Golden) -> torch.nn.Module:
    """The network of a manifest entry; the position tables of the temporal layers are not listed there."""
    return fill(UNet3DConditionModel(**network_config(golden)), golden.weights, may_lack=".pos_encoder.pe")


@under_either_reading
def test_unet_answers_as_published(golden: Golden) -> None:
    output = golden.arrays["output"]
    batch, _, num_frames, height, width = output.shape
    given = golden.entry.get("timesteps", golden.config.get("timesteps", TIMESTEPS))
    timesteps = torch.tensor([given[clip % len(given)] for clip in range(batch)])
    sample = golden.tensor(f"{golden.name}.sample", batch, golden.config["in_channels"], num_frames, height, width)
    audio_width = golden.config["cross_attention_dim"]
    tokens = golden.tensor(f"{golden.name}.audio", batch, num_frames, NUM_TOKENS, audio_width)
    with torch.inference_mode():
        ours = published_unet(golden)(sample, timesteps, tokens)
    assert_close(ours, output, relative=1e-4, what="output")


def test_unet_has_the_published_keys_and_shapes(golden: Golden) -> None:
    with torch.device("meta"):
        own = UNet3DConditionModel(**network_config(golden)).state_dict()
    listed = golden.entry["state_dict"]
    ours = {
        key: list(value.shape) for key, value in own.items() if key in listed or not key.endswith(".pos_encoder.pe")
    }
    assert ours == listed
