"""Which networks recompute their activations in the backward pass instead of keeping them: memory for time."""

from collections.abc import Sequence

from latentsync.errors import UserError
from latentsync.losses.objective import Objective
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.unet import UNet3DConditionModel

PARTS = ("unet", "autoencoder", "perceptual", "trepa", "sync")


def recompute(
    parts: bool | Sequence[str], unet: UNet3DConditionModel, autoencoder: FrameAutoencoder, objective: Objective
) -> None:
    """Turn it on in `parts`: True for all, or some of PARTS; losses of weight 0 are passed over.

    Raises UserError for an unknown part.
    """
    chosen = PARTS if parts is True else tuple(parts or ())
    for part in chosen:
        if part not in PARTS:
            raise UserError(
                f"model.gradient_checkpointing: '{part}' is unknown; give true, false or some of {list(PARTS)}"
            )
    if "unet" in chosen:
        unet.enable_gradient_checkpointing()
    if "autoencoder" in chosen:
        autoencoder.enable_gradient_checkpointing()
    objective.enable_gradient_checkpointing([part for part in chosen if part in PARTS[2:]])
