"""What a loss is shown in a test: the parts that it looks at, and as good as nothing for the others."""

import torch
from torch import Tensor

from latentsync.losses.loss import LossInputs


def inputs(**parts: Tensor) -> LossInputs:
    nothing = {name: torch.zeros(1) for name in ("model_pred", "target", "clean_pred", "clean", "mask", "mel")}
    return LossInputs(**{**nothing, **parts})


def pixels(decoded: Tensor, frames: Tensor) -> LossInputs:
    return inputs(decoded=decoded, frames=frames)
