"""The pictures that the page shows of a cutout: as large as a screen, and no larger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import Result, foreground, image_io
from pipeline.compose import levels, rgba

SIDE = 1400  # px: the longest side; the download has them all
_QUALITY = 88

Pixels = NDArray[np.uint8]


def make(result: Result, names: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Draw the pictures that are named, or all of them, as WebP."""
    small = _reduced(result)
    return {name: image_io.encode(_DRAW[name](small), "webp", _QUALITY) for name in names or _DRAW}


def _reduced(result: Result) -> Result:
    height, width = result.alpha.shape
    scale = SIDE / max(height, width)
    if scale >= 1:
        return result
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pictures: dict[str, Any] = {
        name: np.asarray(cv2.resize(getattr(result, name), size, interpolation=cv2.INTER_AREA))
        for name in ("alpha", "coarse", "foreground")
    }
    image = np.asarray(cv2.resize(result.photo.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    roi = cv2.resize(result.roi.view(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT)
    photo = replace(result.photo, image=image, alpha=None)
    for name in ("alpha", "coarse"):
        np.clip(pictures[name], 0, 1, out=pictures[name])
    return replace(result, photo=photo, roi=roi.astype(bool), **pictures)


def _unrefined(result: Result) -> Pixels:
    return rgba(foreground.estimate(result.photo.image, result.coarse), result.coarse)


def _marked(result: Result) -> Pixels:
    """Show the ROI: the photo in it, in colour; the rest dimmed to grey."""
    photo = result.photo.image
    dim = (photo.mean(2) * 0.35 + 20).astype(np.uint8)
    return np.where(result.roi[..., None], photo, dim[..., None])


_DRAW: dict[str, Callable[[Result], Pixels]] = {
    "photo": lambda result: result.photo.image,
    "alpha": lambda result: levels(result.alpha),
    "coarse": lambda result: levels(result.coarse),
    "unrefined": _unrefined,
    "refined": lambda result: rgba(result.foreground, result.alpha),
    "roi": _marked,
}
