"""A loss of ours, not of the published system: one-step clean latents against the true ones, where the mouth goes."""

from torch import Tensor

from latentsync.losses.loss import Loss, LossInputs


class CleanLatentsLoss(Loss):
    """mean |ẑ0 − z0| over the generated region.

    The noise MSE says little about the clean latents at large timesteps, where audio decides the mouth; this term does,
    without decoding a pixel. It lets the small demo network learn to listen in minutes.
    """

    def forward(self, inputs: LossInputs) -> Tensor:
        generated = (1 - inputs.mask.float()).expand_as(inputs.clean_pred)
        error = (inputs.clean_pred.float() - inputs.clean.float()).abs() * generated
        return error.sum() / generated.sum().clamp(min=1)
