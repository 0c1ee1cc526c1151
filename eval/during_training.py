"""What the training callback scores with: held-out synthetic people driven by other people's speech."""

from pathlib import Path

from eval.lip_sync import DRAWN_METRICS, Plan, check_drawn, check_seeds, measure
from eval.lip_sync_pairs import CROSS, drawn_pairs
from eval.lip_sync_report import by_kind, write_results
from latentsync.errors import UserError
from latentsync.face.landmarks import GivenFaces
from latentsync.inference.pipeline import LipSyncPipeline
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.training.lipsync import LipSyncModule
from latentsync.weights.bundle import PUBLISHED_FRAMES, check_fingerprint
from latentsync.weights.whisper import load_audio_encoder


class SyntheticHeads:
    """A `training.evaluation.Score`: correlations of the mouth, and PSNR where nothing was generated.

    Networks, noise schedule, resolution and frames are those of the module in training, and so is the audio encoder, as
    far as the batches say whose tokens they hold. audio_encoder: where they do not (older shards), or another one: a
    folder, a name that `fetch` knows, a Whisper file or a model; the others as in configs/eval/lip_sync.yaml.
    Raises UserError for settings out of range.
    """

    def __init__(
        self,
        audio_encoder: str | None = None,
        num_identities: int = 2,
        seconds: float = 1.28,
        num_inference_steps: int = 10,
        guidance_scale: float = 1.0,
        seed: int = 1,
    ) -> None:
        check_drawn(num_identities, seconds)
        check_seeds([seed], guidance_scale, num_inference_steps)
        options = {"guidance_scale": guidance_scale, "num_inference_steps": num_inference_steps}
        told = {"weights": "in training", "num_identities": num_identities, "seconds": seconds, "seed": seed, **options}
        self._plan = Plan([seed], {name: {} for name in DRAWN_METRICS}, "json", options, [CROSS], told)
        self._drawn = num_identities, seconds, seed
        self._given = None if audio_encoder is None else load_audio_encoder(audio_encoder)
        self._encoder: AudioEncoder | None = None

    def prepare(self, module: LipSyncModule) -> None:
        """After the first batch, which has told whose audio tokens it holds: raise UserError if nothing tells."""
        part, key = module.trained_with.told.audio_encoder, "callbacks.evaluation.score.audio_encoder"
        if self._given is None and part is None:
            raise UserError(f"{key}: the shards do not say which encoder their audio tokens are from; give it")
        if self._encoder is None:
            self._encoder = self._given or load_audio_encoder(part.source if part else "")
            given = None if self._given is None else (self._given.origin or {}).get("source")
            check_fingerprint("callbacks.evaluation", "audio_encoder", part, self._encoder.origin, given)

    def __call__(self, module: LipSyncModule, folder: Path) -> dict[str, float]:
        self.prepare(module)
        assert self._encoder is not None
        told = module.trained_with.told
        pipeline = LipSyncPipeline(
            module.unet, module.autoencoder, self._encoder, GivenFaces([]),
            resolution=module.conditioning.mouth_mask.shape[-1], num_frames=told.num_frames or PUBLISHED_FRAMES,
            device=module.device, schedule=module.schedule,
        )  # fmt: skip
        people, seconds, seed = self._drawn
        pairs = drawn_pairs(folder / "sources", people, seconds, pipeline.resolution, seed)
        outcome = measure(pipeline, pairs, self._plan, folder, progress=False)
        write_results(outcome, self._plan.told, folder)
        means = by_kind(outcome)[CROSS]
        return {name: means[name].mean for name in ("mouth_r", "own_mouth_r", "psnr_outside_mouth")}
