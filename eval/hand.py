"""Draw as a person would: strokes of the brush along what is wrong.

A stroke has some points along the middle of the largest mistake, from one end of it to the other,
off by a hand's jitter, and a brush about as wide. A mistake too thin to be seen is left alone.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.graph import MCP_Geometric

from eval.confidence import Case
from eval.hints import mistaken, place
from pipeline.retouch import Stroke
from u2net.dataset import evenly
from u2net.hints import bounding_box, deepest, depth, largest_mistake

SEEN = 0.01  # of the longer side: a mistake less wide than this is seen by nobody
GAPS = 5  # times as wide, gaps in a mistake are painted over
BRUSH = 1.25  # of the mistake's half width along its middle, the brush's radius
WIDTHS = (0.002, 0.5)  # of the longer side: what the page's slider goes through
POINTS = 8  # of a stroke, at most
JITTER = 0.15  # deviation of a point, of the brush's radius
GRID = 200  # px: a mistake's middle is looked for in a picture no larger

Mask = NDArray[np.bool_]


def middle(spot: Mask) -> tuple[list[tuple[int, int]], float]:
    """Return the way (row, column) through the middle of a connected spot, from one end to the
    other, and half of its width along it, in pixels."""
    top, left, bottom, right = bounding_box(spot)
    step = math.ceil(max(bottom - top, right - left) / GRID)
    small = largest_mistake(spot[top:bottom:step, left:right:step])
    deep = depth(small)
    core = deep >= 0.3 * deep.max()  # its ends are as far from its border as a brush reaches
    costs = np.where(core, 1 / np.maximum(deep, 1) ** 2, -1)  # below 0 no way leads

    def farthest(start: tuple[int, int]) -> tuple[MCP_Geometric, tuple[int, int]]:
        ways = MCP_Geometric(costs)
        far, _ = ways.find_costs([start])
        row, column = np.unravel_index(np.where(np.isfinite(far), far, -1).argmax(), far.shape)
        return ways, (int(row), int(column))

    ways, end = farthest(farthest(deepest(small))[1])
    way = ways.traceback(end)
    half = float(np.median([deep[at] for at in way])) * step
    return [(top + row * step, left + column * step) for row, column in way], half


def largest(alpha: NDArray[np.float32], case: Case) -> tuple[Mask, bool] | None:
    """Return the largest mistake as one sees it, and whether it is to be restored: gaps that are
    right already are painted over. None where nothing wrong is to be seen."""
    side = max(2, round(SEEN * max(alpha.shape)))
    small, wide = (
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (s, s)) for s in (side, GAPS * side)
    )
    wrong, spots = mistaken(alpha, case), []
    for kept in (True, False):
        own = case.truth == kept
        seen = cv2.morphologyEx((wrong & own).astype(np.uint8), cv2.MORPH_OPEN, small)
        if seen.any():
            spot = largest_mistake((cv2.morphologyEx(seen, cv2.MORPH_CLOSE, wide) > 0) & own)
            spots.append((int((spot & wrong).sum()), spot, kept))
    return max(spots, key=lambda found: found[0])[1:] if spots else None


def next_stroke(alpha: NDArray[np.float32], case: Case, rng: np.random.Generator) -> Stroke | None:
    """Return the stroke that a person would draw next; None where there is nothing to be seen."""
    mistake = largest(alpha, case)
    if mistake is None:
        return None
    way, half = middle(mistake[0])
    chosen = [way[k] for k in evenly(len(way), POINTS)]
    radius = BRUSH * half
    off = rng.normal(0, JITTER * radius, (len(chosen), 2)) / alpha.shape[::-1]
    points = np.clip(np.array([place(at, case) for at in chosen]) + off, 0, 1)
    width = float(np.clip(2 * radius / max(alpha.shape), *WIDTHS))
    return Stroke(tuple((float(x), float(y)) for x, y in points), width, restore=mistake[1])
