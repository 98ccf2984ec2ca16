"""Hints simulated from masks: what a person would mark to say which object is to be cut.

A hint is two planes (2, S, S) float32 in 0..1 beside the photo: ``KEEP`` (a filled box, discs of
clicks) and ``DROP`` (discs). Clicks are drawn from the inside of an object (Xu et al., "Deep
Interactive Object Selection", CVPR 2016) or from the middle of what is wrong so far (Sofiiuk et
al., "Reviving Iterative Training with Mask Guidance", ICIP 2022).

``truth``, ``target`` and other maps are (S, S) float32 in 0..1, masks (S, S) bool.
"""

from __future__ import annotations

from functools import reduce

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.selection import DISC, FAINT

Random = np.random.Generator
Map = NDArray[np.float32]
Mask = NDArray[np.bool_]
Point = tuple[int, int]  # row, column

KEEP, DROP = 0, 1
JITTER = 0.03  # standard deviation of a box's edge, as a share of the box's side


def draw_disc(plane: Map, at: Point, radius: float = DISC) -> None:
    """Draw a click into a plane (S, S), in place; ``radius`` is a share of its side."""
    cv2.circle(plane, (at[1], at[0]), max(1, round(radius * len(plane))), 1.0, -1)


def draw_box(plane: Map, box: tuple[float, float, float, float], value: float = 1.0) -> None:
    """Fill a box (top, left, bottom, right in px, the last two outside) of a plane, in place."""
    top, left, bottom, right = (max(0, round(edge)) for edge in box)
    plane[top : max(bottom, top + 1), left : max(right, left + 1)] = value


def bounding_box(mask: Mask) -> tuple[int, int, int, int]:
    """Return the box (top, left, bottom, right) of what is set in a mask that is not empty."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return top, left, top + height, left + width


def depth(mask: Mask) -> Map:
    """Return how far each pixel of a mask is from its edge, px; the view's border is an edge."""
    inside = np.pad(mask, 1).astype(np.uint8)
    far = np.asarray(cv2.distanceTransform(inside, cv2.DIST_L2, 3), np.float32)
    return far[1:-1, 1:-1]


def deepest(mask: Mask) -> Point:
    """Return the point of a mask that is farthest from its edge."""
    row, column = np.unravel_index(depth(mask).argmax(), mask.shape)
    return int(row), int(column)


def random_inside(rng: Random, mask: Mask) -> Point | None:
    """Return a random point of a mask, not at its very edge; None of an empty one."""
    if not mask.any():
        return None
    far = depth(mask)
    inside = np.argwhere(far >= min(0.3 * far.max(), 0.03 * len(mask)))
    row, column = inside[rng.integers(len(inside))]
    return int(row), int(column)


def objects(truth: Map, smallest: float = 0.004) -> list[Map]:
    """Return the separate subjects of a truth, each as a truth of its own, without crumbs.

    A subject covers ``smallest`` of the view, and a twentieth of what the largest one does.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats((truth > 0.5).astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    if not len(areas):
        return []
    subjects = []
    for label in 1 + np.flatnonzero(areas >= max(smallest * truth.size, areas.max() / 20)):
        own = labels == label
        near = cv2.dilate(own.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        subjects.append(truth * (own | (near & (labels == 0))))
    return subjects


def choose(rng: Random, parts: list[Map]) -> Map:
    """Return what is meant of one or more objects: mostly one, sometimes two of them, or all."""
    count = min(len(parts), int(rng.choice([1, 1, 1, 1, 2, len(parts)])))
    chosen = rng.choice(len(parts), count, replace=False)
    return reduce(np.maximum, (parts[k] for k in chosen))


def simulate(rng: Random, target: Map, rest: Map, correct: bool = False) -> NDArray[np.float32]:
    """Return hints (2, S, S) for ``target``, where ``rest`` shows the objects that are not meant.

    A box alone, a box with one to three clicks, or clicks alone. ``correct`` says that clicks on
    mistakes are to follow (:func:`correction`).
    """
    planes = np.zeros((2, *target.shape), np.float32)
    mask = target > 0.5
    way = rng.random()
    clicks = 0 if way < 0.45 else int(rng.integers(1, 4))
    radius = DISC * rng.uniform(0.8, 1.2)
    boxed = way < 0.7
    if boxed:
        top, left, bottom, right = bounding_box(mask)
        sides = np.array([bottom - top, right - left] * 2)
        edges = (top, left, bottom, right) + rng.normal(0, JITTER, 4) * sides
        draw_box(planes[KEEP], tuple(edges), FAINT if clicks or correct else 1.0)
    for number in range(clicks):
        keeps = rng.random() < 0.5 or not (boxed or number)
        where = mask if keeps else _to_drop(rng, mask, rest > 0.5)
        middle = keeps and rng.random() < 0.4
        at = deepest(where) if middle else random_inside(rng, where)
        if at:
            draw_disc(planes[KEEP if keeps else DROP], at, radius)
    return planes


def _to_drop(rng: Random, mask: Mask, others: Mask) -> Mask:
    """Return where a person would click to drop: on another object, else close to the target."""
    others = others & ~mask
    if others.any() and rng.random() < 0.7:
        return others
    reach = np.ones((max(3, len(mask) // 6),) * 2, np.uint8)
    return (cv2.dilate(mask.astype(np.uint8), reach) > 0) & ~mask


def correction(
    planes: NDArray[np.float32], predicted: Map, target: Map, clicks: int = 1
) -> NDArray[np.float32]:
    """Return ``planes`` (2, S, S) and clicks in the middle of the largest mistakes."""
    planes = planes.copy()
    wrong = (predicted > 0.5) != (target > 0.5)
    for _ in range(clicks):
        if not wrong.any():
            break
        spot = largest_mistake(wrong)
        at = deepest(spot)
        draw_disc(planes[KEEP if target[at] > 0.5 else DROP], at)
        wrong &= ~spot
    return planes


def largest_mistake(wrong: Mask) -> Mask:
    """Return the largest connected part of a mask that is not empty."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(wrong.astype(np.uint8))
    return np.asarray(labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())
