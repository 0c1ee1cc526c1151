"""What a lip-sync U-Net is trained with, kept in its checkpoints: autoencoder, audio encoder, resolution, schedule."""

from collections.abc import Mapping
from typing import Any

from latentsync.data.sample import ClipBatch, MadeWith
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.weights.companions import ALIGNMENT, MASK, Companions, Part, portable


class TrainedWith:
    """Collects a model's companions; `told` is what checkpoints and exports say.

    autoencoder: as it was loaded, before its type is changed. The audio encoder and the window's frames are known from
    the first batch on: batches say which encoder their tokens are from.
    """

    def __init__(self, autoencoder: FrameAutoencoder, resolution: int, schedule: NoiseSchedule) -> None:
        names = ("num_train_timesteps", "beta_start", "beta_end", "standardize_start_noise", "prediction_type")
        numbers = {name: getattr(schedule, name) for name in names}
        self._autoencoder = portable(autoencoder.origin)
        self._audio_encoder: Part | None = None
        self._seen: MadeWith = {}
        self._rest: dict[str, Any] = {"resolution": resolution, "schedule": numbers}

    def hears(self, batch: ClipBatch) -> None:
        """Take note of what a batch was made with. Raises UserError for tokens or latents of other networks."""
        assert batch.audio_tokens is not None
        self._rest["num_frames"] = batch.audio_tokens.shape[1]
        if batch.made_with == self._seen:
            return
        self._seen = batch.made_with
        self._audio_encoder = same(self._audio_encoder, portable(batch.made_with.get("audio_encoder")), "audio tokens")
        same(self._autoencoder, portable(batch.made_with.get("autoencoder")), "latents")

    @property
    def told(self) -> Companions:
        """For `model.json` and checkpoints."""
        return Companions(self._autoencoder, self._audio_encoder, alignment=ALIGNMENT, mask=MASK, **self._rest)

    def restore(self, told: Mapping[str, Any]) -> None:
        """Go on from a checkpoint: its audio encoder is the one that all further tokens have to be from."""
        before = Companions.of(told, "the checkpoint")
        self._audio_encoder = before.audio_encoder or self._audio_encoder
        if before.num_frames is not None:
            self._rest.setdefault("num_frames", before.num_frames)


def same(before: Part | None, now: Part | None, what: str) -> Part | None:
    """The part that both are, as far as they tell. Raises UserError where fingerprints differ."""
    if before is None or now is None or None in (before.fingerprint, now.fingerprint):
        return before or now
    if before.fingerprint != now.fingerprint:
        raise UserError(
            f"data: {what} of two networks, '{before.source}' ({before.fingerprint}) and '{now.source}' "
            f"({now.fingerprint}); precompute them all with the one that the model is trained with"
        )
    return before
