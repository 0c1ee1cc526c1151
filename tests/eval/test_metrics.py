"""Metrics have the values of their definitions."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import lpips
import numpy as np
import pytest
import torch
from torchmetrics.image import StructuralSimilarityIndexMeasure

from data_prep.stable_syncnet_scorer import StableSyncNetScorer
from eval.metrics import silence
from eval.metrics.fid import FaceFid
from eval.metrics.flicker import WarpedFlicker
from eval.metrics.fvd import FaceFvd
from eval.metrics.i3d import I3D, load_i3d, own_names
from eval.metrics.metric import FramePair, Heard, NotComputed
from eval.metrics.mouth_landmarks import LIPS, MouthLandmarks, distance
from eval.metrics.mouth_truth import MouthTruth
from eval.metrics.registry import METRICS, check_names, make_metric
from eval.metrics.similarity import LpipsDistance, Similarity
from eval.metrics.sync import PIECE, HeadPieces, Pieces, SyncStable
from eval.results import Summary, table
from eval.sets import Moments, frechet_distance
from latentsync.errors import UserError
from latentsync.face.landmarks import Face
from latentsync.face.mouth_mask import mouth_mask
from latentsync.synthetic.clip import draw_clip

SIDE = 64


def picture(seed: int, side: int = SIDE) -> np.ndarray:
    """Smooth colours."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)


def pair(index: int, crop: np.ndarray, reference: np.ndarray | None = None, **parts: object) -> FramePair:
    face = Face(np.zeros((3, 2)), (0, 0, 10, 10))
    base = {"image": crop, "crop": crop, "face": face, "reference_image": reference, "reference_crop": reference}
    return FramePair(index, **{**base, **parts})


def measured(metric: object, pairs: list[FramePair], heard: Heard | None = None) -> dict[str, float]:
    measurement = metric.begin()
    for one in pairs:
        measurement.add(one)
    return measurement.values(heard or Heard())


