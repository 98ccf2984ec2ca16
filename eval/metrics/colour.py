"""The colours of a cutout: is the old background out of them, and does it sit on a new one?

A cutout is judged as the straight-alpha RGBA that it was delivered as: colours that were darkened
by premultiplying, and halos of the old background, count as what they look like.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eval.metrics.error import Region, inside

SOFT = (0.05, 0.95)  # true alpha between which foreground colour is both mixed and visible
BACKGROUNDS = 8


def foreground_error(
    cutout: NDArray[np.uint8], foreground: NDArray[np.uint8], truth: NDArray[np.floating]
) -> float:
    """Mean absolute colour error on soft edges, in grey levels, 0..255. Lower is better.

    Over the pixels with 0.05 < true alpha < 0.95 that the cutout shows at all (its alpha is not 0:
    a colour that nobody can see has no error; that the pixel is missing is the matte's error).

    Parameters
    ----------
    cutout
        (H, W, 4) uint8 straight RGBA.
    foreground
        The true foreground, (H, W, 3) uint8.
    truth
        The true alpha, (H, W) float in 0..1.

    Raises
    ------
    ValueError
        Where no such pixel exists.

    >>> grey = np.full((1, 2, 3), 100, np.uint8)
    >>> cutout = np.dstack([grey + np.uint8(10), np.full((1, 2), 128, np.uint8)])
    >>> foreground_error(cutout, grey, np.array([[0.5, 1.0]]))
    10.0
    """
    counts = (truth > SOFT[0]) & (truth < SOFT[1]) & (cutout[..., 3] > 0)
    mine, theirs = inside(cutout[..., :3], counts), inside(foreground, counts)
    return float(np.mean(np.abs(mine.astype(np.float64) - theirs)))


def composite_error(
    cutout: NDArray[np.uint8],
    foreground: NDArray[np.uint8],
    truth: NDArray[np.floating],
    region: Region | None = None,
    seed: int = 0,
) -> float:
    """Mean absolute error of composites over random backgrounds, in grey levels. Lower is better.

    The cutout and the true foreground with the true alpha are put over the same eight plain
    colours, drawn uniformly from the RGB cube by ``seed``. This sees alpha and colour as one
    does: a wrong colour at a low alpha hardly counts, a halo does. Arguments as in
    :func:`foreground_error`; an empty region is a ``ValueError``.

    >>> grey = np.full((2, 2, 3), 100, np.uint8)
    >>> opaque = np.dstack([grey, np.full((2, 2), 255, np.uint8)])
    >>> composite_error(opaque, grey, np.ones((2, 2)))
    0.0
    """
    colours = np.random.default_rng(seed).uniform(0, 255, (BACKGROUNDS, 3))
    a, b = cutout[..., 3:] / 255.0, np.asarray(truth, np.float64)[..., None]
    # Linear in the background, so the difference of two composites needs no composite.
    ours, holes = a * cutout[..., :3] - b * foreground, b - a
    if region is not None:
        ours, holes = inside(ours, region), inside(holes, region)
    return float(np.mean([np.mean(np.abs(ours + holes * colour)) for colour in colours]))
