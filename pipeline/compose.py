"""Put a cutout on a background: C = αF + (1 − α)B.

Alpha and colours are straight (not premultiplied): a cutout fits any background, and on its own
one it gives the photo back.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
_STRIP = 1 << 18  # pixels blended at a time: the work stays in the cache, and memory small


def levels(alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round alpha to grey levels, (H, W) float32 in 0..1 to (H, W) uint8."""
    return np.asarray(cv2.convertScaleAbs(alpha, alpha=255), np.uint8).reshape(alpha.shape)


def keep_opaque(
    foreground: NDArray[np.uint8], alpha: NDArray[np.float32], image: NDArray[np.uint8]
) -> None:
    """Give the foreground the photo's own colours, in place, wherever alpha is written as 255.

    There is no background in them that could be taken out: C = F where α = 1.

    Parameters
    ----------
    foreground, image
        (H, W, 3) uint8; the foreground C-contiguous.
    alpha
        (H, W) float32 in 0..1.
    """
    rows = max(1, _STRIP // alpha.shape[1])
    for top in range(0, len(alpha), rows):
        strip = np.s_[top : top + rows]
        solid = (levels(alpha[strip]) == 255).view(np.uint8)
        cv2.copyTo(image[strip], solid, foreground[strip])


def rgba(foreground: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Join colour and alpha into straight RGBA.

    Parameters
    ----------
    foreground
        (H, W, 3) uint8, straight.
    alpha
        (H, W) float32 in 0..1.

    Returns
    -------
    (H, W, 4) uint8. Where alpha rounds to 0 the colour is black: what was cut away can not be
    brought back from the file, and the file is smaller.
    """
    height, width = alpha.shape
    joined = np.empty((height, width, 4), np.uint8)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = np.s_[top : top + rows]
        grey, part = levels(alpha[strip]), joined[strip]
        cv2.cvtColor(np.ascontiguousarray(foreground[strip]), cv2.COLOR_RGB2RGBA, part)
        part[..., 3] = grey
        # As whole pixels of 32 bits, one comparison each.
        part.view(np.uint32)[..., 0][grey == 0] = 0
    return joined


def over(
    foreground: NDArray[np.uint8],
    alpha: NDArray[np.float32],
    background: Colour | NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Composite: C = αF + (1 − α)B, rounded to the nearest level.

    Parameters
    ----------
    foreground, alpha
        (H, W, 3) uint8, straight; (H, W) float32 in 0..1.
    background
        A colour (r, g, b), or a picture (H, W, 3) uint8.

    Returns
    -------
    (H, W, 3) uint8.
    """
    height, width = alpha.shape
    result = np.empty((height, width, 3), np.uint8)
    behind = np.broadcast_to(np.asarray(background, np.uint8), result.shape)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = np.s_[top : top + rows]
        b = behind[strip].astype(np.float32)
        mixed = foreground[strip] - b
        mixed *= alpha[strip, :, None]
        mixed += b
        mixed += 0.5
        result[strip] = mixed  # truncates; the values lie within 0.5..255.5
    return result
