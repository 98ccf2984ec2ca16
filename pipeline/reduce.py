"""Reduce pictures by area, fast."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = TypeVar("Picture", NDArray[np.uint8], NDArray[np.float32])

#: Times the size asked for: so much is left for the last step at least. With 1 in its place, four
#: photos are 1.2 grey levels from one step, and 0.3 with 2.
GAP = 2


def by_area(picture: Picture, size: tuple[int, int]) -> Picture:
    """Reduce a picture, (H, W) or (H, W, C), to a size (h, w): each pixel is the mean of its area.

    By halves first, where they are whole: OpenCV halves in a sixth of the time of any other step.
    """
    while all(
        side % 2 == 0 and side >= 2 * GAP * wanted
        for side, wanted in zip(picture.shape[:2], size, strict=True)
    ):
        half = (picture.shape[1] // 2, picture.shape[0] // 2)
        picture = cv2.resize(picture, half, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    reduced = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA)
    return reduced  # type: ignore[return-value]
