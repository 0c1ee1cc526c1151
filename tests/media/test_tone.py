"""What PQ, HLG and BT.2020 look like on a BT.709 screen, and the way back."""

import numpy as np
import pytest

from latentsync.media.tone import HLG_TAG, PQ_TAG, ToneMap, bent, hlg_to_scene, nits_to_pq, pq_to_nits, scene_to_hlg

BT2020_10_TAG = 14


def grey(signal: float) -> np.ndarray:
    return np.full((1, 1, 3), round(65535 * signal), np.uint16)


def test_pq_and_hlg_follow_their_recommendations() -> None:
    # BT.2408: 203 cd/m² is 58 % of PQ, and 75 % of HLG is 203 cd/m² on a screen of 1000.
    assert nits_to_pq(np.array(203.0)) == pytest.approx(0.5807, abs=1e-4)
    assert pq_to_nits(np.array([0.0, 1.0])) == pytest.approx([0, 10_000], abs=1e-6)
    assert 1000 * float(hlg_to_scene(np.array(0.75))) ** 1.2 == pytest.approx(203, abs=1)
    signal = np.linspace(0, 1, 101)
    np.testing.assert_allclose(nits_to_pq(pq_to_nits(signal)), signal, atol=1e-6)
    np.testing.assert_allclose(scene_to_hlg(hlg_to_scene(signal)), signal, atol=1e-6)


@pytest.mark.parametrize("peak", [400.0, 1000.0, 4000.0])
def test_the_curve_leaves_the_dark_alone_grows_and_ends_at_white(peak: float) -> None:
    light = np.linspace(0, peak / 203, 1000)
    out = bent(light, peak / 203)
    assert (np.diff(out) > 0).all()
    assert out[-1] == pytest.approx(1)
    assert out[light < 0.1] == pytest.approx(light[light < 0.1])
    assert (out <= light + 1e-12).all()


@pytest.mark.parametrize("transfer", [PQ_TAG, HLG_TAG])
def test_grey_stays_grey_and_the_middle_keeps_its_light(transfer: int) -> None:
    tone = ToneMap(transfer)
    # 26 cd/m²: 12.8 % of reference white, as on an SDR screen.
    scene = (26 / 1000) ** (1 / 1.2)
    signal = float(nits_to_pq(np.array(26.0))) if transfer == PQ_TAG else float(scene_to_hlg(np.array(scene)))
    red, green, blue = tone.to_sdr(grey(signal))[0, 0].tolist()
    assert max(red, green, blue) - min(red, green, blue) <= 1
    assert green == pytest.approx(255 * (26 / 203) ** (1 / 2.4), abs=1)
    assert tone.to_sdr(grey(0.0)).max() == 0
    assert tone.to_sdr(grey(1.0)).min() == 255


@pytest.mark.parametrize("transfer", [PQ_TAG, HLG_TAG, BT2020_10_TAG])
@pytest.mark.parametrize("peak", [None, 400.0, 4000.0])
def test_what_a_screen_shows_comes_back_as_it_was(transfer: int, peak: float | None) -> None:
    tone = ToneMap(transfer, peak)
    seen = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    back = tone.to_sdr(tone.from_sdr(seen)).astype(int)
    assert np.abs(back - seen).mean() < 0.2
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=-1)
    assert np.abs(tone.to_sdr(tone.from_sdr(greys)).astype(int) - greys).max() <= 1


def test_a_colour_beyond_bt709_moves_to_grey_and_keeps_its_hue() -> None:
    green = np.array([[[0, 30_000, 3_000]]], np.uint16)  # PQ: a green that BT.709 does not have
    red, seen_green, blue = ToneMap(PQ_TAG).to_sdr(green)[0, 0].tolist()
    assert seen_green > blue >= red
    assert seen_green > 60


def test_a_brighter_mastering_display_leaves_more_room_above_white() -> None:
    white = grey(float(nits_to_pq(np.array(203.0))))
    shown = [int(ToneMap(PQ_TAG, peak).to_sdr(white)[0, 0, 1]) for peak in (300.0, 1000.0, 4000.0)]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] > shown[-1] + 10
