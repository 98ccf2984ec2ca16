import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import patches
from pipeline.patches import MARGIN, TILE


def inner(origins: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """What the tiles answer for: their inner part, and their rim where the image ends."""
    height, width = shape
    covered = np.zeros(shape, bool)
    for y, x in origins:
        top, left = y + MARGIN * (y > 0), x + MARGIN * (x > 0)
        bottom = height if y + TILE >= height else y + TILE - MARGIN
        right = width if x + TILE >= width else x + TILE - MARGIN
        covered[top:bottom, left:right] = True
    return covered


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_every_roi_pixel_is_inside_some_tile(height, width, dots, seed):
    rng = np.random.default_rng(seed)
    roi = np.zeros((height, width), bool)
    roi[rng.integers(0, height, dots), rng.integers(0, width, dots)] = True
    origins = patches.tile_origins(roi)
    assert inner(origins, roi.shape)[roi].all()
    assert len(origins) <= dots
    assert (origins >= 0).all()
    assert (origins <= [max(height - TILE, 0), max(width - TILE, 0)]).all()


def test_no_edge_no_tile():
    assert patches.tile_origins(np.zeros((500, 500), bool)).shape == (0, 2)


def test_tiles_follow_the_edge_and_not_the_area():
    y, x = np.mgrid[:1080, :1920]
    ring = np.abs(np.hypot(y - 540, x - 960) - 400) < 8
    origins = patches.tile_origins(ring)
    on_grid = sum(
        ring[top : top + 96, left : left + 96].any()
        for top in range(0, 1080, 96)
        for left in range(0, 1920, 96)
    )
    assert len(origins) < 0.85 * on_grid


def test_count_grows_with_the_length_of_the_edge():
    def tiles(scale: int) -> int:
        roi = np.zeros((600 * scale, 600 * scale), bool)
        roi[300 * scale - 6 : 300 * scale + 6] = True
        return len(patches.tile_origins(roi))

    assert tiles(4) == pytest.approx(4 * tiles(1), rel=0.15)  # and not 16 times


def test_channels_are_red_green_blue_coarse():
    image = np.zeros((200, 200, 3), np.uint8)
    image[...] = (255, 128, 0)
    coarse = np.full((200, 200), 0.25, np.float32)
    (patch,) = patches.extract(image, coarse, np.array([[10, 20]]))
    assert patch.shape == (4, TILE, TILE)
    assert patch.dtype == np.float32
    assert np.allclose(patch[:, 0, 0], [1, 128 / 255, 0, 0.25])


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (60, 40), (127, 129), (2, 128)])
def test_small_images_are_continued(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    coarse = np.random.default_rng(1).random(shape, np.float32)
    origins = patches.tile_origins(np.ones(shape, bool))
    cut = patches.extract(image, coarse, origins)
    assert cut.shape == (len(origins), 4, TILE, TILE)
    (y, x), (height, width) = origins[0], shape
    there = coarse[y : y + TILE, x : x + TILE]
    assert np.array_equal(cut[0, 3, : there.shape[0], : there.shape[1]], there)
    assert inner(origins, (height, width)).all()
