"""Which networks recompute their activations in the backward pass instead of keeping them: memory for time."""

from collections.abc import Sequence
from typing import Any

from latentsync.errors import UserError
from latentsync.losses.objective import Objective
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.unet import UNet3DConditionModel


def recompute(
    parts: bool | Sequence[str], unet: UNet3DConditionModel, autoencoder: FrameAutoencoder, objective: Objective
) -> None:
    """Turn it on in `parts`: True for all, or some of unet, autoencoder and the objective's losses.

    Losses of weight 0 are passed over. Raises UserError for an unknown part.
    """
    networks: dict[str, Any] = {"unet": unet, "autoencoder": autoencoder, **objective.losses}
    known = ["unet", "autoencoder", *objective.names]
    for part in known if parts is True else list(parts or ()):
        if part not in known:
            raise UserError(f"model.gradient_checkpointing: '{part}' is unknown; give true, false or some of {known}")
        if part in networks:
            networks[part].enable_gradient_checkpointing()
