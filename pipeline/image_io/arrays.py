"""Photos from arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UnreadableImage
from pipeline.image_io.photo import Photo, check_size


def from_array(array: NDArray[Any], max_pixels: int) -> Photo:
    """Take (H, W, 3), (H, W, 4) or (H, W) of uint8, uint16, or floats in 0..1 for a photo.

    Raises :class:`UnreadableImage` for any other, :class:`pipeline.errors.ImageTooLarge` for one
    of more than ``max_pixels``.
    """
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 3, 4):
        raise UnreadableImage(
            f"an image array must be (H, W, 3), (H, W, 4) or (H, W), not {array.shape}"
        )
    check_size(array.shape[1], array.shape[0], max_pixels)
    array = _levels(array)
    if channels == 1:
        grey = array.reshape(array.shape[:2])
        return Photo(np.repeat(grey[..., None], 3, axis=2))
    alpha = array[..., 3] if channels == 4 and array[..., 3].min() < 255 else None
    return Photo(
        np.array(array[..., :3], order="C"), None if alpha is None else alpha / np.float32(255)
    )


def _levels(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring an array to 8 bits: uint16 over all of its range, floats from 0..1."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):  # also false where a value is not a number
            raise UnreadableImage(
                f"a float image must lie within 0..1, not {array.min():g}..{array.max():g}"
            )
        return (array * 255 + 0.5).astype(np.uint8)
    raise UnreadableImage(f"an image array must be uint8, uint16 or float, not {array.dtype}")
