"""Where the tiles of stage 2 lie: outside of them nothing may change."""

import numpy as np
from numpy.typing import NDArray

from pipeline.patches import TILE


def covered(origins: NDArray[np.intp], height: int, width: int) -> NDArray[np.bool_]:
    """Return where the tiles at ``origins``, (N, 2), lie in an image, (H, W) bool."""
    area = np.zeros((height, width), bool)
    for y, x in origins:
        area[y : y + TILE, x : x + TILE] = True
    return area
