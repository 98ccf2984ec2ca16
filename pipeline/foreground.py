"""Take the background out of the colours, where no network does it.

A pixel of a soft edge shows I = αF + (1 − α)B; put on a new background it needs F alone, or the
old background shines through as a halo. Blur-Fusion (Forte, 2021, "Approximate Fast Foreground
Colour Estimation", §3) takes F and B from their neighbourhoods, weighted by how surely each pixel
belongs to the one or the other, and then corrects F so that it explains I.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# The smooth fields are estimated on a view of at most this side: they hold no detail that would
# be lost, and the cost no longer grows with the photo.
_VIEW = 1024
_RADII = (90, 6)  # px, the two passes of the paper
_HALF_LEVEL = 0.5 / 255  # what lies nearer to 0 or 1 than this is written as 0 or 1


def estimate(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Estimate the straight foreground colour.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    alpha
        (H, W) float32 in 0..1.

    Returns
    -------
    (H, W, 3) uint8, equal to ``image`` wherever alpha rounds to 0 or 255.
    """
    soft = (alpha > _HALF_LEVEL) & (alpha < 1 - _HALF_LEVEL)
    foreground = image.copy()
    if not soft.any():
        return foreground
    height, width = alpha.shape
    shrink = min(1.0, _VIEW / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    view = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
    a = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)[..., None]
    near_f, near_b = view, view
    for radius in _RADII:
        near_f, near_b = _fuse(view, near_f, near_b, a, radius)
    large_f, large_b = (
        cv2.resize(_bytes(field), (width, height), interpolation=cv2.INTER_LINEAR)[soft]
        for field in (near_f, near_b)
    )
    a = alpha[soft][:, None]
    rest = image[soft] - a * large_f - (1 - a) * large_b
    foreground[soft] = _bytes(large_f + a * rest)
    return foreground


def _fuse(
    image: NDArray[np.float32],
    foreground: NDArray[np.float32],
    background: NDArray[np.float32],
    alpha: NDArray[np.float32],
    radius: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One pass: weighted means of both layers, then F corrected towards the photo."""

    def blur(array: NDArray[np.float32]) -> NDArray[np.float32]:
        side = 2 * radius + 1
        flat = cv2.blur(array, (side, side), borderType=cv2.BORDER_REPLICATE)
        return np.asarray(flat, np.float32).reshape(array.shape)

    share, tiny = blur(alpha), np.float32(1e-5)
    near_f = blur(foreground * alpha) / (share + tiny)
    near_b = blur(background * (1 - alpha)) / (1 - share + tiny)
    fixed = near_f + alpha * (image - alpha * near_f - (1 - alpha) * near_b)
    return np.clip(fixed, 0, 255), near_b


def _bytes(array: NDArray) -> NDArray[np.uint8]:
    return np.clip(array + 0.5, 0, 255).astype(np.uint8)
