"""The sync loss: generated lips match the sound in the eyes of a frozen SyncNet (LatentSync, Eq. 3)."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentsync.errors import UserError
from latentsync.losses.loss import Loss, LossInputs
from latentsync.models.syncnet import StableSyncNet
from latentsync.weights.registry import NAMES
from latentsync.weights.syncnet import load_syncnet

# The SyncNet of the published stage 2, for `untrained`.
PUBLISHED: dict[str, Any] = {
    "audio_encoder": {
        "in_channels": 1,
        "block_out_channels": [32, 64, 128, 256, 512, 1024, 2048],
        "downsample_factors": [[2, 1], 2, 2, 1, 2, 2, [2, 3]],
        "attn_blocks": [0, 0, 0, 1, 1, 0, 0],
        "dropout": 0.0,
    },
    "visual_encoder": {
        "in_channels": 48,
        "block_out_channels": [64, 128, 256, 256, 512, 1024, 2048, 2048],
        "downsample_factors": [[1, 2], 2, 2, 2, 2, 2, 2, 2],
        "attn_blocks": [0, 0, 0, 0, 1, 1, 0, 0],
        "dropout": 0.0,
    },
}


class SyncLoss(Loss):
    """−log(max(cos, 0)) of the two embeddings: binary cross-entropy with target 1, in float32.

    It looks at decoded frames, or at the clean latents if that is what the SyncNet was trained on.
    num_frames: of the clips that it will see. Raises UserError if the SyncNet takes another number.
    """

    def __init__(self, syncnet: StableSyncNet, num_frames: int | None = None) -> None:
        super().__init__()
        self.syncnet = syncnet.eval().requires_grad_(False)
        self.needs = "latents" if syncnet.config["latent_space"] else "clip"
        if num_frames not in (None, syncnet.config["num_frames"]):
            raise UserError(
                f"model.objective.sync_loss: its SyncNet takes {syncnet.config['num_frames']} frames, but num_frames="
                f"{num_frames}; give as many, another SyncNet, or model.objective.sync=0"
            )

    @classmethod
    def from_pretrained(
        cls, path: str | Path, num_frames: int | None = None, version: str | float = "1.5"
    ) -> "SyncLoss":
        """With a SyncNet: a folder of ours, a published `.pt`, a training checkpoint or a known name.

        version: "1.0" takes LatentSync 1.0's. Raises UserError if there is none, or if its weights are damaged, of
        another version, or lack, exceed or misshape a key.
        """
        if not Path(path).exists() and str(path) not in NAMES:
            raise UserError(
                f"objective.sync: there is no SyncNet in '{path}'; train one (experiment=syncnet_demo), run "
                "`python -m latentsync.weights fetch stable-syncnet`, or set model.objective.sync=0"
            )
        return cls(load_syncnet(path, version=version), num_frames)

    @classmethod
    def untrained(cls, path: str | Path, num_frames: int | None = None, version: str | float = "1.5") -> "SyncLoss":
        """In the size of the SyncNet in the folder `path`, or of the published one if there is no folder."""
        there = (Path(path) / "config.json").is_file()
        return cls(StableSyncNet.from_config(StableSyncNet.load_config(path) if there else PUBLISHED), num_frames)

    def enable_gradient_checkpointing(self) -> None:
        self.syncnet.enable_gradient_checkpointing()

    def forward(self, inputs: LossInputs) -> Tensor:
        generated = inputs.clean_pred.transpose(1, 2) if self.needs == "latents" else inputs.pixels()[0]
        cosine = self.syncnet.cosine(generated, inputs.mel)
        with torch.autocast(cosine.device.type, enabled=False):
            cosine = cosine.clamp(0, 1)
            return F.binary_cross_entropy(cosine, torch.ones_like(cosine))