def test_ssim_is_that_of_torchmetrics_and_psnr_of_a_known_error_is_known() -> None:
    crops = [picture(n) // 2 + 50 for n in range(11)]
    found = measured(Similarity(), [pair(n, crop, crop + 5) for n, crop in enumerate(crops)])
    assert found["psnr"] == pytest.approx(20 * np.log10(255 / 5), abs=1e-3)
    whole = StructuralSimilarityIndexMeasure(data_range=1.0)
    one, other = (torch.from_numpy(np.stack(p)).permute(0, 3, 1, 2) / 255 for p in (crops, [c + 5 for c in crops]))
    assert found["ssim"] == pytest.approx(float(whole(one, other)), abs=1e-5)
    assert measured(Similarity(), [pair(0, crops[0], crops[0])])["psnr"] == 100.0


def test_metric_against_a_reference_says_so_where_there_is_none() -> None:
    with pytest.raises(NotComputed, match="no reference"):
        measured(Similarity(), [pair(0, picture(0))])
    with pytest.raises(NotComputed, match="no frame with a face"):
        measured(Similarity(), [])


@pytest.mark.parametrize(
    ("net", "file", "known"), [("alex", "alexnet", (0.722, 0.138)), ("vgg", "vgg16", (0.569, 0.422))]
)
def test_lpips_has_the_published_values(shared: Path, net: str, file: str, known: tuple[float, float]) -> None:
    assets = shared / "assets"
    metric = LpipsDistance(net, assets / "weights" / f"{file}_features_fp16.pth")
    names = ("ex_ref", "ex_p0", "ex_p1")
    shown = [cv2.imread(str(assets / "pictures" / f"{name}.png"))[..., ::-1] for name in names]
    for other, expected in zip(shown[1:], known):
        assert measured(metric, [pair(0, other, shown[0])])["lpips"] == pytest.approx(expected, abs=2e-3)
    rare = LpipsDistance(net, assets / "weights" / f"{file}_features_fp16.pth", every=2)
    assert measured(rare, [pair(0, shown[1], shown[0]), pair(1, shown[2], shown[0])])["lpips"] == pytest.approx(
        known[0], abs=2e-3
    )
    own = lpips.im2tensor(shown[0]), lpips.im2tensor(shown[1])
    assert float(metric._network.distance(*own)) == pytest.approx(known[0], abs=2e-3)


def test_lmd_ignores_where_the_mouth_is_and_measures_how_far_the_lips_differ() -> None:
    points = np.random.default_rng(0).uniform(0, 200, (478, 2))
    points[10], points[152] = (100, 0), (100, 200)
    moved, open_ = points + np.array([7, -3]), points.copy()
    half = list(LIPS[: len(LIPS) // 2])
    open_[half] += [0, 4]
    assert distance(points, moved) == pytest.approx(0, abs=1e-9)
    assert distance(points, open_) == pytest.approx(2.0)  # half of the points by 4, all of them by 2 from their centre
    faces = [Face(np.zeros((3, 2)), (0, 0, 1, 1), mesh) for mesh in (open_, points)]
    crop = picture(0)
    found = measured(MouthLandmarks(), [pair(0, crop, crop, face=faces[0], reference_face=faces[1])])
    assert found == {"lmd": pytest.approx(1.0), "lmd_raw": pytest.approx(2.0)}


def test_lmd_without_a_mesh_says_what_it_needs() -> None:
    crop = picture(0)
    bare = Face(np.zeros((3, 2)), (0, 0, 1, 1))
    with pytest.raises(NotComputed, match="finder=mediapipe"):
        measured(MouthLandmarks(), [pair(n, crop, crop, face=bare, reference_face=bare) for n in range(8)])


def test_i3d_reads_both_spellings_of_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {k: v for k, v in I3D().state_dict().items() if not k.endswith(("bn.weight", "num_batches_tracked"))}
    short = {"Branch_0.Conv3d_0a_1x1": "b0", "Branch_1.Conv3d_0a_1x1": "b1a", "Branch_1.Conv3d_0b_3x3": "b1b"}
    short |= {"Branch_2.Conv3d_0a_1x1": "b2a", "Branch_2.Conv3d_0b_3x3": "b2b", "Branch_3.Conv3d_0b_1x1": "b3b"}
    other = {}
    for key, value in state.items():
        for long, name in short.items():
            key = key.replace(long, name)
        other[key.replace("Logits.Conv3d_0c_1x1.", "logits.").replace(".conv.", ".conv3d.")] = value
    assert set(own_names(other)) == set(state)
    clip = torch.rand(1, 3, 16, 224, 224) * 2 - 1
    answers = []
    for number, spelling in enumerate((state, other)):
        torch.save(spelling, tmp_path / f"{number}.pt")
        answers.append(load_i3d(tmp_path / f"{number}.pt")(clip))
    assert answers[0].shape == (1, 400)
    assert torch.equal(*answers)
    torch.save(dict(list(state.items())[1:]), tmp_path / "less.pt")
    with pytest.raises(UserError, match=r"Conv3d_1a_7x7\.conv\.weight"):
        load_i3d(tmp_path / "less.pt")


def test_real_i3d_sees_that_a_clip_is_of_a_talking_head_like_another(shared: Path) -> None:
    network = load_i3d(shared / "assets" / "weights" / "i3d_k400_rgb_fp16.pth")
    heads = [draw_clip(person, 0.64, 224, 1).frames for person in (100_001, 100_002)]
    clips = torch.from_numpy(np.stack(heads)).permute(0, 4, 1, 2, 3) / 127.5 - 1
    one, other = network(clips)
    (rubbish,) = network(torch.rand(1, 3, 16, 224, 224) * 2 - 1)
    assert torch.cosine_similarity(one, other, dim=0) > torch.cosine_similarity(one, rubbish, dim=0)


class Recorder:
    """Stands in for I3D: keeps what it is shown."""

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []

    def __call__(self, clips: torch.Tensor) -> torch.Tensor:
        self.shown.append(clips.numpy())
        return clips.mean(dim=(1, 3, 4))[:, :4]


@pytest.fixture
def i3d(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Recorder:
    recorder = Recorder()
    (tmp_path / "i3d.pth").touch()
    monkeypatch.setattr("eval.metrics.fvd.load_i3d", lambda path, device: recorder)
    monkeypatch.setenv("I3D", str(tmp_path / "i3d.pth"))
    return recorder


def walls(count: int, number: int = 255) -> list[FramePair]:
    """Pictures (100, 200) that are black on the left and of a grey level on the right, with a head between."""
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 100:] = number
    face = Face(np.array([[88.0, 40], [112, 40], [100, 52]]), (0, 0, 10, 10))
    return [pair(index, picture(0), image=image, face=face) for index in range(count)]


@pytest.mark.parametrize(("protocol", "lowest"), [("standard", -1.0), ("published", 0.0)])
def test_fvd_shows_i3d_the_range_of_its_protocol(
    protocol: str, lowest: float, i3d: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.metrics.fvd.BoxDetector", lambda path: Boxes((60, 10, 140, 90)))
    metric = FaceFvd(os.environ["I3D"], protocol=protocol)
    features = measured(metric, walls(40))["fvd"]
    assert len(features) == len(i3d.shown) == 1
    (clip,) = i3d.shown
    assert clip.shape == (1, 3, 16, 224, 224)
    assert (clip.min(), clip.max()) == (lowest, 1.0)
    half = measured(metric, walls(40, number=51))["fvd"]
    assert i3d.shown[1].max() == pytest.approx(0.2 if lowest == 0 else -0.6)
    assert half.shape == features.shape


class Boxes:
    """Stands in for the face detector."""

    def __init__(self, box: tuple[int, int, int, int] | None) -> None:
        self.box = box

    def first_box(self, image: np.ndarray) -> tuple[int, int, int, int] | None:
        return self.box


def test_published_fvd_stretches_the_detectors_box_of_frames_20_to_35(
    i3d: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = Boxes((40, 20, 160, 60))
    monkeypatch.setattr("eval.metrics.fvd.BoxDetector", lambda path: boxes)
    metric = FaceFvd(os.environ["I3D"], protocol="published")
    assert metric.definitions[0].title == "FVD (published, I3D K400 RGB)"
    pairs = [pair(n, picture(0), image=np.full((100, 200, 3), n, np.uint8)) for n in range(60)]
    pairs[20].image[:] = picture(3, 200)[:100]
    measured(metric, pairs)
    shown = np.rint(i3d.shown[0][0] * 255)  # (3, 16, 224, 224)
    assert shown[0, 1:, 0, 0].tolist() == list(range(21, 36))
    expected = cv2.resize(pairs[20].image[20:60, 40:160], (224, 224), interpolation=cv2.INTER_AREA)
    assert np.array_equal(shown[:, 0].transpose(1, 2, 0), expected)
    boxes.box = None
    with pytest.raises(NotComputed, match="frames 20 to 35"):
        measured(metric, pairs)


def test_every_table_with_fvd_says_which_i3d_it_is_of(i3d: Recorder) -> None:
    (definition,) = FaceFvd(os.environ["I3D"]).definitions
    head, _, row, empty, note = table({"ours": {"fvd": Summary(9.0, 8.0, 10.0, 4)}}, {"fvd": definition}, {}).split(
        "\n"
    )
    assert "FVD (standard, I3D K400 RGB) ↓" in head
    assert row.startswith("| ours |")
    assert empty == ""
    assert "rgb_imagenet.pt" in note
    assert "i3d_torchscript.pt: the two cannot be compared" in note


def test_standard_fvd_frames_both_sides_by_one_square_that_stands_still(i3d: Recorder) -> None:
    metric = FaceFvd(os.environ["I3D"], first=2, every=20)
    assert metric.definitions[0].title == "FVD (standard, I3D K400 RGB)"
    pairs = walls(40)
    wandering = [
        pair(p.index, p.crop, image=p.image, face=moved(p.face, p.index), reference_face=p.face) for p in pairs
    ]
    measured(metric, pairs)
    measured(metric, wandering)
    assert len(i3d.shown) == 4, "frames 2 to 17 and 22 to 37"
    assert np.array_equal(i3d.shown[0], i3d.shown[2])
    measured(metric, [replace(p, reference_face=None) for p in wandering])
    clip = i3d.shown[4][0]
    assert np.array_equal(clip[:, 0], clip[:, 15])
    with pytest.raises(UserError, match="choose one of standard, published"):
        FaceFvd(os.environ["I3D"], protocol="both")


def moved(face: Face, by: float) -> Face:
    return Face(face.landmarks3 + np.array([by % 3, 0]), face.box)


def test_sync_crops_of_heads_stand_still_and_follow_gaps() -> None:
    seen: list[np.ndarray] = []

    def embed(frames: np.ndarray) -> int:
        seen.append(frames)
        return len(frames)

    pieces = HeadPieces(embed, lambda count, wave: 1.0, lambda scores: {"frames": sum(n for n, _ in scores)})
    pairs = walls(100)
    jitter = np.random.default_rng(0).integers(-2, 3, 100)
    for p in pairs[:50] + pairs[55:]:
        pieces.add(replace(p, face=moved(p.face, 0) if jitter[p.index] else moved(p.face, 1)))
    assert pieces.values(Heard(np.zeros(100 * 640)))["frames"] == 95
    assert [frames.shape for frames in seen] == [(50, 224, 224, 3), (45, 224, 224, 3)]
    assert all(np.array_equal(frames[0], frame) for frames in seen for frame in frames), "the median of the boxes"


def test_flicker_is_nothing_for_still_and_gliding_pictures_and_grows_with_noise() -> None:
    large = picture(3, 2 * SIDE)
    gliding = [pair(n, large[n : n + SIDE, n : n + SIDE]) for n in range(6)]
    still = [pair(n, large[:SIDE, :SIDE]) for n in range(6)]
    noisy = []
    for deviation in (4, 16):
        draw = np.random.default_rng(0).normal(0, deviation, (6, SIDE, SIDE, 3))
        noisy.append([pair(n, (large[:SIDE, :SIDE] + draw[n]).clip(0, 255).astype(np.uint8)) for n in range(6)])
    values = [measured(WarpedFlicker(), pairs)["flicker_outside"] for pairs in (still, gliding, *noisy)]
    assert values[0] < 0.05
    assert values[1] < 2 < values[2] < values[3]


def test_flicker_of_the_mouth_alone_is_counted_there() -> None:
    base = picture(5, 128)
    inside = (mouth_mask(128)[0].numpy() == 0)[..., None]
    draw = np.random.default_rng(0).integers(-30, 30, (5, 128, 128, 1))
    shown = [np.where(inside, (base + draw[n]).clip(0, 255), base).astype(np.uint8) for n in range(5)]
    found = measured(WarpedFlicker(), [pair(n, crop) for n, crop in enumerate(shown)])
    assert found["flicker_mouth"] > 5 * found["flicker_outside"]


def test_silences_are_found_where_they_are() -> None:
    wave = np.sin(np.arange(3 * 16000) * 0.3)
    wave[16000:32000] = 0  # frames 25 to 49
    wave[40000:41280] = 0  # two frames: too short
    assert silence.silent_frames(wave, 40, 8) == list(range(30, 50))
    assert silence.silent_frames(np.zeros(16000), 40, 8) == list(range(5, 25))
    assert silence.silent_frames(np.zeros(0), 40, 8) == []


def test_open_mouths_in_silence_leak() -> None:
    def face(gap: float) -> Face:
        mesh = np.zeros((478, 2))
        mesh[152], mesh[14] = (0, 100), (0, gap)
        return Face(np.zeros((3, 2)), (0, 0, 1, 1), mesh)

    wave = np.zeros(16000)
    wave[:160] = 1
    pairs = [pair(n, picture(0), face=face(10 if n >= 20 else 1)) for n in range(25)]
    assert measured(silence.SilenceLeak(), pairs, Heard(wave))["leak"] == pytest.approx(100 * 5 / 19)
    with pytest.raises(NotComputed, match="no silence"):
        measured(silence.SilenceLeak(), pairs, Heard(np.sin(np.arange(16000.0))))


def test_mouths_of_synthetic_heads_are_read_against_their_truth() -> None:
    clip = draw_clip(100_001, 3.0, 128, 1)
    track = clip.articulation
    heard = Heard(clip.wave, track.opening, track.pause)
    pairs = [pair(n, frame) for n, frame in enumerate(clip.frames)]
    found = measured(MouthTruth(), pairs, heard)
    assert found["mouth_r"] > 0.97
    assert found["mouth_error"] < 0.1
    late = measured(MouthTruth(), [pair(n, clip.frames[max(0, n - 4)]) for n in range(len(pairs))], heard)
    assert late["mouth_r"] < found["mouth_r"] - 0.1
    assert late["mouth_error"] > found["mouth_error"]


def test_known_delay_of_the_sound_is_found_by_our_syncnet() -> None:
    metric = SyncStable("checkpoints/demo/syncnet")
    clip = draw_clip(100_003, 4.0, 128, 1)
    pairs = [pair(n, frame) for n, frame in enumerate(clip.frames)]
    true = measured(metric, pairs, Heard(clip.wave))
    late = measured(metric, pairs, Heard(np.concatenate([np.zeros(5 * 640, np.float32), clip.wave])))
    assert abs(true["sync_offset"]) <= 1
    assert late["sync_offset"] - true["sync_offset"] == pytest.approx(-5, abs=1)
    other = measured(metric, pairs, Heard(draw_clip(100_009, 4.0, 128, 1).wave))
    assert max(late["sync_accuracy"], other["sync_accuracy"]) < true["sync_accuracy"] - 10
    whole = StableSyncNetScorer("checkpoints/demo/syncnet").score(clip.frames, clip.wave)
    assert whole.confidence == pytest.approx(true["sync_confidence"], abs=1e-5)


def test_long_videos_are_scored_in_pieces_and_gaps_end_a_piece() -> None:
    seen: list[tuple[int, int]] = []

    def embed(frames: np.ndarray) -> int:
        return len(frames)

    def score(count: int, wave: np.ndarray) -> float:
        seen.append((count, len(wave)))
        return float(wave[0])

    pieces = Pieces(embed, score, lambda scores: {"mean": sum(n * s for n, s in scores)})
    indices = [*range(PIECE + 60), *range(400, 430), *range(500, 560)]  # 30 frames are too few
    for index in indices:
        pieces.add(pair(index, np.zeros((2, 2, 3), np.uint8)))
    wave = np.arange(600 * 640) / 640.0
    assert pieces.values(Heard(wave))["mean"] == PIECE * 0 + 60 * PIECE + 60 * 500
    assert seen == [(PIECE, PIECE * 640), (60, 60 * 640), (60, 60 * 640)]
    with pytest.raises(NotComputed, match="no sound"):
        pieces.values(Heard())


@pytest.mark.parametrize(("name", "fetched"), [("csim", "mobilefacenet"), ("fid", "inception-fid"), ("fvd", "i3d")])
def test_missing_weights_are_named_with_the_command_that_gets_them(name: str, fetched: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"fetch {fetched}"):
        make_metric(name, {"weights": str(tmp_path / "none")})


def test_unknown_metrics_and_options_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="give some of similarity, lpips"):
        check_names(["similarity", "bleu"])
    with pytest.raises(UserError, match=r"options\.leak.*loudness"):
        make_metric("leak", {"loudness": 3})
    check_names(list(METRICS))


@pytest.mark.slow
def test_fid_runs_on_torch_fidelitys_network_and_is_nothing_for_equal_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    with monkeypatch.context() as patch:  # random weights under the real names: the real ones are not to be had
        patch.setattr(torch, "load", lambda *unused, **unused_too: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state, *unused: None)
        (tmp_path / "any.pth").touch()
        made = FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(tmp_path / "any.pth"))
    # Weights of a size that keeps the layers' outputs apart.
    state = {name: 2.45 * value if name.endswith("conv.weight") else value for name, value in made.state_dict().items()}
    torch.save(state, tmp_path / "inception.pth")
    metric = FaceFid(tmp_path / "inception.pth", every=2)
    sets = [[pair(n, picture(n + 100 * which)) for n in range(20)] for which in range(2)]
    moments = []
    for pairs in sets:
        features = measured(metric, pairs)["fid"]
        assert features.shape == (10, 2048), "every second frame"
        moments.append(Moments(2048))
        moments[-1].add(features)
    assert frechet_distance(moments[0], moments[0]) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(*moments) > 1e-3
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not those of torch-fidelity"):
        FaceFid(tmp_path / "other.pth")
