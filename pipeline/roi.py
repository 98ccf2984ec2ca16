"""Where the alpha is in doubt, and stage 2 redraws it: around the edges of the coarse mask.

Stage 1 speaks on a grid of its own, ``cells`` of them laid over the photo whatever its size, so the
edge is looked for there: one step of the Sobel gradient is then the same thing on a
thumbnail and on a 24-megapixel photo, and the cost does not grow with the pixels. Strands that
stage 1 missed lie beside the ramp, where the gradient is zero; the dilation reaches out to them,
in cells again, because a lost strand is lost by so many cells and not by so many pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.reduce import by_area


def find(
    coarse: NDArray[np.float32],
    cells: tuple[int, int] = (320, 320),
    threshold: float = 0.1,
    reach: float = 4.0,
) -> NDArray[np.bool_]:
    """Mark the pixels whose alpha stage 2 is to redraw.

    Parameters
    ----------
    coarse
        Stage-1 mask at image size, (H, W) float32, 0..1.
    cells
        Rows and columns of the grid on which stage 1 speaks; an image side that has fewer pixels
        is its own grid.
    threshold
        Sobel gradient magnitude, in alpha per cell, above which a cell is an edge. The 3×3 Sobel
        kernel is divided by 8, so a clean ramp from 0 to 1 over n cells measures 1/n.
    reach
        Radius of the dilation, in cells.

    Returns
    -------
    (H, W) bool. All false where the mask has no edge.
    """
    height, width = coarse.shape
    grid = by_area(coarse, (min(height, cells[0]), min(width, cells[1])))
    dx = cv2.Sobel(grid, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.Sobel(grid, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
    edge = (cv2.magnitude(dx, dy) > threshold).astype(np.uint8)
    if not edge.any():
        return np.zeros((height, width), bool)
    side = 2 * int(np.ceil(reach)) + 1
    near = cv2.dilate(edge, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    # INTER_NEAREST_EXACT has the same half-pixel centres as INTER_AREA above, so nothing shifts.
    full = cv2.resize(near, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(full, np.uint8).view(bool)
