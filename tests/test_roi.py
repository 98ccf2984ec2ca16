import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import roi


def disc(height: int, width: int, blur: float = 0.0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    radius = min(height, width) / 3
    hard = np.hypot(y - height / 2, x - width / 2) < radius
    mask = hard.astype(np.float32)
    return cv2.GaussianBlur(mask, (0, 0), blur) if blur else mask


def test_a_flat_mask_has_no_edge():
    for level in (0.0, 0.4, 1.0):
        assert not roi.find(np.full((200, 300), level, np.float32)).any()


def test_gradient_is_scipys_sobel_per_cell():
    from scipy import ndimage

    mask = disc(160, 160, blur=4)
    region = roi.find(mask, cells=(160, 160), threshold=0.06, reach=0)
    magnitude = np.hypot(*(ndimage.sobel(mask, axis, mode="nearest") / 8 for axis in (0, 1)))
    assert np.array_equal(region, magnitude > 0.06)


@pytest.mark.parametrize("slope", [4, 10])
def test_threshold_is_one_over_the_ramps_length(slope):
    ramp = np.clip((np.arange(100, dtype=np.float32) - 40) / slope, 0, 1)
    mask = np.tile(ramp, (50, 1))
    assert roi.find(mask, threshold=0.9 / slope, reach=0).any()
    assert not roi.find(mask, threshold=1.1 / slope, reach=0).any()


def test_the_roi_reaches_past_the_ramp_by_so_many_cells():
    for scale in (1, 3):  # the same mask enlarged gives the same ROI enlarged
        mask = np.zeros((320 * scale, 320 * scale), np.float32)
        mask[:, : 160 * scale] = 1
        region = roi.find(mask, reach=5)
        columns = np.flatnonzero(region[100 * scale])
        # the step's gradient is one cell either side of it, and the reach comes on top
        assert (columns[0], columns[-1]) == ((160 - 6) * scale, (160 + 6) * scale - 1)
        assert region.any(0).sum() == len(columns)


def test_a_cell_has_its_own_height_and_width():
    mask = np.zeros((512, 1024), np.float32)
    mask[200:300, 400:600] = 1
    region = roi.find(mask, cells=(128, 256), reach=5)
    rows, columns = np.flatnonzero(region[:, 500]), np.flatnonzero(region[250])
    assert (rows[0], columns[0]) == (200 - 6 * 4, 400 - 6 * 4)
    flat = roi.find(mask, cells=(128, 128), reach=5)  # cells twice as wide as high
    rows, columns = np.flatnonzero(flat[:, 500]), np.flatnonzero(flat[250])
    assert (rows[0], columns[0]) == (200 - 6 * 4, 400 - 6 * 8)


def test_roi_does_not_depend_on_the_photos_size():
    reduced = cv2.resize(disc(1280, 1280), (320, 320), interpolation=cv2.INTER_AREA)
    small = roi.find(np.asarray(reduced, np.float32))
    large = roi.find(disc(1280, 1280))
    assert np.array_equal(cv2.resize(large.view(np.uint8), (320, 320)), small)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_any_shape(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width), np.float32)
    region = roi.find(mask)
    assert region.shape == (height, width)
    assert region.dtype == bool
