"""Train a small VideoMAE by masked autoencoding (Tong et al. 2022): TREPA features for the embedded demo model."""

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from transformers import VideoMAEForPreTraining

from latentsync.data.sample import ClipBatch
from latentsync.models.video_encoder import prepare_frames, pretrained_encoder
from latentsync.training.optimization import LRSchedulerFactory, OptimizerFactory, optimizer_config
from latentsync.training.randomness import step_generator


class VideoEncoderModule(lightning.LightningModule):
    """Reconstruct the hidden tubes of a clip from the visible ones.

    videomae: transformers VideoMAEForPreTraining. mask_ratio: share of the spatial patches hidden, the same ones in
    every frame ("tube masking").
    Pooled features of one domain hardly differ between clips, so every validation measures their mean and spread and
    sets the final norm to standardise them: only then does a distance between unit vectors mean something.
    """

    def __init__(
        self,
        videomae: VideoMAEForPreTraining,
        optimizer: OptimizerFactory,
        lr_scheduler: LRSchedulerFactory | None = None,
        mask_ratio: float = 0.75,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.videomae, self.mask_ratio, self.seed = videomae, mask_ratio, seed
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.video_encoder = pretrained_encoder(videomae)  # shares the encoder's weights
        self.video_encoder.final_norm.requires_grad_(False)
        self._features: list[Tensor] = []

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return self._step("train", batch, step_generator(self, self.seed, batch_idx))

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self._step("val", batch, torch.Generator(self.device).manual_seed(self.seed + batch_idx))
        assert batch.target is not None
        self._features.append(self.plain_features(batch.target))

    def plain_features(self, frames: Tensor) -> Tensor:
        """Pooled tokens (B, D) after a norm without weights, for frames (B, F, 3, H, W) in [-1, 1]."""
        pixels = prepare_frames((frames + 1) / 2, self.videomae.config.image_size)
        tokens = self.video_encoder.videomae(pixels).last_hidden_state.mean(dim=1)
        return nn.functional.layer_norm(tokens, tokens.shape[-1:], eps=self.video_encoder.final_norm.eps)

    def on_validation_epoch_end(self) -> None:
        std, mean = torch.std_mean(torch.cat(self._features), dim=0)
        self._features.clear()
        with torch.no_grad():
            self.video_encoder.final_norm.weight.copy_(1 / std.clamp(min=1e-6))
            self.video_encoder.final_norm.bias.copy_(-mean / std.clamp(min=1e-6))

    def _step(self, stage: str, batch: ClipBatch, generator: torch.Generator) -> Tensor:
        assert batch.target is not None
        frames = prepare_frames((batch.target + 1) / 2, self.videomae.config.image_size)
        loss = self.videomae(frames, bool_masked_pos=self.tube_mask(len(frames), generator)).loss
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(frames))
        return loss

    def tube_mask(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """Boolean (B, tubes · patches), true = hidden; each clip hides the same number of patches."""
        config = self.videomae.config
        patches = (config.image_size // config.patch_size) ** 2
        order = torch.rand(batch_size, patches, generator=generator, device=self.device).argsort(dim=1)
        hidden = order < round(self.mask_ratio * patches)
        return hidden.repeat(1, config.num_frames // config.tubelet_size)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optimizer_config(self.videomae.parameters(), self.make_optimizer, self.make_lr_scheduler)
