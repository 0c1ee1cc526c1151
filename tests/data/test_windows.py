"""Windows of clips: uniform non-overlapping pairs, the right frames and sound, stored and computed parts alike."""

from collections import Counter

import numpy as np
import pytest
import torch
from tiny_clips import FRAMES, SIZE, metadata, tiny_clip, wave

from latentsync.data.sample import BadSample
from latentsync.data.windows import ClipWindows, clip_generator, draw_window
from latentsync.media.audio import decode_audio, encode_wav
from latentsync.media.mel import log_mel, mel_window
from latentsync.models.audio_encoder import AudioEncoder


@pytest.mark.parametrize(("frames", "window"), [(2, 1), (5, 1), (8, 4), (9, 4), (13, 4), (48, 16), (125, 16)])
def test_windows_lie_in_the_clip_and_do_not_overlap(frames, window):
    generator = np.random.default_rng(0)
    for _ in range(300):
        target, reference = draw_window(frames, window, generator)
        assert 0 <= target <= frames - window
        assert 0 <= reference <= frames - window
        assert abs(target - reference) >= window


@pytest.mark.parametrize(("frames", "window"), [(10, 3), (12, 4), (7, 3)])
def test_target_is_uniform_and_so_is_the_reference_among_what_it_leaves(frames, window):
    draws = 20000
    generator = np.random.default_rng(1)
    counts = Counter(draw_window(frames, window, generator) for _ in range(draws))
    starts = range(frames - window + 1)
    left = {target: [r for r in starts if abs(target - r) >= window] for target in starts}
    targets = [target for target in starts if left[target]]  # in a short clip the middle leaves no room
    expected = {(t, r): draws / len(targets) / len(left[t]) for t in targets for r in left[t]}
    assert set(counts) == set(expected)
    chi_square = sum((counts[pair] - expected[pair]) ** 2 / expected[pair] for pair in expected)
    assert chi_square < 2 * len(expected) + 10  # mean len − 1, deviation √(2 len)


@pytest.mark.parametrize("distance", [1, 5])
def test_starts_keep_their_distance_and_every_such_pair_comes(distance):
    frames, window = 12, 4
    generator = np.random.default_rng(2)
    drawn = {draw_window(frames, window, generator, distance) for _ in range(4000)}
    starts = range(frames - window + 1)
    assert drawn == {(t, r) for t in starts for r in starts if abs(t - r) >= distance}


def test_a_clip_too_short_for_two_windows_is_a_reason():
    with pytest.raises(BadSample, match="fewer than 32 frames"):
        draw_window(31, 16, np.random.default_rng(0))


def test_a_clips_window_depends_on_seed_epoch_and_key_only():
    def draw(*what):
        return clip_generator(*what).integers(1 << 62)

    assert draw(0, 3, "a") == draw(0, 3, "a")
    assert len({draw(0, 3, "a"), draw(1, 3, "a"), draw(0, 4, "a"), draw(0, 3, "b")}) == 4


def level(pixels: torch.Tensor) -> list[int]:
    """Which frame each picture is (see `tiny_clips.grey_frames`)."""
    assert pixels.dtype == torch.uint8
    return ((pixels.float().mean(dim=(1, 2, 3)) - 40) / 10).round().int().tolist()


def test_frames_and_mel_are_those_of_the_drawn_window():
    windows = ClipWindows(SIZE, num_frames=4, audio_tokens=False)
    for epoch in range(8):
        window = windows(tiny_clip("a"), epoch)
        assert window.target.shape == window.reference.shape == (4, 3, SIZE, SIZE)
        assert level(window.target) == list(range(window.start_frame, window.start_frame + 4))
        assert level(window.reference) == list(range(window.reference_start, window.reference_start + 4))
        heard = np.round(wave() * 32768) / 32768
        np.testing.assert_allclose(window.mel, mel_window(log_mel(heard), window.start_frame, 4), atol=1e-4)


def test_sixteen_frames_give_52_mel_columns():
    window = ClipWindows(SIZE, audio_tokens=False, pixels=False)(tiny_clip("a", num_frames=48), 0)
    assert window.mel.shape == (80, 52)
    assert window.target is None


def test_stored_mel_gives_the_same_window_as_a_computed_one():
    windows = ClipWindows(SIZE, 4, audio_tokens=False, pixels=False)
    heard = np.round(wave() * 32768) / 32768
    computed = windows(tiny_clip("a"), 5)
    stored = windows(tiny_clip("a", mel=log_mel(heard.astype(np.float32)), audio=b"RIFF never opened"), 5)
    assert stored.start_frame == computed.start_frame
    torch.testing.assert_close(stored.mel, computed.mel, atol=1e-3, rtol=0)


def test_stored_tokens_and_latents_are_cut_at_the_window():
    numbers = np.arange(FRAMES, dtype=np.float16)
    tokens = np.broadcast_to(numbers[:, None, None], (FRAMES, 5, 8))
    latents = np.broadcast_to(numbers[:, None, None, None, None], (FRAMES, 2, 8, 4, 4)).copy()
    latents[:, 1] += 100  # the masked target
    sample = tiny_clip("a", audio_tokens=tokens, latents=latents, video=b"never opened")
    window = ClipWindows(SIZE, 4, pixels=False, latents=True)(sample, 2)
    frames = torch.arange(window.start_frame, window.start_frame + 4).float()
    references = torch.arange(window.reference_start, window.reference_start + 4).float()
    assert window.target is None
    assert window.audio_tokens.shape == (4, 5, 8)
    assert window.target_moments.shape == (4, 8, 4, 4)
    torch.testing.assert_close(window.audio_tokens[:, 0, 0], frames)
    torch.testing.assert_close(window.target_moments[:, 0, 0, 0], frames)
    torch.testing.assert_close(window.masked_moments[:, 3, 1, 2], frames + 100)
    torch.testing.assert_close(window.reference_moments[:, 7, 3, 3], references)
    assert window.audio_tokens.dtype == window.target_moments.dtype == torch.float32


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    sizes = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    AudioEncoder.from_config(**sizes).save_pretrained(folder)
    return folder


