"""Structural similarity (Wang et al., IEEE TIP 2004), by scikit-image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from eval.metrics.error import Matte, Region, difference, inside


def ssim(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """Mean SSIM of the matte, -1..1. Higher is better.

    scikit-image's defaults (7×7 uniform window, sample covariance, K1 = 0.01, K2 = 0.03) with a
    data range of 1. Over the whole image its mean leaves out the outermost 3 px; over a region it
    is the mean of the SSIM map there. A side shorter than 7 px takes the largest odd window.

    >>> flat = np.full((8, 8), 0.5)
    >>> ssim(flat, flat)
    1.0
    """
    full, rim = ssim_map(alpha, truth), (_window(truth) - 1) // 2
    height, width = full.shape
    whole = full[rim : height - rim, rim : width - rim]
    return float(np.mean(whole if region is None else inside(full, region)))


def ssim_map(alpha: Matte, truth: Matte) -> NDArray[np.float64]:
    """Return the SSIM around each pixel, (H, W) float64."""
    difference(alpha, truth)  # refuses mattes of unequal size
    pair = (np.asarray(alpha, np.float64), np.asarray(truth, np.float64))
    return structural_similarity(*pair, win_size=_window(truth), data_range=1.0, full=True)[1]


def _window(truth: Matte) -> int:
    short = min(truth.shape)
    return min(7, short - (short + 1) % 2)
