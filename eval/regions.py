"""Where a figure is taken: everywhere, in the unknown area, at the true edge, inside the ROI."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.metrics.error import Matte, Region
from pipeline import roi
from pipeline.settings import Settings

BAND = 10.0  # px
FRACTIONAL = (0.005, 0.995)  # strictly between these a true alpha is soft: 2/255 … 253/255


def edge(truth: Matte) -> Region:
    """Return where the true matte has an edge, (H, W) bool.

    That is every fractional pixel (0.005 < alpha < 0.995), and both sides of a hard step: pixels
    that differ from a horizontal or vertical neighbour by more than 0.5.
    """
    boundary = (truth > FRACTIONAL[0]) & (truth < FRACTIONAL[1])
    across = np.abs(np.diff(truth, axis=1)) > 0.5
    down = np.abs(np.diff(truth, axis=0)) > 0.5
    boundary[:, 1:] |= across
    boundary[:, :-1] |= across
    boundary[1:] |= down
    boundary[:-1] |= down
    return boundary


def band(truth: Matte, width: float = BAND) -> Region:
    """Return the pixels less than ``width`` px (Euclidean) from the true edge, (H, W) bool.

    All false where the true matte has no edge.

    >>> hard = np.zeros((1, 8)); hard[:, 4:] = 1
    >>> band(hard, 2).astype(int)
    array([[0, 0, 1, 1, 1, 1, 0, 0]])
    """
    boundary = edge(truth)
    if not boundary.any():
        return boundary
    away = (~boundary).astype(np.uint8)
    return cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) < width


def unknown(trimap: NDArray[np.uint8]) -> Region:
    """Return the unknown area of a trimap, (H, W) bool: neither (nearly) black nor white."""
    return (trimap > 25) & (trimap < 230)


def all_of(
    truth: Matte,
    trimap: NDArray[np.uint8] | None = None,
    coarse: Matte | None = None,
    cells: tuple[int, int] = (320, 320),
) -> dict[str, Region | None]:
    """Return the regions that can be had, by name; an empty one is left out.

    ``whole`` (None: no restriction), ``unknown`` with a trimap, ``edge``, the 10-px band, and
    ``roi`` with a stage-1 mask and the rows and columns of stage 1's grid: the edge that stage 2
    is to redraw, as the product decides that.
    """
    candidates: dict[str, Region | None] = {"edge": band(truth)}
    if trimap is not None:
        candidates["unknown"] = unknown(trimap)
    if coarse is not None:
        default = Settings()
        candidates["roi"] = roi.find(
            np.asarray(coarse, np.float32), cells, default.roi_threshold, default.reach
        )
    kept = {name: r for name, r in candidates.items() if r is not None and r.any()}
    return {"whole": None, **kept}
