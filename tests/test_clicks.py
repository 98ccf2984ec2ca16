"""A click that stage 1 does not heed becomes a dab of the brush."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import clicks
from pipeline.clicks import Clicks
from tests.conftest import ellipse

SIZE = (240, 320)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A red ellipse on blue, and a mask that has its left half alone; both answer for noise."""
    whole = ellipse(*SIZE)
    photo = np.where(whole[..., None] > 0.5, (200, 40, 40), (30, 60, 190))
    photo = photo + np.random.default_rng(0).integers(-9, 10, photo.shape)
    half = whole.copy()
    half[:, SIZE[1] // 2 :] = 0
    return photo.astype(np.uint8), half.astype(np.float32)


def heeded(mask: np.ndarray, keep=(), drop=()) -> np.ndarray:
    return clicks.heeded(scene()[0], mask.copy(), Clicks(keep, drop, 1.0, 1.0))


def test_a_click_that_is_heeded_changes_nothing():
    _, half = scene()
    assert np.array_equal(heeded(half, keep=[(120, 120)], drop=[(5, 5)]), half)


@pytest.mark.parametrize("kept", [True, False])
def test_what_has_the_colours_of_the_place_goes_with_it(kept):
    """A dab at the edge of the ellipse stops there, whichever side was clicked."""
    whole = ellipse(*SIZE).astype(np.float32)
    _, half = scene()
    column = int(np.flatnonzero(whole[120] > 0.5)[-1])
    if kept:
        after, before = heeded(half, keep=[(column - 12, 120)]), half
    else:  # the mask has more than there is
        before = np.maximum(
            whole,
            (np.arange(SIZE[1]) > column - 40) * (np.abs(np.arange(SIZE[0])[:, None] - 120) < 30),
        ).astype(np.float32)
        after = heeded(before, drop=[(column + 12, 120)])
    changed = np.abs(after - before) > 0.5
    assert changed.sum() > 100
    belongs = (whole > 0.5) == kept
    assert (changed & belongs).sum() > 0.9 * changed.sum()


def test_a_dab_reaches_about_as_far_as_the_mistake_and_no_farther():
    _, half = scene()
    near, far = heeded(half, keep=[(170, 120)]), heeded(half, keep=[(200, 120)])
    areas = [(np.abs(one - half) > 0.5).sum() for one in (near, far)]
    assert 0 < areas[0] < areas[1] <= np.pi * (0.1 * SIZE[1] + 3) ** 2


@given(st.floats(0, 319.9), st.floats(0, 239.9), st.booleans(), st.floats(0, 1))
def test_every_place_is_as_it_was_said_to_be(x, y, kept, level):
    """Wherever it is, and whatever was found: nothing and everything too."""
    mask = np.full(SIZE, level, np.float32)
    after = heeded(mask, keep=[(x, y)] if kept else [], drop=[] if kept else [(x, y)])
    assert (after[int(y), int(x)] > 0.5) == kept
    assert after.dtype == np.float32 and after.min() >= 0 and after.max() <= 1


def test_what_stage_2_takes_away_comes_back_with_the_photos_colours():
    photo, half = scene()
    black = np.zeros_like(photo)
    told = Clicks([(170, 120)], [(40, 120)], 1.0, 1.0)
    alpha, colours = clicks.held(photo, half, black, told)
    assert alpha[120, 170] > 0.5 > alpha[120, 40] and half[120, 170] == 0
    back = alpha > half
    assert np.array_equal(colours[back], photo[back]) and not colours[~back].any()
    assert not black.any()  # the input stays
    alike, same = clicks.held(photo, half, black, Clicks([(120, 120)], [(5, 5)], 1.0, 1.0))
    assert np.array_equal(alike, half) and same is black
