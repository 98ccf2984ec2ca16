"""Straight alpha, backgrounds, and crops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from pipeline import background, compose
from tests.conftest import ellipse

# -- straight alpha --------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_a_cutout_on_its_own_background_is_the_photo(seed, height, width):
    rng = np.random.default_rng(seed)
    foreground = rng.integers(0, 256, (height, width, 3), np.uint8)
    background = rng.integers(0, 256, (height, width, 3), np.uint8)
    alpha = rng.random((height, width), np.float32)
    alpha[rng.random((height, width)) < 0.5] = rng.integers(0, 2)
    exact = alpha[..., None] * foreground + (1 - alpha[..., None]) * background
    assert np.abs(compose.over(foreground, alpha, background) - exact).max() <= 0.5001
    # And from the file's 8 bits of alpha, by another program, within their rounding.
    image = Image.fromarray(compose.rgba(foreground, alpha))
    behind = Image.fromarray(background).convert("RGBA")
    again = np.asarray(Image.alpha_composite(behind, image).convert("RGB"))
    assert np.abs(again - exact).max() <= 1.6


def test_the_pixel_that_others_darken():
    pixel, half = np.array([[[200, 150, 100]]], np.uint8), np.full((1, 1), 128 / 255, np.float32)
    assert compose.rgba(pixel, half).tolist() == [[[200, 150, 100, 128]]]
    assert compose.over(pixel, half, (255, 255, 255)).tolist() == [[[227, 202, 177]]]


def test_what_was_cut_away_is_not_in_the_file(photo):
    alpha = np.linspace(0, 0.02, photo[..., 0].size, dtype=np.float32).reshape(photo.shape[:2])
    joined = compose.rgba(photo, alpha)
    gone = joined[..., 3] == 0
    assert 0 < gone.mean() < 1
    assert joined[gone].max() == 0
    assert np.array_equal(joined[~gone][:, :3], photo[~gone])


def test_every_level_of_alpha_survives():
    alpha = (np.arange(256) / 255).astype(np.float32).reshape(16, 16)
    assert compose.levels(alpha).ravel().tolist() == list(range(256))
    assert compose.rgba(np.zeros((16, 16, 3), np.uint8), alpha)[..., 3].ravel().tolist() == list(
        range(256)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 3)])
def test_shapes(shape):
    rng = np.random.default_rng(0)
    foreground = rng.integers(0, 256, (*shape, 3), np.uint8)
    alpha = rng.random(shape, np.float32)
    assert compose.rgba(foreground, alpha).shape == (*shape, 4)
    for layer in ((1, 2, 3), "blur", data.coffee()):
        behind = background.backdrop(layer, foreground, alpha)
        assert compose.over(foreground, alpha, behind).shape == (*shape, 3)


def test_views_are_taken_and_not_changed(photo):
    alpha = ellipse(*photo.shape[:2])
    flipped = photo[:, ::-1]
    assert np.array_equal(compose.rgba(flipped, alpha), compose.rgba(flipped.copy(), alpha))
    assert np.array_equal(
        compose.over(flipped, alpha, (9, 9, 9)), compose.over(flipped.copy(), alpha, (9, 9, 9))
    )


# -- crops -----------------------------------------------------------------------------------------


# -- the picture that is written -------------------------------------------------------------------
