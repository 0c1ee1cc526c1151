"""Colours meet at the mouth mask's edge: what differs just inside it is carried inwards, and nothing else counts."""

import numpy as np
import pytest

from latentsync.face.color_match import match_colors

SIDE = 128  # the ring is 2 pixels wide
LOW, HIGH = 32, 96  # of the square that is generated


def keep() -> np.ndarray:
    mask = np.ones((SIDE, SIDE, 1), np.float32)
    mask[LOW:HIGH, LOW:HIGH] = 0
    return mask


def face() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.stack([80 + x // 2, 90 + y // 2, 0 * x + 120], axis=-1).astype(np.uint8)


def ring(depth: int) -> np.ndarray:
    """Pixels that lie `depth` pixels inside the generated square, 1 = at its edge, (SIDE, SIDE) bool."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.minimum.reduce([y - LOW, HIGH - 1 - y, x - LOW, HIGH - 1 - x]) == depth - 1


def test_a_shift_at_the_edge_is_taken_back_in_all_that_was_generated_and_there_alone() -> None:
    crop = face()
    crop[LOW:HIGH, LOW:HIGH] += 20
    matched = match_colors(face(), crop, keep())
    np.testing.assert_array_equal(matched, crop)


@pytest.mark.parametrize(("depth", "counts"), [(1, True), (2, True), (3, False), (20, False)])
def test_only_the_pixels_just_inside_the_edge_are_compared(depth: int, counts: bool) -> None:
    crop = face()
    crop[ring(depth)] += 20
    changed = (match_colors(face(), crop, keep()) != face()).any()
    assert changed == counts


def test_each_side_of_the_edge_gets_its_own_shift_and_the_middle_a_mean() -> None:
    crop = face().astype(np.int16)
    crop[:, : SIDE // 2] += 20
    crop[:, SIDE // 2 :] -= 20
    shift = match_colors(face(), crop.astype(np.uint8), keep()).astype(np.int16) - face()
    assert (shift[LOW + 4 : HIGH - 4, LOW] == 20).all()
    assert (shift[LOW + 4 : HIGH - 4, HIGH - 1] == -20).all()
    middle = shift[SIDE // 2, LOW:HIGH, 0]
    assert (np.diff(middle) <= 0).all(), "from one to the other without a step back"
    assert np.abs(np.diff(middle)).max() <= 8, "and without a seam"
    assert (shift[:LOW] == 0).all(), "what was not generated stays"
