"""Correct the coarse mask at smaller scales before its edge is redrawn at full size.

A patch of a large photo shows a lock of hair and not whose it is: where stage 1 left out half a
shoulder, nothing in the patch says that there is one. So the global generator first sees the photo
reduced to the size of one patch, as Pix2PixHD's global generator does before its local enhancer
(Wang et al., 2018, section 3.1). Then it sees the edge in a photo of three patches' length. The
change that it makes is smoothed and added to the coarse mask; the next scale, and at last the
local generator, begin with that mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import blend, generator
from pipeline.models import Session
from pipeline.patches import TILE, fitted, tile_origins
from pipeline.reduce import by_area
from pipeline.settings import Settings


@dataclass(frozen=True)
class Scale:
    """The photo reduced so that its longer side has ``side`` px.

    ``smoothing`` is the standard deviation of the Gaussian, in pixels of the reduced photo, that
    smooths the change: this scale decides on what is larger, the next one on what is smaller.
    """

    side: int
    smoothing: float


#: One scale begins where the one before ended. On whole held-out scenes the first takes 4 % off the
#: absolute error of the alpha. The second takes off as much again where stage 1 is often wrong, and
#: nothing where it is mostly right. Together they cost some six patches a photo. Running the first
#: one twice gains nothing. With less smoothing, the second blurs what patches would see sharp.
SCALES = (Scale(TILE, 4.0), Scale(3 * TILE, 6.0))
#: A scale is left out unless the photo's longer side is this many times its own: otherwise it shows
#: nearly the same as the next one.
MIN_REDUCTION = 1.6


def scales(height: int, width: int) -> tuple[Scale, ...]:
    """Return the scales at which a photo of this size is seen."""
    return tuple(scale for scale in SCALES if max(height, width) >= MIN_REDUCTION * scale.side)


def correct(
    session: Session,
    image: NDArray[np.uint8],
    coarse: NDArray[np.float32],
    roi: NDArray[np.bool_],
    batch: int = Settings.batch_size,
) -> NDArray[np.float32]:
    """Correct the coarse mask by what the global generator changes in the reduced photo.

    Parameters
    ----------
    session
        The global generator, as for :func:`pipeline.generator.run`.
    image, coarse, roi
        The photo, (H, W, 3) uint8 RGB, the stage-1 mask, (H, W) float32 in 0..1, and the
        edge, (H, W) bool: patches of the second scale are placed there.
    batch
        Patches a generator call, at most.

    Returns
    -------
    (H, W) float32 in 0..1: the corrected mask. It is ``coarse`` itself for a small photo, and for
    an empty ``roi``.
    """
    change = np.zeros((1, 1), np.float32)
    for scale, small, before, near in _reduced(image, coarse, roi) if roi.any() else ():
        tiles = tile_origins(near > 0)
        seen = np.clip(before + _enlarged(change, before.shape), 0, 1)
        redrawn = generator.redraw(session, small, seen, tiles, batch)
        after, _ = blend.blend(small, seen, np.ones(seen.shape, bool), tiles, redrawn)
        change = seen + cv2.GaussianBlur(after - seen, (0, 0), scale.smoothing) - before
    if not change.any():
        return coarse
    corrected = _enlarged(change, coarse.shape)
    corrected += coarse
    return np.clip(corrected, 0, 1, out=corrected)


def _reduced(
    image: NDArray[np.uint8], coarse: NDArray[np.float32], roi: NDArray[np.bool_]
) -> list[tuple[Scale, NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]]:
    """Return the scales, and photo, mask and edge, 0..255, at each: reduced from the next finer."""
    height, width = coarse.shape
    made = []
    near = roi.view(np.uint8) * np.uint8(255)
    for scale in reversed(scales(height, width)):
        size = fitted(height, width, scale.side)[::-1]
        image, near = by_area(image, size), by_area(near, size)
        coarse = np.clip(by_area(coarse, size), 0, 1)  # sums of means round to more than 1
        made.append((scale, image, coarse, near))
    return made[::-1]


def _enlarged(change: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    size = (shape[1], shape[0])
    return np.asarray(cv2.resize(change, size, interpolation=cv2.INTER_LINEAR), np.float32)
