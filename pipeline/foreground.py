"""Take the background out of the colours, where no network does it.

A pixel of a soft edge shows I = αF + (1 − α)B; put on a new background it needs F alone, or the
old background shines through as a halo. Blur-Fusion (Forte, 2021, "Approximate Fast Foreground
Colour Estimation", section 3) takes F and B from their neighbourhoods, weighted by how surely each
pixel belongs to the one or the other, and corrects F so that it explains I; twice, in a wide
neighbourhood and then in a narrow one (the author's
``FB_blur_fusion_foreground_estimator_2``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

WIDE, NARROW = 90, 6  # px, sides of the two boxes in the author's code
SAID = 3  # px, side of the box of the means of what a network says: a larger one blurs textures
# The wide means are taken of the means of 3×3 pixels: they hold no detail that would be lost, and
# 90 is a multiple of 3. What is averaged are the weighted colours, so the means are the same.
_STEP = 3
_ROWS = 256  # at a time, so that a large photo does not fill the memory with floats
_HALF_LEVEL = 0.5 / 255  # what lies nearer to 0 or 1 than this is written as 0 or 1
_TINY = np.float32(1e-5)

Map = NDArray[np.float32]
Colours = NDArray[np.float32]


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
    seen = _around(soft)
    image, alpha, soft, written = image[seen], alpha[seen], soft[seen], foreground[seen]
    wide_f, wide_b = _wide(image, alpha)
    for rows, inner in _bands(len(alpha)):
        if not soft[rows][inner].any():
            continue
        a, photo = alpha[rows][..., None], image[rows].astype(np.float32)
        far_f, far_b = wide_f[rows].astype(np.float32), wide_b[rows].astype(np.float32)
        first = corrected(photo, a, far_f, far_b)
        near_f, near_b = _means(first * a, far_b * (1 - a), a, NARROW)
        nearest = corrected(photo, a, near_f, near_b)[inner]
        where = soft[rows][inner]
        written[rows][inner][where] = (nearest[where] + 0.5).astype(np.uint8)
    return foreground


def layers(image: Colours, alpha: Map, said: Colours) -> tuple[Colours, Colours]:
    """Return F and B as means of what somebody says of F, and of what that leaves for B.

    (H, W, 3) float32 in 0..255 each; alpha is (H, W) float32 in 0..1. Whole colours, in place and
    by few operations: so threads can do it side by side, which wait for one another between them.
    """

    def mean(array: NDArray[Any]) -> Map:
        return np.asarray(cv2.blur(array, (SAID, SAID)), np.float32)

    share = thrice(mean(alpha) + _TINY)
    in_front, behind = mean(said * thrice(alpha)), mean(image)
    behind -= in_front
    in_front /= share
    np.subtract(1 + 2 * _TINY, share, out=share)
    behind /= share
    return in_front, behind


def thrice(field: Map) -> Colours:
    """Return a field, (H, W), for each channel: NumPy is slow where the last dimension is one."""
    return np.asarray(cv2.merge([field] * 3), np.float32)


def explained(image: NDArray[np.uint8], alpha: Map, said: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Correct what somebody says of the foreground's colours so that they explain the photo.

    That is Blur-Fusion's last step with a network's answer in place of the wide means. A network
    says of each pixel what is likely there; where alpha is large the photo itself says more. So the
    step is gone by √α of its length: in full, the grain of faint pixels, and what alpha is wrong
    about, would become colour.

    Parameters
    ----------
    image, said
        (H, W, 3) uint8 RGB; the latter straight.
    alpha
        (H, W) float32 in 0..1.
    """
    photo, likely = image.astype(np.float32), said.astype(np.float32)
    colours = corrected(photo, thrice(alpha), *layers(photo, alpha, likely))
    colours -= likely
    colours *= thrice(np.sqrt(alpha))
    colours += likely
    return np.asarray(cv2.convertScaleAbs(colours), np.uint8)  # which rounds


def _around(soft: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the box of the soft pixels and of all that has a say in their colours."""
    reach = WIDE // 2 + NARROW + _STEP
    (y, x) = (np.flatnonzero(soft.any(axis)) for axis in (1, 0))
    return (
        slice(max(0, int(y[0]) - reach), int(y[-1]) + 1 + reach),
        slice(max(0, int(x[0]) - reach), int(x[-1]) + 1 + reach),
    )


def _bands(height: int) -> Iterator[tuple[slice, slice]]:
    """Yield rows with what the narrow box sees beyond them, and which of these are the rows."""
    for top in range(0, height, _ROWS):
        start = max(0, top - NARROW)
        yield slice(start, top + _ROWS + NARROW), slice(top - start, top - start + _ROWS)


def _wide(
    image: NDArray[np.uint8], alpha: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the means of both layers in the wide box, (H, W, 3) uint8 each."""
    height, width = alpha.shape
    size = (max(1, round(width / _STEP)), max(1, round(height / _STEP)))

    def small(array: NDArray[Any]) -> NDArray[np.float32]:
        reduced = cv2.resize(array, size, interpolation=cv2.INTER_AREA)
        return np.asarray(reduced, np.float32).reshape(size[1], size[0], -1)

    in_front = cv2.multiply(image, np.repeat(_bytes(alpha * 255)[..., None], 3, 2), scale=1 / 255)
    behind = small(image - in_front)
    fields = _means(small(in_front), behind, small(alpha), WIDE // _STEP)
    large_f, large_b = (
        np.asarray(cv2.resize(_bytes(field), (width, height)), np.uint8) for field in fields
    )
    return large_f, large_b


def _means(
    in_front: Colours, behind: Colours, alpha: NDArray[np.float32], side: int
) -> tuple[Colours, Colours]:
    """Return the weighted means of F and of B in a box, of αF, (1 − α)B and α, (H, W, C) each."""

    def blur(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(array, (side, side)), np.float32).reshape(array.shape)

    share = blur(alpha)
    return blur(in_front) / (share + _TINY), blur(behind) / (1 - share + _TINY)


def corrected(image: Colours, alpha: Map, in_front: Colours, behind: Colours) -> Colours:
    """Move F towards what explains I, the more the surer it is that the pixel shows F.

    Colours are float32 in 0..255, and ``alpha`` in 0..1 of a shape that goes with theirs:
    (H, W, 3) and (H, W, 1), or a channel and (H, W).
    """
    found = in_front - behind
    found *= alpha
    found += behind  # αF + (1 − α)B
    np.subtract(image, found, out=found)
    found *= alpha
    found += in_front
    return np.clip(found, 0, 255, out=found)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(array + 0.5, 0, 255).astype(np.uint8)
