"""Where the subject stands in the picture: cropping, scaling and moving it.

Everywhere: alpha is (H, W) float32 in 0..1, colours are (H, W, 3) uint8, straight.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.output import margins

Colours = NDArray[np.uint8]
Matte = NDArray[np.float32]

#: Alpha from which a pixel counts as the subject; fainter is noise that no one sees.
VISIBLE = 0.05


def subject_box(alpha: Matte, margin: str = "0px") -> tuple[int, int, int, int]:
    """Find the box around the subject.

    Parameters
    ----------
    alpha
        Pixels from :data:`VISIBLE` on count as the subject.
    margin
        Room around it: see :func:`pipeline.output.margins`. The box never leaves the picture.

    Returns
    -------
    (left, top, right, bottom) in pixels, right and bottom exclusive. The whole picture where
    there is no subject.
    """
    height, width = alpha.shape
    visible = alpha >= VISIBLE
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    if not len(rows):
        return 0, 0, width, height
    left, right = int(columns[0]), int(columns[-1]) + 1
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    above, after, below, before = margins(margin, right - left, bottom - top)
    return (
        max(0, left - before),
        max(0, top - above),
        min(width, right + after),
        min(height, bottom + below),
    )


def arrange(
    alpha: Matte,
    foreground: Colours,
    scale: float | None,
    position: tuple[float, float] | None,
) -> tuple[Matte, Colours]:
    """Scale and move the subject within its picture.

    Parameters
    ----------
    alpha, foreground
        The cutout.
    scale
        Size as a share of the largest that fits the picture; None keeps the size.
    position
        Shares (x, y) of the free room; None is the middle.

    Returns
    -------
    alpha, foreground of the same shapes; alpha is 0 around the subject.
    """
    height, width = alpha.shape
    left, top, right, bottom = subject_box(alpha)
    box = np.s_[top:bottom, left:right]
    rows, columns = bottom - top, right - left
    factor = scale * min(width / columns, height / rows) if scale else 1.0
    size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    # Scaled premultiplied, or colours from where alpha is 0 would bleed into the edge.
    scaled = cv2.resize(np.ascontiguousarray(alpha[box]), size, interpolation=way)
    small = np.clip(np.asarray(scaled, np.float32), 0, 1).reshape(size[::-1])
    weighted = foreground[box].astype(np.float32) * alpha[box][..., None]
    colours = cv2.resize(weighted, size, interpolation=way).reshape(*small.shape, 3)
    straight = colours / np.maximum(small, 1e-4)[..., None]
    x, y = position or (0.5, 0.5)
    row, column = round(y * (height - size[1])), round(x * (width - size[0]))
    place = np.s_[row : row + size[1], column : column + size[0]]
    alpha, foreground = np.zeros_like(alpha), np.zeros_like(foreground)
    alpha[place] = small
    foreground[place] = np.clip(straight + 0.5, 0, 255).astype(np.uint8)
    return alpha, foreground
