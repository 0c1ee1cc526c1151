"""The perceptual loss: LPIPS of its paper, least for the true frames, blind to the upper half."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loss_inputs import pixels
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from latentsync.errors import UserError
from latentsync.losses.perceptual import PerceptualLoss
from latentsync.media import read_image

FILES = {
    "vgg": "vgg16_features_fp16.pth",
    "alex": "alexnet_features_fp16.pth",
    "squeeze": "squeezenet1_1_features_fp32.pth",
}


@pytest.fixture(scope="module")
def lpips_of(shared: Path) -> Callable[[str], PerceptualLoss]:
    """A function from a net's name to the loss with its ImageNet weights."""
    made: dict[str, PerceptualLoss] = {}

    def loss(net: str) -> PerceptualLoss:
        if net not in made:
            made[net] = PerceptualLoss(net, shared / "assets" / "weights" / FILES[net])
        return made[net]

    return loss


@pytest.fixture(scope="module")
def pictures(shared: Path) -> dict[str, Tensor]:
    """LPIPS' own examples, (1, 3, 64, 64) in [-1, 1]."""
    folder = shared / "assets" / "pictures"
    images = {path.stem: torch.from_numpy(read_image(path)) for path in folder.glob("ex_*.png")}
    return {name: image.permute(2, 0, 1)[None] / 127.5 - 1 for name, image in images.items()}


@pytest.mark.parametrize(("net", "to_p0", "to_p1"), [("vgg", 0.569, 0.422), ("alex", 0.722, 0.138)])
@torch.no_grad()
def test_distances_are_those_of_the_reference(
    net: str, to_p0: float, to_p1: float, lpips_of: Any, pictures: dict[str, Tensor]
) -> None:
    both = torch.cat([pictures["ex_p0"], pictures["ex_p1"]])
    distances = lpips_of(net).distance(pictures["ex_ref"].expand_as(both), both)
    torch.testing.assert_close(distances, torch.tensor([to_p0, to_p1]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("net", list(FILES))
@torch.no_grad()
def test_true_frames_cost_least_and_more_blur_costs_more(net: str, lpips_of: Any, heads: Any) -> None:
    frames = heads.frames()[:3, :2]
    flat = frames.flatten(0, 1)
    blurred = [gaussian_blur(flat, kernel_size=[13, 13], sigma=[sigma]).view_as(frames) for sigma in (1.0, 3.0)]
    true, little, much = (lpips_of(net)(pixels(decoded, frames)).item() for decoded in (frames, *blurred))
    assert true == pytest.approx(0, abs=1e-6)
    assert 0.005 < little < much


@pytest.mark.parametrize("net", list(FILES))
def test_gradient_reaches_the_lower_half_alone(net: str, heads: Any, assert_frozen: Any) -> None:
    # Which region is looked at does not hang on the weights, so this runs where there are none.
    loss, frames = PerceptualLoss.untrained(net), heads.frames()[:1, :2]
    decoded = (0.9 * frames).requires_grad_()
    loss(pixels(decoded, frames)).backward()
    assert decoded.grad is not None
    assert decoded.grad[..., :64, :].abs().max() == 0
    assert (decoded.grad[..., 64:, :].abs().amax(dim=(2, 3, 4)) > 0).all()  # of every frame
    assert_frozen(loss)


def test_unknown_net_is_refused() -> None:
    with pytest.raises(UserError, match=r"net='resnet' is unknown; known: vgg, alex, squeeze"):
        PerceptualLoss("resnet")


def test_missing_backbone_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.safetensors' are missing; .*fetch lpips-alexnet"):
        PerceptualLoss("alex", tmp_path / "none.safetensors")


def test_backbone_of_another_net_is_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(UserError, match=r"part\.pth' lacks 25 tensors, the first is 'features\.0\.bias'"):
        PerceptualLoss("vgg", tmp_path / "part.pth")


def test_weights_of_the_head_are_the_published_ones(lpips_of: Any) -> None:
    heads_of_lpips = [module for module in lpips_of("vgg").lpips.lins if isinstance(module, nn.Module)]
    assert len(heads_of_lpips) == 5
    assert all((parameter >= 0).all() for head in heads_of_lpips for parameter in head.parameters())
