"""Measures of salient-object detection: did it find the subject, and all of it?

The true alpha is made binary at 0.5. The matte is not stretched to its extremes first, as many
evaluations do: a faint answer is a faint answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eval.metrics.error import Matte, Region, difference, inside

BETA_SQUARED = 0.3  # precision weighs more than recall (Achanta et al., CVPR 2009)


def f_beta_curve(alpha: Matte, truth: Matte, region: Region | None = None) -> NDArray[np.float64]:
    """Return F-beta at the 256 thresholds of an 8-bit matte, (256,) float64, highest first.

    A pixel is found where round(255·alpha) is at least the threshold 255, 254, … 0. Without any
    true foreground, F is 0 everywhere.
    """
    difference(alpha, truth)  # refuses mattes of unequal size
    grey = np.round(np.clip(alpha, 0, 1) * 255).astype(np.intp)
    real = np.asarray(truth) > 0.5
    if region is not None:
        grey, real = inside(grey, region), inside(real, region)
    hits = np.cumsum(np.bincount(grey[real].ravel(), minlength=256)[::-1])
    predicted = np.cumsum(np.bincount(grey.ravel(), minlength=256)[::-1])
    # F = (1 + b²)·P·R / (b²·P + R) with P = hits/predicted and R = hits/positives, multiplied out.
    below = BETA_SQUARED * np.count_nonzero(real) + predicted
    return (1 + BETA_SQUARED) * hits / np.maximum(below, np.finfo(float).tiny)


def f_beta_max(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """Maximum F-beta over all thresholds, 0..1, β² = 0.3. Higher is better.

    >>> f_beta_max(np.array([[0.2, 0.9]]), np.array([[0.0, 1.0]]))
    1.0
    """
    return float(f_beta_curve(alpha, truth, region).max())


def f_beta_mean(alpha: Matte, truth: Matte, region: Region | None = None) -> float:
    """Mean F-beta over all thresholds, 0..1, β² = 0.3. Higher is better.

    >>> f_beta_mean(np.array([[0.0, 1.0]]), np.array([[0.0, 1.0]])) > 0.99
    True
    """
    return float(f_beta_curve(alpha, truth, region).mean())


def s_measure(alpha: Matte, truth: Matte) -> float:
    """S-measure (Fan et al., ICCV 2017), 0..1, α = 0.5. Higher is better.

    The mean of object-aware and region-aware structural similarity. It is defined on whole images
    only: it divides the picture at the centroid of the true subject.

    >>> truth = np.zeros((8, 8)); truth[2:6, 2:6] = 1
    >>> round(s_measure(truth, truth), 6)
    1.0
    """
    difference(alpha, truth)
    mine = np.asarray(alpha, np.float64)
    real = np.asarray(truth) > 0.5
    share = real.mean()
    if share == 0:
        return float(1 - mine.mean())
    if share == 1:
        return float(mine.mean())
    score = 0.5 * _object(mine, real, share) + 0.5 * _regions(mine, real)
    return float(max(score, 0.0))


def _object(alpha: NDArray[np.float64], real: Region, share: float) -> float:
    def similarity(values: NDArray[np.float64]) -> float:
        mean, spread = values.mean(), values.std(ddof=1) if values.size > 1 else 0.0
        return 2 * mean / (mean**2 + 1 + spread + np.finfo(float).eps)

    return share * similarity(alpha[real]) + (1 - share) * similarity(1 - alpha[~real])


def _regions(alpha: NDArray[np.float64], real: Region) -> float:
    rows, columns = np.nonzero(real)
    # The quadrants meet behind the centroid, one further than its (rounded) index.
    y, x = int(np.round(rows.mean())) + 1, int(np.round(columns.mean())) + 1
    total = 0.0
    for part in (np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:]):
        if real[part].size:
            total += real[part].size / real.size * _similarity(alpha[part], real[part])
    return total


def _similarity(alpha: NDArray[np.float64], real: Region) -> float:
    """SSIM of a whole quadrant, without its stabilising constants."""
    theirs = real.astype(np.float64)
    a, b, freedom = alpha.mean(), theirs.mean(), max(alpha.size - 1, 1)
    spread_a = np.sum((alpha - a) ** 2) / freedom
    spread_b = np.sum((theirs - b) ** 2) / freedom
    together = np.sum((alpha - a) * (theirs - b)) / freedom
    above = 4 * a * b * together
    below = (a**2 + b**2) * (spread_a + spread_b)
    if above != 0:
        return float(above / (below + np.finfo(float).eps))
    return 1.0 if below == 0 else 0.0
