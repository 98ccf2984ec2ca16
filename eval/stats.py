"""What differences mean: paired bootstrap intervals, win counts, and ratios."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % bootstrap interval (equal to it where there is one image), and n images."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Paired:
    """A difference over the same images, and on how many of them each was better."""

    difference: Estimate
    wins: int
    ties: int
    losses: int


def mean(values: ArrayLike) -> Estimate:
    """Mean with a percentile bootstrap interval over images (Efron, 1979).

    The resamples are seeded, and the same for every figure over as many images. Raises ValueError
    for no values.

    >>> mean([1.0, 1.0, 1.0])
    Estimate(value=1.0, low=1.0, high=1.0, n=3)
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        raise ValueError("no values")
    means = array[_draws(array.size)].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(array.mean()), float(low), float(high), array.size)


def paired(mine: ArrayLike, theirs: ArrayLike, higher_is_better: bool) -> Paired:
    """Compare two methods on the same images: mean of mine − theirs, and who won where.

    A tie is a difference below a billionth.

    >>> paired([3.0, 3.0], [2.0, 3.0], higher_is_better=True)
    Paired(difference=Estimate(value=0.5, low=0.0, high=1.0, n=2), wins=1, ties=1, losses=0)
    """
    delta = np.asarray(mine, np.float64) - np.asarray(theirs, np.float64)
    gain = delta if higher_is_better else -delta
    wins, losses = int((gain > 1e-9).sum()), int((gain < -1e-9).sum())
    return Paired(mean(delta), wins, delta.size - wins - losses, losses)


def ratio(mine: ArrayLike, theirs: ArrayLike) -> Estimate:
    """Geometric mean of mine / theirs per image, with its bootstrap interval. Both above 0.

    >>> round(ratio([2.0, 8.0], [1.0, 1.0]).value, 6)
    4.0
    """
    logs = np.log(np.asarray(mine, np.float64)) - np.log(np.asarray(theirs, np.float64))
    log = mean(logs)
    value, low, high = (float(np.exp(x)) for x in (log.value, log.low, log.high))
    return Estimate(value, low, high, log.n)


@lru_cache(maxsize=4)  # a run asks for those of two or three subsets, thousands of times
def _draws(n: int) -> NDArray[np.intp]:
    return np.random.default_rng(0).integers(0, n, (RESAMPLES, n))
