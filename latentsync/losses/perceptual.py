"""The perceptual loss: LPIPS on the lower half of the face (Zhang et al. 2018; LatentSync, Eq. 4)."""

import warnings
from pathlib import Path

import lpips
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentsync.errors import UserError
from latentsync.losses.loss import Loss, LossInputs, Needs
from latentsync.weights.adapter import load_file

CHUNK = 8  # frames whose activations are recomputed together
FETCH_NAMES = {"vgg": "lpips-vgg16", "alex": "lpips-alexnet", "squeeze": "lpips-squeezenet"}


class PerceptualLoss(Loss):
    """LPIPS with its published linear weights and a torchvision backbone loaded from a file.

    net: "vgg" (published), "alex" or "squeeze". weights_path: the backbone's convolution part, torchvision key names
    (`features.0.weight`, …), .safetensors or .pth. Raises UserError if the file is missing or does not fit.
    """

    needs: Needs = "frames"

    def __init__(
        self, net: str = "vgg", weights_path: str | Path = "checkpoints/lpips/vgg16_features.safetensors"
    ) -> None:
        super().__init__()
        if net not in FETCH_NAMES:
            raise UserError(f"perceptual loss: net='{net}' is unknown; known: {', '.join(FETCH_NAMES)}")
        if not Path(weights_path).is_file():
            raise UserError(
                f"perceptual loss: backbone weights '{weights_path}' are missing; get them with: "
                f"python -m latentsync.weights fetch {FETCH_NAMES[net]}"
            )
        self._build(net)
        self._load_backbone(load_file(weights_path), str(weights_path))

    @classmethod
    def untrained(cls, net: str = "vgg", weights_path: str | Path = "") -> "PerceptualLoss":
        """In full size, with random weights, whatever `weights_path`."""
        loss = cls.__new__(cls)
        nn.Module.__init__(loss)
        loss._build(net, pretrained=False)
        return loss

    def _build(self, net: str, pretrained: bool = True) -> None:
        """pretrained: with the published linear weights on top of the backbone."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchvision's deprecation of `pretrained`, which lpips still passes
            self.lpips = lpips.LPIPS(net=net, pretrained=pretrained, pnet_rand=True, verbose=False)
        self.lpips.eval().requires_grad_(False)
        self.gradient_checkpointing = False

    def _load_backbone(self, state: dict[str, Tensor], name: str) -> None:
        """Fill lpips' slices, whose layers keep torchvision's numbers: slice1.0.weight is features.0.weight."""
        own = {key: key.split(".", 1)[1] for key in self.lpips.net.state_dict()}
        found = {key.removeprefix("features."): value.float() for key, value in state.items()}
        if missing := sorted(set(own.values()) - set(found)):
            raise UserError(
                f"perceptual loss: '{name}' lacks {len(missing)} tensors, the first is 'features.{missing[0]}'"
            )
        self.lpips.net.load_state_dict({key: found[number] for key, number in own.items()})

    def enable_gradient_checkpointing(self) -> None:
        """A chunk of frames at a time."""
        self.gradient_checkpointing = True

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """LPIPS (N,) between pictures (N, 3, H, W) in [-1, 1]."""
        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            return self.lpips(one, other).flatten()
        chunks = zip(one.split(CHUNK), other.split(CHUNK))
        return torch.cat([checkpoint(self.lpips, *chunk, use_reentrant=False).flatten() for chunk in chunks])

    def forward(self, inputs: LossInputs) -> Tensor:
        lower = [video.flatten(0, 1)[..., video.shape[-2] // 2 :, :] for video in inputs.pixels()]
        return self.distance(*lower).mean()
