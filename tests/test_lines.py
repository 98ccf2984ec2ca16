"""The alpha keeps to the photo's colours: against least squares, and what must not move."""

import numpy as np
import pytest

from pipeline import lines, patches
from pipeline.patches import TILE


def _direct(layers):
    """The guided filter by its definition: ridge regression in each window, then their mean."""
    reach, side = lines.RADIUS, 2 * lines.RADIUS + 1
    rim = ((0, 0), (2 * reach, 2 * reach), (2 * reach, 2 * reach))
    wide = np.pad(layers.astype(np.float64), rim, "reflect").transpose(1, 2, 0)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side), (0, 1))
    fits = np.empty((*windows.shape[:2], 4))
    for y, x in np.ndindex(*windows.shape[:2]):
        samples = windows[y, x].reshape(4, -1).T
        mean = samples.mean(0)
        covariance = np.cov(samples.T, bias=True)
        slope = np.linalg.solve(covariance[:3, :3] + lines.NOISE * np.eye(3), covariance[:3, 3])
        fits[y, x] = [*slope, mean[3] - slope @ mean[:3]]
    return np.lib.stride_tricks.sliding_window_view(fits, (side, side), (0, 1)).mean((3, 4))


def test_coefficients_are_those_of_ridge_regression_in_each_window():
    rng = np.random.default_rng(3)
    layers = rng.uniform(-0.5, 0.5, (4, 14, 17)).astype(np.float32)
    ours = lines._coefficients(layers)
    assert np.dstack(ours) == pytest.approx(_direct(layers), abs=1e-4)


def strands(noise: float):
    """A patch of strands of one colour over another, its alpha, and a noisy guess of it."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:TILE, :TILE]
    true = np.clip(0.5 + 0.6 * np.sin(x / 3 + 4 * np.sin(y / 17)), 0, 1).astype(np.float32)
    dark, light = np.array([0.2, 0.1, 0.05], np.float32), np.array([0.6, 0.8, 0.9], np.float32)
    photo = true[..., None] * dark + (1 - true[..., None]) * light
    guess = np.clip(true + rng.normal(0, noise, true.shape), 0, 1).astype(np.float32)
    return photo, true, guess


def test_a_noisy_alpha_comes_nearer_to_what_the_colours_say():
    photo, true, guess = strands(0.2)
    moved = lines.towards_line(photo, guess)
    unsure = (guess > 0.1) & (guess < 0.9)
    before, after = (np.abs(alpha - true)[unsure].mean() for alpha in (guess, moved))
    assert after < 0.7 * before


def test_what_is_sure_stays_to_the_bit_and_nothing_leaves_the_range():
    photo, _, guess = strands(0.5)
    moved = lines.towards_line(photo, guess)
    sure = (guess == 0) | (guess == 1)
    assert sure.any()
    assert np.array_equal(moved[sure], guess[sure])
    assert moved.min() >= 0
    assert moved.max() <= 1


@pytest.mark.parametrize("value", [0, 128, 255])
def test_one_colour_tells_nothing_and_is_no_error(value):
    photo = np.full((TILE, TILE, 3), value / 255, np.float32)
    alpha = np.tile(np.linspace(0, 1, TILE, dtype=np.float32), (TILE, 1))
    assert lines.towards_line(photo, alpha) == pytest.approx(alpha, abs=0.01)


def test_patches_follow_their_own_part_of_the_photo_and_keep_their_colours():
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (300, 90, 3), np.uint8)  # narrower than a patch
    mask = rng.random((300, 90), np.float32)
    origins = np.array([[0, 0], [72, 0], [172, 0]])
    redrawn = rng.random((3, 4, TILE, TILE), np.float32)
    redrawn[2, 0] = patches.pad(mask[172:])
    moved, also_moved, kept = lines.follow(image, mask, origins, redrawn.copy())
    for top, before, after in ((0, redrawn[0], moved), (72, redrawn[1], also_moved)):
        photo = np.pad(image[top : top + TILE], ((0, 0), (0, TILE - 90), (0, 0)), "symmetric")
        expected = lines.towards_line(photo * np.float32(1 / 255), before[0])
        assert after[0] == pytest.approx(expected, abs=1e-5)
        assert np.array_equal(after[1:], before[1:])
    assert np.array_equal(kept, redrawn[2])
