"""The sync loss: generated lips match the sound in the eyes of a frozen SyncNet (LatentSync, Eq. 3)."""

from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.syncnet import StableSyncNet
from latentsync.weights.syncnet import load_syncnet


def syncnet_frames(frames: Tensor, syncnet: StableSyncNet) -> Tensor:
    """Frames as SyncNet takes them: resized to its resolution, folded into channels, the lower half if it wants that.

    frames: (B, F, C, H, W), pixels in [-1, 1] or latents. Returns (B, F·C, R/2, R). Raises UserError for another F.
    """
    config = syncnet.config
    if frames.shape[1] != config["num_frames"]:
        raise UserError(
            f"SyncNet looks at {config['num_frames']} frames, the clips have {frames.shape[1]}: set num_frames"
        )
    folded = rearrange(frames, "b f c h w -> b (f c) h w")
    if not config["latent_space"] and folded.shape[-1] != config["resolution"]:
        folded = F.interpolate(folded.float(), size=(config["resolution"],) * 2, mode="bicubic")
    return folded[..., folded.shape[-2] // 2 :, :] if config["lower_half"] else folded


class SyncLoss(nn.Module):
    """−log(max(cos, 0)) of the two embeddings: binary cross-entropy with target 1, in float32."""

    def __init__(self, syncnet: StableSyncNet) -> None:
        super().__init__()
        self.syncnet = syncnet.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "SyncLoss":
        """With the SyncNet in the folder `path` (config.json and weights).

        Raises UserError if there is none, or if its weights are damaged or lack, exceed or misshape a key.
        """
        if not (Path(path) / "config.json").is_file():
            raise UserError(
                f"objective.sync: there is no SyncNet in '{path}'; train one (experiment=syncnet_demo), run "
                "`python -m latentsync.weights fetch stable-syncnet`, or set model.objective.sync=0"
            )
        return cls(load_syncnet(path))

    @property
    def latent_space(self) -> bool:
        """Whether it looks at latents rather than at decoded frames."""
        return bool(self.syncnet.config["latent_space"])

    def enable_gradient_checkpointing(self) -> None:
        """Recompute SyncNet's activations in the backward pass."""
        self.syncnet.enable_gradient_checkpointing()

    def train(self, mode: bool = True) -> "SyncLoss":
        """Stays in evaluation mode: the SyncNet is frozen."""
        return super().train(False)

    def forward(self, generated: Tensor, mel: Tensor) -> Tensor:
        """generated: decoded frames (B, F, 3, H, W) in [-1, 1], or latents (B, C, F, h, w); mel: (B, 1, 80, 52)."""
        if self.latent_space:
            generated = rearrange(generated, "b c f h w -> b f c h w")
        vision, audio = self.syncnet(syncnet_frames(generated, self.syncnet), mel)
        with torch.autocast(vision.device.type, enabled=False):
            cosine = F.cosine_similarity(vision.float(), audio.float()).clamp(0, 1)
            return F.binary_cross_entropy(cosine, torch.ones_like(cosine))
