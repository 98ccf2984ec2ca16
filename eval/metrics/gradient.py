"""The gradient error (Rhemann et al., CVPR 2009, §4): is the edge as sharp as it should be?

As the published evaluations compute it, in the code that came with Deep Image Matting (Xu et al.,
CVPR 2017): first-order Gaussian derivative filters of σ = 1.4, each of unit L2 norm, cut off where
the Gaussian falls below 0.01 and applied with replicated borders; then the sum of squared
differences of the two gradient magnitudes, in thousands.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from eval.metrics.error import Matte, Region, difference, inside

SIGMA = 1.4
EPSILON = 0.01  # the value of the Gaussian at which the kernel ends: a half-width of 4 px


def gradient_error(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """Gradient error in thousands. Lower is better.

    >>> step = np.repeat([[0.0, 1.0]], 8, axis=0).repeat(8, axis=1)
    >>> gradient_error(step, step)
    0.0
    >>> round(gradient_error(np.zeros((8, 16)), step), 6)
    0.156726
    """
    squared = gradient_map(alpha, truth)
    return float(np.sum(squared if region is None else inside(squared, region)) / 1000)


def gradient_map(alpha: Matte, truth: Matte) -> NDArray[np.float64]:
    """Return the squared difference of the gradient magnitudes, (H, W) float64."""
    difference(alpha, truth)  # refuses mattes of unequal size
    return np.square(magnitude(alpha) - magnitude(truth))


def magnitude(matte: Matte) -> NDArray[np.float64]:
    """Return the gradient magnitude, (H, W) float64."""
    smooth, slope = _kernels()
    array = np.asarray(matte, np.float64)
    border = cv2.BORDER_REPLICATE
    # The slope is odd: correlation and convolution differ in sign only, which the magnitude loses.
    along_x = cv2.sepFilter2D(array, cv2.CV_64F, slope, smooth, borderType=border)
    along_y = cv2.sepFilter2D(array, cv2.CV_64F, smooth, slope, borderType=border)
    return np.hypot(along_x, along_y)


def _kernels() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The Gaussian and its derivative, (9,) each, so scaled that their product has unit norm."""
    half = int(np.ceil(SIGMA * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * SIGMA * EPSILON))))
    x = np.arange(-half, half + 1, dtype=np.float64)
    gauss = np.exp(-(x**2) / (2 * SIGMA**2)) / (SIGMA * np.sqrt(2 * np.pi))
    slope = -x * gauss / SIGMA**2
    return gauss / np.linalg.norm(gauss), slope / np.linalg.norm(slope)
