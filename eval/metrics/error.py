"""How far the matte is off, pixel by pixel.

Every function takes the matte and the true alpha, (H, W) float in 0..1, and optionally a region,
(H, W) bool, outside of which nothing counts. An empty region is a ``ValueError``: an error over no
pixels is not zero. Sums and means are formed in double precision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matte = NDArray[np.floating]
Region = NDArray[np.bool_]


def mse(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """Mean squared error. Lower is better.

    >>> mse(np.array([[0.0, 1.0]]), np.array([[0.5, 1.0]]))
    0.125
    """
    return float(np.mean(np.square(difference(alpha, truth, region))))


def mae(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """Mean absolute error, called MAD in the matting literature. Lower is better.

    >>> mae(np.array([[0.0, 1.0]]), np.array([[0.5, 1.0]]))
    0.25
    """
    return float(np.mean(np.abs(difference(alpha, truth, region))))


def sad(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """Sum of absolute differences, in thousands, as in every published table. Lower is better.

    >>> sad(np.zeros((40, 50)), np.full((40, 50), 0.5))
    1.0
    """
    return float(np.sum(np.abs(difference(alpha, truth, region))) / 1000)


def psnr(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """Peak signal-to-noise ratio in dB, of a peak of 1. Higher is better; infinite if exact.

    >>> psnr(np.array([[0.0, 1.0]]), np.array([[0.1, 0.9]]))
    20.0
    >>> psnr(np.ones((2, 2)), np.ones((2, 2)))
    inf
    """
    error = mse(alpha, truth, region)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def difference(alpha: Matte, truth: Matte, region: Region | None = None) -> NDArray[np.float64]:
    """Return matte minus truth where it counts: (H, W) without a region, (n,) with one."""
    if alpha.shape != truth.shape:
        raise ValueError(f"a matte of {alpha.shape} cannot be held against one of {truth.shape}")
    delta = np.asarray(alpha, np.float64) - np.asarray(truth, np.float64)
    return delta if region is None else inside(delta, region)


def inside(array: NDArray, region: Region) -> NDArray:
    """Return the values in the region, (n, ...). Raises ValueError where there is none."""
    if not region.any():
        raise ValueError("the region has no pixels")
    return array[region]
