"""Put the redrawn patches back together, and nowhere else than inside the ROI.

What is blended is the *change* that stage 2 makes, not the picture: where it changes nothing the
coarse mask comes through bit for bit, because zero is zero under any weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.patches import TILE

FEATHER = 4.0  # px over which a change fades in from the border of the ROI: too short to blur hair.
_FIXED = 1 << 14


def window() -> NDArray[np.float32]:
    """Return the raised-cosine (Hann) weights of a tile, (128, 128) float32, all above zero."""
    side = np.sin(np.pi * (np.arange(TILE, dtype=np.float32) + 0.5) / TILE) ** 2
    return np.outer(side, side)


def fade(roi: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how much of a change is let through: 0 outside the ROI, 1 from 4 px inside it on.

    (H, W) bool to (H, W) float32 in 0..1. The border of the image is no border of the ROI.
    """
    if roi.all():
        return np.ones(roi.shape, np.float32)
    distance = cv2.distanceTransform(roi.astype(np.uint8), cv2.DIST_L2, 3)
    return np.minimum(distance * np.float32(1 / FEATHER), np.float32(1))


def blend(
    image: NDArray[np.uint8],
    coarse: NDArray[np.float32],
    roi: NDArray[np.bool_],
    origins: NDArray[np.intp],
    refined: Iterable[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Blend refined patches into the coarse mask and the photo.

    Parameters
    ----------
    image, coarse, roi
        (H, W, 3) uint8; (H, W) float32 in 0..1; (H, W) bool.
    origins
        Top-left corners (y, x) of the patches, (N, 2).
    refined
        The generator's answers in the order of ``origins``, each (4, 128, 128) float32 in 0..1:
        alpha, then foreground RGB. They are taken one by one, so they need not all exist at once.

    Returns
    -------
    alpha : (H, W) float32 in 0..1, equal to ``coarse`` bit for bit outside the ROI.
    foreground : (H, W, 3) uint8 straight colour, equal to ``image`` outside the ROI.
    """
    alpha, foreground = coarse.copy(), image.copy()
    weights = window()
    total = np.zeros(coarse.shape, np.float32)
    for y, x in origins:
        piece = total[y : y + TILE, x : x + TILE]
        piece += weights[: piece.shape[0], : piece.shape[1]]

    # Change of colour in fixed point: a third of the memory of floats, far finer than 8 bits.
    change = np.zeros(image.shape, np.int16)
    for (y, x), patch in zip(origins, refined, strict=True):
        area = np.s_[y : y + TILE, x : x + TILE]
        h, w = total[area].shape
        share = _fade_tile(roi, y, x) * weights[:h, :w] / total[area]
        alpha[area] += share * (patch[0, :h, :w] - coarse[area])
        colour = patch[1:, :h, :w].transpose(1, 2, 0) - image[area] * np.float32(1 / 255)
        change[area] += np.rint(share[..., None] * colour * _FIXED).astype(np.int16)
    np.clip(alpha, 0, 1, out=alpha)
    for y, x in origins:
        area = np.s_[y : y + TILE, x : x + TILE]
        moved = image[area] + change[area] * np.float32(255 / _FIXED)
        foreground[area] = np.clip(moved + 0.5, 0, 255).astype(np.uint8)
    return alpha, foreground


def _fade_tile(roi: NDArray[np.bool_], y: int, x: int) -> NDArray[np.float32]:
    """:func:`fade` of one tile; what lies farther off than the feather has no say."""
    rim = int(FEATHER) + 1
    top, left = max(y - rim, 0), max(x - rim, 0)
    near = fade(roi[top : y + TILE + rim, left : x + TILE + rim])
    return near[y - top :, x - left :][:TILE, :TILE]