def test_stored_tokens_give_the_same_window_as_computed_ones(encoder_folder):
    heard, rate = decode_audio(tiny_clip("a").audio)
    assert rate == 16000
    encoder = AudioEncoder.from_pretrained(encoder_folder).eval()
    with torch.no_grad():
        tokens = encoder.frame_tokens(encoder.hidden_states(heard), FRAMES).numpy()
    windows = ClipWindows(SIZE, 4, audio_encoder=encoder_folder, pixels=False)
    for epoch in range(2):
        computed = windows(tiny_clip("a"), epoch)
        stored = windows(tiny_clip("a", audio_tokens=tokens.astype(np.float16)), epoch)
        assert computed.audio_tokens.shape == (4, 20, 16)
        assert not computed.audio_tokens.requires_grad
        torch.testing.assert_close(stored.audio_tokens, computed.audio_tokens, atol=1e-3, rtol=1e-3)


def test_the_window_is_the_same_with_and_without_pixels():
    sample = tiny_clip("a")
    with_pixels = ClipWindows(SIZE, 4, audio_tokens=False)(sample, 1)
    without = ClipWindows(SIZE, 4, audio_tokens=False, pixels=False)(sample, 1)
    assert (with_pixels.start_frame, with_pixels.reference_start) == (without.start_frame, without.reference_start)


@pytest.mark.parametrize("size", [32, 64])
def test_clips_of_another_size_are_resized(size):
    window = ClipWindows(48, 4, audio_tokens=False)(tiny_clip("a", size=size), 0)
    assert window.target.shape == (4, 3, 48, 48)
    assert level(window.target) == list(range(window.start_frame, window.start_frame + 4))


def test_truth_of_each_frame_comes_along():
    truth = {"opening": [i / 10 for i in range(FRAMES)], "identity": 3, "box": [[0, 1]] * FRAMES, "short": [1.0]}
    window = ClipWindows(SIZE, 4, audio_tokens=False)(tiny_clip("a", metadata=metadata(truth=truth)), 0)
    assert set(window.truth) == {"opening"}
    expected = torch.arange(window.start_frame, window.start_frame + 4) / 10
    torch.testing.assert_close(window.truth["opening"], expected)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"video": b"no mp4"}, "video cannot be decoded"),
        ({"video": b""}, "video cannot be decoded"),
        ({"metadata": metadata(200)}, "video has fewer frames than its metadata says"),
        ({"audio": b"RIFFnot a wav"}, "audio cannot be decoded"),
        ({"audio": encode_wav(wave(), 44100)}, "audio has 44100 Hz"),
        ({"audio": encode_wav(np.zeros(0, np.float32), 16000)}, "audio"),
        ({"audio": encode_wav(np.zeros(300, np.float32), 16000)}, r"audio is shorter than 0\.02 s"),
        ({"mel": np.zeros((40, 40))}, "stored mel is of shape"),
        ({"audio_tokens": np.zeros((3, 5, 8))}, "stored audio tokens are of shape"),
        ({"audio_tokens": np.zeros((12, 5, 8))}, "no latents stored"),
        ({}, "no audio tokens stored"),
        ({"audio_tokens": np.zeros((12, 5, 8)), "latents": np.zeros((12, 8, 4, 4))}, "stored latents are of shape"),
        (
            {
                "audio_tokens": np.zeros((12, 5, 8)),
                "latents": np.zeros((12, 2, 8, 4, 4)),
                "metadata": metadata(resolution=64),
            },
            "latents stored for resolution 64, not 32",
        ),
    ],
)
def test_what_a_clip_lacks_is_a_reason(parts, reason):
    needs_no_tokens = {"video", "audio", "mel"} & set(parts) or parts.get("metadata", {}).get("num_frames") == 200
    windows = ClipWindows(SIZE, 4, audio_tokens=not needs_no_tokens, latents=not needs_no_tokens)
    with pytest.raises(BadSample, match=reason):
        # Over some epochs: a window beyond the end of the video is drawn sooner or later.
        all(windows(tiny_clip("a", **parts), epoch) for epoch in range(8))


def test_a_truncated_video_is_a_reason_at_any_length():
    video = tiny_clip("a").video
    windows = ClipWindows(SIZE, 4, audio_tokens=False)
    failed = 0
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        try:
            windows(tiny_clip("a", video=video[: int(share * len(video))]), 0)
        except BadSample:
            failed += 1
    assert failed >= 4


def test_window_tells_which_encoder_its_tokens_are_from():
    told = {"source": "whisper-tiny.en", "fingerprint": "1" * 16}
    clip = tiny_clip("clip", audio_tokens=np.zeros((FRAMES, 4, 8), np.float16))
    windows = ClipWindows(SIZE, 4, pixels=False)
    assert windows(clip, 0).made_with == {}
    clip.metadata["audio_encoder"] = told
    assert windows(clip, 0).made_with == {"audio_encoder": told}
