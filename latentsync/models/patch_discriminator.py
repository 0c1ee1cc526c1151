"""The adversary of autoencoder training: is this patch of a picture real? (PatchGAN, Isola et al. 2017)."""

from collections.abc import Sequence

from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Strided convolutions that end in one logit for each patch.

    block_out_channels: channels after each halving; the patch a logit sees grows with their number (22 pixels for two,
    46 for three). norm_num_groups: of the group normalisation, which must divide all but the first.
    """

    def __init__(self, block_out_channels: Sequence[int] = (32, 64, 128), norm_num_groups: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, out in zip((3, *block_out_channels), block_out_channels):
            layers.append(nn.Conv2d(channels, out, kernel_size=4, stride=2, padding=1))
            if channels != 3:
                layers.append(nn.GroupNorm(norm_num_groups, out))
            layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers, nn.Conv2d(block_out_channels[-1], 1, kernel_size=4, padding=1))

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (B, 1, h, w) of frames (B, 3, H, W) in [-1, 1], positive for real ones."""
        return self.layers(frames)
