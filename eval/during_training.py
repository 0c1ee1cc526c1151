"""What the training callback scores with: held-out synthetic people driven by other people's speech."""

from pathlib import Path

from eval.lip_sync import check_settings, evaluate
from eval.lip_sync_report import Settings, means, write_results
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
        self._settings = Settings("in training", num_identities, seconds, num_inference_steps, guidance_scale, seed)
        check_settings(self._settings)
        self._num_frames = num_frames
        self._audio_encoder = load_audio_encoder(audio_encoder).eval()

    def __call__(self, module: LipSyncModule, folder: Path) -> dict[str, float]:
        pipeline = LipSyncPipeline(
            module.unet, module.autoencoder, self._audio_encoder, GivenFaces([]),
            resolution=module.conditioning.mouth_mask.shape[-1], num_frames=self._num_frames, device=module.device,
        )  # fmt: skip
        rows = evaluate(pipeline, self._settings, folder, progress=False)
        write_results(rows, self._settings, folder)
        found = means(rows)
        return {
            "mouth_r": found["generated"]["driving"],
            "own_mouth_r": found["generated"]["source"],
            "psnr_outside_mouth": found["psnr_outside_mouth"],
        }
