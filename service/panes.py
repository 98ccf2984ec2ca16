"""The pictures that the page shows of a cutout: as large as a screen, and no larger."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import Result, foreground
from pipeline.compose import levels, rgba

SIDE = 1400  # px: the longest side; the download has them all
#: How hard the encoder tries, 0..6: the least takes a quarter of the usual time. Somebody waits.
#: Nobody sees an alpha of 176 levels, which takes two thirds of the time of all 256.
_EFFORT, _QUALITY, _ALPHA_QUALITY = 0, 88, 90

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]


def make(result: Result, names: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Draw the pictures that are named, or all of them, as WebP."""
    small = _Small(result)
    return {name: _encoded(_DRAW[name](small)) for name in names or _DRAW}


def _encoded(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "WEBP", quality=_QUALITY, method=_EFFORT, alpha_quality=_ALPHA_QUALITY
    )
    return buffer.getvalue()


class _Small:
    """A result as large as a screen; each part is reduced when it is asked for."""

    def __init__(self, result: Result) -> None:
        self._result = result
        height, width = result.alpha.shape
        scale = min(1.0, SIDE / max(height, width))
        self._size = (max(1, round(width * scale)), max(1, round(height * scale)))

    def _resized(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.shape[1::-1] == self._size:
            return array
        # Down to a half no pixel is left out by bilinear means, which take a fifth of the time.
        how = cv2.INTER_LINEAR if array.shape[1] < 2 * self._size[0] else cv2.INTER_AREA
        return np.asarray(cv2.resize(array, self._size, interpolation=how))

    @cached_property
    def image(self) -> Pixels:
        return self._resized(self._result.photo.image)

    @cached_property
    def foreground(self) -> Pixels:
        return self._resized(self._result.foreground)

    @cached_property
    def alpha(self) -> Map:
        return np.clip(self._resized(self._result.alpha), 0, 1)

    @cached_property
    def coarse(self) -> Map:
        return np.clip(self._resized(self._result.coarse), 0, 1)

    @cached_property
    def roi(self) -> NDArray[np.bool_]:
        return self._resized(self._result.roi.view(np.uint8)) > 0


def _marked(small: _Small) -> Pixels:
    """Show the ROI: the photo in it, in colour; the rest dimmed to grey."""
    dim = (small.image.mean(2) * 0.35 + 20).astype(np.uint8)
    return np.where(small.roi[..., None], small.image, dim[..., None])


_DRAW: dict[str, Callable[[_Small], Pixels]] = {
    "photo": lambda small: small.image,
    "alpha": lambda small: levels(small.alpha),
    "coarse": lambda small: levels(small.coarse),
    "unrefined": lambda small: rgba(foreground.estimate(small.image, small.coarse), small.coarse),
    "refined": lambda small: rgba(small.foreground, small.alpha),
    "roi": _marked,
}
