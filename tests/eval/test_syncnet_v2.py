"""SyncNet v2: the published system's answer, the offset of a shifted track, and bad input."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from eval.syncnet_v2 import (
    SyncNetV2,
    SyncNetV2Scorer,
    embed,
    load_syncnet_v2,
    mfcc,
    score_embeddings,
    shifted_distances,
    without_prefix,
)
from latentsync.errors import UserError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "goldens"))
import formula


@pytest.fixture(scope="module")
def entry(goldens: Path) -> dict:
    return json.loads((goldens / "manifest.json").read_text())["syncnet_v2_eval"]


@pytest.fixture(scope="module")
def answers(goldens: Path) -> dict[str, np.ndarray]:
    return dict(np.load(goldens / "syncnet_v2_eval.npz"))


@pytest.fixture(scope="module")
def weights_file(entry: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in for `syncnet_v2.model`: formula weights under the published keys."""
    state = {k: torch.from_numpy(v) for k, v in formula.weights(entry["state_dict"], entry["salt"]).items()}
    path = tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model"
    torch.save(state, path)
    return path


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Within 1e-3 of the largest value."""
    return np.abs(np.asarray(ours) - theirs).max() <= 1e-3 * np.abs(theirs).max()


def test_mfcc_equals_the_published_one(entry: dict, answers: dict[str, np.ndarray]) -> None:
    samples = (formula.wave(2.0) * 32767).astype(np.int16)
    assert close(mfcc(samples).T, answers["mfcc"])


def test_protocol_gives_the_published_answer(entry: dict, answers: dict[str, np.ndarray], weights_file: Path) -> None:
    network = load_syncnet_v2(weights_file)
    small = [formula.image(120, 120, i) for i in range(entry["config"]["frames"])]
    frames = np.stack([cv2.resize(image, (224, 224)) for image in small])
    video, audio = embed(network, frames, (formula.wave(2.0) * 32767).astype(np.int16), batch_size=7)
    score = score_embeddings(video, audio)

    assert len(video) == entry["config"]["windows"]
    assert close(video[0].numpy(), answers["vision_embeds_0"])
    assert close(audio[0].numpy(), answers["audio_embeds_0"])
    assert close(score.distances, answers["mean_dists"])
    assert score.offset == int(answers["av_offset"])
    assert score.min_distance == pytest.approx(float(answers["min_dist"]), rel=1e-3)
    assert score.confidence == pytest.approx(float(answers["confidence"]), rel=1e-3)


def test_key_table_is_the_published_one(shared: Path) -> None:
    table = json.loads((shared / "goldens" / "state_dicts" / "syncnet_v2_state_dict.json").read_text())
    with torch.device("meta"):
        network = SyncNetV2()
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == table
    assert sum(value.numel() for value in network.state_dict().values()) == 13_640_270


@pytest.mark.parametrize("late", [-9, 0, 4])
def test_sound_that_lags_by_n_frames_has_offset_minus_n(late: int) -> None:
    track = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))
    video, audio = track[20:50], track[20 - late : 50 - late]  # the sound of frame i stands at i + late
    score = score_embeddings(video, audio)
    assert score.offset == -late
    assert score.confidence > 1
    assert shifted_distances(video, audio).argmin() == 15 + late


def test_silence_has_finite_cepstra_and_one_row_each_ten_milliseconds() -> None:
    cepstra = mfcc(np.zeros(16000))
    assert cepstra.shape == (99, 13)
    assert np.isfinite(cepstra).all()


def test_prefixes_before_the_keys_are_taken_off() -> None:
    state = {"__S__.netcnnaud.0.weight": torch.zeros(1), "__S__.netfcaud.0.bias": torch.zeros(1)}
    assert set(without_prefix(state)) == {"netcnnaud.0.weight", "netfcaud.0.bias"}


def test_too_short_track_and_wrong_size_are_refused(weights_file: Path) -> None:
    scorer = SyncNetV2Scorer(weights_file)
    with pytest.raises(UserError, match="too short"):
        scorer.score(np.zeros((5, 224, 224, 3), np.uint8), np.zeros(16000, np.float32))
    with pytest.raises(UserError, match="224"):
        scorer.score(np.zeros((30, 96, 96, 3), np.uint8), np.zeros(16000, np.float32))


def test_absent_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fetch syncnet-v2"):
        load_syncnet_v2(tmp_path / "syncnet_v2.model")
