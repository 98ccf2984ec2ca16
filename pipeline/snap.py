"""Move the border of a brush stroke to the edge that the photo has there.

A hand does not follow an edge, it covers it: what lies along a stroke's middle is meant, its border
is wherever the brush was. So the colours under its middle and those beside it decide what else of
it belongs: GrabCut (Rother et al., 2004), on a small picture, with the matte as it was elsewhere.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]

#: px of the longer side of the picture that is looked at: a stroke's answer is to come at once.
SIDE = 160
_ROUNDS = 1
_CENTRES = 5  # as many as GrabCut's mixtures have
_COLOURS = 24  # pixels that a side needs, at least, for its colours to be known
_NONE = 1 / 512  # what is less than this is nothing, at 8 bits
_CERTAIN = 0.95  # of the matte: beside the stroke, from here on it is no matter of colours


def snapped(image: NDArray[np.uint8], matte: Map, cover: Map, sure: Map, restore: bool) -> Map:
    """Return which part of a stroke is meant.

    Parameters
    ----------
    image
        The photo around the stroke, (h, w, 3) uint8.
    matte
        How it was cut out so far, (h, w) float32 in 0..1.
    cover, sure
        What the stroke covers, and what lies along its middle, each (h, w) float32 in 0..1.
    restore
        Whether the stroke puts into the subject what it covers; else it takes it out.

    Returns
    -------
    (h, w) float32 in 0..1: at least ``sure``, at most ``cover``; ``cover`` itself where there are
    too few pixels to tell two sides by.
    """
    height, width = cover.shape
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small, was, drawn, middle = (
        np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)).reshape(
            size[1], size[0], *picture.shape[2:]
        )
        for picture in (image, matte, cover, sure)
    )
    old = was if restore else 1 - was  # how far it is on the stroke's side already
    meant, other = middle >= 0.5, (drawn < 0.5) & (old <= 0.5)
    if min(int(meant.sum()), int(other.sum())) < _COLOURS:
        return cover
    labels = np.full(old.shape, cv2.GC_PR_FGD, np.uint8)
    cv2.setRNGSeed(0)
    labels[other | (_away(small, meant) > _away(small, other))] = cv2.GC_PR_BGD
    labels[(old > _CERTAIN) & (drawn < 0.5) | meant] = cv2.GC_FGD
    kept = grabcut(np.asarray(small, np.uint8), labels, _ROUNDS)
    full = np.asarray(cv2.resize(kept, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.maximum(np.minimum(full.reshape(cover.shape), cover), sure)


def soft(
    image: NDArray[np.uint8], matte: Map, cover: Map, sure: Map, restore: bool, doubt: float
) -> Map:
    """Return what is meant of a stroke, soft as a coarse mask is and as sure as along its middle.

    Parameters and shape are those of :func:`snapped`; ``doubt`` is the deviation of the ramp, px.
    """
    meant = snapped(image, matte, cover, sure, restore)
    ramp = np.minimum(np.maximum(_blurred(meant, doubt), sure), 1)  # sums of the blur round to more
    ramp[ramp < _NONE] = 0
    return ramp


def edited(mask: Map, stroke: Map, restore: bool) -> Map:
    """Return a mask into which a stroke is put, or which it is taken out of."""
    return np.maximum(mask, stroke) if restore else np.minimum(mask, 1 - stroke)


def _blurred(cover: Map, deviation: float) -> Map:
    """Blur with a Gaussian of so many pixels: a wide one as one of 8 in a smaller picture, which
    takes a sixth of the time, and differs by a third of a level, at the border by up to three."""
    side = np.array(cover.shape[::-1])
    size = np.ceil(side / max(1.0, deviation / 8)).astype(int)
    small = cv2.resize(cover, size.tolist(), interpolation=cv2.INTER_AREA)
    x, y = deviation * size / side
    blurred = cv2.GaussianBlur(small, (0, 0), x, None, y, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(blurred, side.tolist()), np.float32).reshape(cover.shape)


def grabcut(picture: NDArray[np.uint8], labels: NDArray[np.uint8], rounds: int) -> Map:
    """Run OpenCV's GrabCut from labels ``cv2.GC_*`` of both sides, which it writes over, both of
    (h, w) pixels, the picture of three channels; return the subject, (h, w) float32, 0 or 1."""
    models = np.zeros((1, 65)), np.zeros((1, 65))
    seen = np.ascontiguousarray(picture)
    cv2.grabCut(seen, labels, (0, 0, 0, 0), *models, rounds, cv2.GC_INIT_WITH_MASK)
    return (labels & 1).astype(np.float32)  # GC_FGD and GC_PR_FGD


def _away(picture: NDArray[Any], part: NDArray[np.bool_]) -> Map:
    """Return how far each colour, (h, w), is from the nearest of some that a part of it has."""
    samples = picture[part].astype(np.float32)
    until = (cv2.TERM_CRITERIA_MAX_ITER, 10, 0.0)
    start = np.zeros((len(samples), 1), np.int32)
    _, _, centres = cv2.kmeans(samples, _CENTRES, start, until, 1, cv2.KMEANS_PP_CENTERS)
    offset = picture[:, :, None].astype(np.float32) - centres
    return np.asarray(np.square(offset).sum(-1).min(-1), np.float32)
