"""What the training callback scores with: held-out synthetic people driven by other people's speech."""

from pathlib import Path

from eval.lip_sync import DRAWN_METRICS, Plan, check_drawn, check_seeds, measure
from eval.lip_sync_pairs import CROSS, drawn_pairs
from eval.lip_sync_report import by_kind, write_results
from latentsync.face.landmarks import GivenFaces
from latentsync.inference.pipeline import LipSyncPipeline
from latentsync.training.lipsync import LipSyncModule
from latentsync.weights.whisper import load_audio_encoder


class SyntheticHeads:
    """A `training.evaluation.Score`: correlations of the mouth, and PSNR where nothing was generated.

    audio_encoder: what the run's audio tokens come from: a folder, a name that `fetch` knows, or "demo"; num_frames: of
    a window; the others as in configs/eval/lip_sync.yaml. Raises UserError for settings out of range.
    """

    def __init__(
        self,
        audio_encoder: str,
        num_frames: int = 16,
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
        self._num_frames = num_frames
        self._audio_encoder = load_audio_encoder(audio_encoder).eval()

    def __call__(self, module: LipSyncModule, folder: Path) -> dict[str, float]:
        pipeline = LipSyncPipeline(
            module.unet, module.autoencoder, self._audio_encoder, GivenFaces([]),
            resolution=module.conditioning.mouth_mask.shape[-1], num_frames=self._num_frames, device=module.device,
        )  # fmt: skip
        people, seconds, seed = self._drawn
        pairs = drawn_pairs(folder / "sources", people, seconds, pipeline.resolution, seed)
        outcome = measure(pipeline, pairs, self._plan, folder, progress=False)
        write_results(outcome, self._plan.told, folder)
        means = by_kind(outcome)[CROSS]
        return {name: means[name].mean for name in ("mouth_r", "own_mouth_r", "psnr_outside_mouth")}
