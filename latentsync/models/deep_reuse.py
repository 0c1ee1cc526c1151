"""A U-Net whose deep features are kept over neighbouring steps of a sampler (DeepCache, Ma et al. 2023).

From step to step the deep levels change little. In the steps between, only the level of the full size is computed: the
first on the way down, and the last on the way up, which takes the deep features of an earlier step.
"""

from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.unet import UNet3DConditionModel


class DeepReuse(nn.Module):
    """Called as `unet` is, for the steps of one sampler in turn; computes deep features in each `every`th of them.

    Raises UserError for every < 1, and for a network that is not ours.
    """

    def __init__(self, unet: nn.Module, every: int) -> None:
        super().__init__()
        if every < 1:
            raise UserError(f"feature_reuse={every}: give 1 (off) or more")
        if not isinstance(unet, UNet3DConditionModel):
            raise UserError(f"feature_reuse={every}: {type(unet).__name__} cannot reuse its features")
        self.unet, self.every = unet, every
        self._calls = 0
        self._features: Tensor | None = None

    def forward(self, sample: Tensor, timesteps: Tensor | float, encoder_hidden_states: Tensor) -> Tensor:
        skips, condition = self.unet.enter(sample, timesteps, encoder_hidden_states)
        kept = self._features  # of other clips, where guidance began or ended in between
        if kept is None or self._calls % self.every == 0 or len(kept) != len(skips[-1]):
            self._features = self.unet.deep(skips[-1], condition)
        self._calls += 1
        assert self._features is not None
        return self.unet.leave(self._features, skips, condition)
