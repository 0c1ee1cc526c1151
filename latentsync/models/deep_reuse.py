"""Deep features of the U-Net kept over neighbouring steps of a sampler (DeepCache, Ma et al. 2023).

From step to step the deep levels change little. In the steps between, only the level of the full size is computed: the
first on the way down, and the last on the way up, which takes the deep features of an earlier step.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.unet import UNet3DConditionModel


class _Kept:
    """Computes anew at every `every`th call."""

    def __init__(self, every: int) -> None:
        self._every, self._calls = every, 0
        self._features: Tensor | None = None

    def __call__(self, compute: Callable[[], Tensor]) -> Tensor:
        if self._features is None or self._calls % self._every == 0:
            self._features = compute()
        self._calls += 1
        return self._features


@contextmanager
def deep_features_kept(unet: nn.Module, every: int) -> Iterator[None]:
    """Within it, calls of `unet` are the steps of one sampler; its deep features are computed in each `every`th.

    every=1: in each, which changes nothing. Raises UserError below 1, and for a network that is not ours.
    """
    if every < 1:
        raise UserError(f"feature_reuse={every}: give 1 (off) or more")
    if every == 1:
        yield
        return
    if not isinstance(unet, UNet3DConditionModel):
        raise UserError(f"feature_reuse={every}: {type(unet).__name__} cannot reuse its features")
    unet.deep_features = _Kept(every)
    try:
        yield
    finally:
        unet.deep_features = None
