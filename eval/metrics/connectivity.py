"""The connectivity error (Rhemann et al., CVPR 2009, §4): does it hang together as it should?

As the published evaluations compute it, in the code that came with Deep Image Matting (Xu et al.,
CVPR 2017). For every pixel, l is the highest of the levels 0, 0.1, … 1 at which it still belongs to
the largest 4-connected component of the pixels that both mattes put at or above that level. Its
distance d = α − l counts when it is at least θ = 0.15; φ = 1 − d·[d ≥ θ]; the error is the sum of
|φ − φ*|, in thousands.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.metrics.error import Matte, Region, difference, inside

THETA = 0.15
LEVELS = np.arange(11) / 10  # tenths as correctly rounded decimals, so that 51/255 is ≥ 0.2


def connectivity_error(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """Connectivity error in thousands. Lower is better.

    A speck that the truth does not have is off by its whole alpha; the connected part is not:

    >>> truth = np.zeros((5, 5)); truth[:, :2] = 1
    >>> speck = truth.copy(); speck[2, 4] = 0.5
    >>> connectivity_error(truth, truth), connectivity_error(speck, truth)
    (0.0, 0.0005)
    """
    error = connectivity_map(alpha, truth)
    return float(np.sum(error if region is None else inside(error, region)) / 1000)


def connectivity_map(alpha: Matte, truth: Matte) -> NDArray[np.float64]:
    """Return |φ − φ*|, (H, W) float64."""
    difference(alpha, truth)  # refuses mattes of unequal size
    mine, theirs = _steady(alpha), _steady(truth)
    level = source_levels(mine, theirs)
    return np.abs(_phi(mine, level) - _phi(theirs, level))


def source_levels(alpha: Matte, truth: Matte) -> NDArray[np.float64]:
    """Return l, (H, W) float64: the level up to which each pixel hangs on to the common source."""
    both = np.minimum(alpha, truth)
    level = np.full(both.shape, -1.0)
    for below, at in zip(LEVELS[:-1], LEVELS[1:], strict=True):
        _, labels, stats, _ = cv2.connectedComponentsWithStats(
            (both >= at).astype(np.uint8), connectivity=4
        )
        # Label 0 is the rest; without any component the source is empty, and everything leaves it.
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()) if len(stats) > 1 else -1
        level[(level < 0) & (labels != largest)] = below
    level[level < 0] = 1.0
    return level


def _steady(matte: Matte) -> NDArray[np.float64]:
    """Eight-bit mattes arrive as float32: 51/255 must not fall below 0.2 for its rounding."""
    return np.asarray(matte, np.float64).round(7)


def _phi(alpha: Matte, level: NDArray[np.float64]) -> NDArray[np.float64]:
    distance = alpha - level
    return 1 - distance * (distance >= THETA)
