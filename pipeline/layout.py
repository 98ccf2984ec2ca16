"""Where the subject stands in the picture: cropping, scaling and moving it.

Everywhere: alpha is (H, W) float32 in 0..1, colours are (H, W, 3) uint8, straight.
"""

from __future__ import annotations

import re

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SettingsError, quoted

Colours = NDArray[np.uint8]
Matte = NDArray[np.float32]

#: Alpha from which a pixel counts as the subject; fainter is noise that no one sees.
VISIBLE = 0.05


def margins(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Understand one to four margins around a box of a size, in pixels.

    Each is "20px", which is also "20", or "5%"; a percentage is of the box's height above and
    below, of its width at the sides. Two values are above and below, then the sides; three and
    four are as in CSS.

    Returns (top, right, bottom, left) in pixels. Raises :class:`SettingsError` for anything else.
    """
    if not isinstance(text, str):
        raise SettingsError(f"margin is text such as 20px or 5%, not {quoted(text)}")
    values = text.split()
    if not 1 <= len(values) <= 4:
        raise SettingsError(
            f"margin must be one to four values such as 20px or 5%, not {quoted(text)}"
        )
    top = values[0]
    right = values[1] if len(values) > 1 else top
    bottom = values[2] if len(values) > 2 else top
    left = values[3] if len(values) > 3 else right
    sides = ((top, height), (right, width), (bottom, height), (left, width))
    a, b, c, d = (_margin(value, side) for value, side in sides)
    return a, b, c, d


def _margin(text: str, side: int) -> int:
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)(px|%)?", text)
    if not match:
        raise SettingsError(f"margin must look like 20px or 5%, not {quoted(text)}")
    number = float(match[1])
    return round(number / 100 * side if match[2] == "%" else number)


def subject_box(alpha: Matte, margin: str = "0px") -> tuple[int, int, int, int]:
    """Find the box around the subject.

    Parameters
    ----------
    alpha
        Pixels from :data:`VISIBLE` on count as the subject.
    margin
        Room around it: see :func:`margins`. The box never leaves the picture.

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
    size: tuple[int, int] | None = None,
    margin: str = "0px",
) -> tuple[Matte, Colours]:
    """Scale and move the subject within its picture, or lay it out on another canvas.

    Parameters
    ----------
    alpha, foreground
        The cutout.
    scale
        Size as a share of the largest that fits the picture; None keeps the size.
    position
        Shares (x, y) of the free room; None is the middle.
    size
        (width, height) of the canvas in pixels; None is the picture's.
    margin
        Room to leave at the canvas' border: see :func:`margins`.

    Returns
    -------
    alpha, foreground of the canvas' size; alpha is 0 around the subject.
    """
    width, height = size or alpha.shape[::-1]
    above, after, below, before = margins(margin, width, height)
    wide, tall = width - before - after, height - above - below  # of the room inside the margin
    left, top, right, bottom = subject_box(alpha)
    box = np.s_[top:bottom, left:right]
    rows, columns = bottom - top, right - left
    factor = scale * min(wide / columns, tall / rows) if scale else 1.0
    scaled_size = (max(1, round(columns * factor)), max(1, round(rows * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    # Scaled premultiplied, or colours from where alpha is 0 would bleed into the edge.
    scaled = cv2.resize(np.ascontiguousarray(alpha[box]), scaled_size, interpolation=way)
    small = np.clip(np.asarray(scaled, np.float32), 0, 1).reshape(scaled_size[::-1])
    weighted = foreground[box].astype(np.float32) * alpha[box][..., None]
    colours = cv2.resize(weighted, scaled_size, interpolation=way).reshape(*small.shape, 3)
    straight = colours / np.maximum(small, 1e-4)[..., None]
    x, y = position or (0.5, 0.5)
    row = above + round(y * (tall - small.shape[0]))
    column = before + round(x * (wide - small.shape[1]))
    place = np.s_[row : row + small.shape[0], column : column + small.shape[1]]
    laid, painted = np.zeros((height, width), np.float32), np.zeros((height, width, 3), np.uint8)
    laid[place] = small
    painted[place] = np.clip(straight + 0.5, 0, 255).astype(np.uint8)
    return laid, painted
