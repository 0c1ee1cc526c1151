"""The noise loss: mean squared error of the predicted noise (DDPM, Eq. 14)."""

import torch.nn.functional as F
from torch import Tensor

from latentsync.losses.loss import Loss, LossInputs


class NoiseLoss(Loss):
    """MSE(ε̂, ε) in float32; of velocities under `schedule.prediction_type=v_prediction`."""

    def forward(self, inputs: LossInputs) -> Tensor:
        return F.mse_loss(inputs.model_pred.float(), inputs.target.float())
