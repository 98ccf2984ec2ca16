"""What of a photo is cut out, put back into the whole."""

import cv2
import numpy as np

from pipeline import Result
from pipeline.image_io import Photo
from service.region import embedded


def a_part(shape: tuple[int, int], seen: tuple[int, int]) -> Result:
    """A result of a part of a photo, of which stage 2 saw a reduced one."""
    coarse = np.zeros(seen, np.float32)
    coarse[10:-10, 10:-10] = 1
    alpha = np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    colours = np.full((*shape, 3), 7, np.uint8)
    tiles = np.array([[0, 0], [12, 30]], np.intp)
    return Result(Photo(colours), alpha, colours, coarse, coarse > 0, tiles, {})


def test_a_part_comes_back_to_its_place_in_all_that_is_said_of_it() -> None:
    area = (slice(101, 401), slice(33, 633))
    part = a_part((300, 600), (150, 300))
    photo = Photo(np.zeros((500, 700, 3), np.uint8))
    whole = embedded(part, photo, area)
    assert np.array_equal(whole.alpha[area], part.alpha)
    assert whole.alpha.sum() == part.alpha.sum()
    assert whole.foreground[101, 33].tolist() == [7, 7, 7] != whole.foreground[100, 33].tolist()
    # At the scale at which stage 2 saw the part, to half a pixel.
    assert whole.coarse.shape == whole.roi.shape == (250, 350)
    assert whole.coarse.sum() == part.coarse.sum() == whole.roi.sum()
    top, left = (int(side.min()) for side in np.nonzero(whole.roi))
    assert (top, left) == (10 + 50, 10 + 16)
    assert whole.tiles.tolist() == [[50, 16], [62, 46]]


def test_a_part_at_the_end_of_a_photo_fits_whatever_its_scale() -> None:
    for end in range(590, 601):
        photo = Photo(np.zeros((end, end, 3), np.uint8))
        area = (slice(end - 333, end), slice(end - 555, end))
        part = a_part((333, 555), (123, 205))
        whole = embedded(part, photo, area)
        assert whole.coarse.sum() == part.coarse.sum() and np.array_equal(
            whole.alpha[area], part.alpha
        )
