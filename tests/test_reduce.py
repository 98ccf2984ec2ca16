"""Pictures reduced by area, by halves first."""

import cv2
import numpy as np
import pytest
from skimage import data
from skimage.measure import block_reduce

from pipeline.reduce import by_area

PHOTO = np.asarray(data.astronaut(), np.uint8)


def test_each_pixel_is_the_mean_of_its_area() -> None:
    """Against scikit-image, where areas are whole pixels; in floats to the last bits."""
    picture = PHOTO.astype(np.float32) / np.float32(255)
    wanted = block_reduce(picture, (8, 4, 1), np.mean)
    np.testing.assert_allclose(by_area(picture, (64, 128)), wanted, atol=1e-6)
    np.testing.assert_allclose(
        by_area(picture[..., 0], (64, 128)), wanted[..., 0], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("shape", [(512, 512), (511, 509), (510, 444), (400, 300), (90, 512)])
@pytest.mark.parametrize("size", [(320, 320), (224, 224), (37, 81), (100, 1), (512, 512)])
def test_nearly_as_in_one_step(shape: tuple[int, int], size: tuple[int, int]) -> None:
    photo = PHOTO[: shape[0], : shape[1]]
    once = cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA)
    reduced = by_area(photo, size)
    assert reduced.dtype == np.uint8 and reduced.shape == once.shape
    assert np.abs(reduced.astype(int) - once).mean() < 0.5  # grey levels of 255


def test_nothing_shifts() -> None:
    """A ramp stays one: its ends would show half a pixel."""
    ramp = np.tile(np.arange(960, dtype=np.float32), (960, 1))
    for side in (120, 224, 317):
        step = 960 / side
        wanted = (np.arange(side) + 0.5) * step - 0.5
        np.testing.assert_allclose(by_area(ramp, (side, side))[side // 2], wanted, atol=step / 8)
