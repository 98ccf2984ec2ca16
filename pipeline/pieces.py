"""The pieces of a mask: which there are, the largest, the one at a place, and its holes.

A piece is what hangs together above one half. Its soft surroundings belong to the nearest piece.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]

_VIEW = 1024  # px: pieces are told apart in a view of at most this side
_SUBJECT = 0.5
LEAST = 0.05  # of the largest piece's area: what has less is no subject of its own


def numbered(mask: Map) -> tuple[NDArray[np.int32], list[int]]:
    """Give every pixel the number of its nearest piece.

    Returns
    -------
    numbers : (H, W) int32, all 0 where there is no piece.
    sizes : of the pieces 1, 2, …, in pixels of the view that they were counted in.
    """
    height, width = mask.shape
    scale = min(1.0, _VIEW / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    subject = (small > _SUBJECT).astype(np.uint8)
    if not subject.any():
        return np.zeros(mask.shape, np.int32), []
    count, exact = cv2.connectedComponents(subject)
    sizes = np.bincount(exact.ravel(), minlength=count)[1:]
    _, nearest = cv2.distanceTransformWithLabels(
        1 - subject, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # The transform numbers the subject's pixels; each of them is a pixel of some piece.
    owner = np.zeros(int(nearest.max()) + 1, np.int32)
    owner[nearest[subject > 0]] = exact[subject > 0]
    numbers = cv2.resize(owner[nearest], (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(numbers, np.int32), [int(n) for n in sizes]


def largest(mask: Map) -> Map:
    """Keep the largest piece of a mask, (H, W) float32 in 0..1, and what is nearest to it."""
    numbers, sizes = numbered(mask)
    if len(sizes) < 2:
        return mask
    return np.where(numbers == 1 + int(np.argmax(sizes)), mask, np.float32(0))


def at(mask: Map, place: tuple[int, int]) -> Map:
    """Keep the piece nearest to a pixel (y, x)."""
    numbers, _ = numbered(mask)
    y, x = (min(max(0, p), side - 1) for p, side in zip(place, mask.shape, strict=True))
    return np.where(numbers == numbers[y, x], mask, np.float32(0))


def apart(mask: Map, least: float) -> tuple[NDArray[np.int32], list[int]]:
    """Divide a photo among its pieces.

    Pieces of less than ``least`` of the largest one's area go with the nearest that is not.

    Returns
    -------
    numbers : (H, W) int32, of the piece that a pixel belongs to.
    pieces : their numbers, from left to right; none where there is no piece.
    """
    numbers, sizes = numbered(mask)
    if not sizes:
        return numbers, []
    true = [k + 1 for k, size in enumerate(sizes) if size >= least * max(sizes)]
    if len(true) < len(sizes):
        kept = np.where(np.isin(numbers, true), mask, np.float32(0))
        numbers, sizes = numbered(kept)
        true = list(range(1, len(sizes) + 1))
    owners, columns = numbers[mask > _SUBJECT], np.nonzero(mask > _SUBJECT)[1]
    total = np.bincount(owners, columns, minlength=len(sizes) + 1)
    middle = total / np.maximum(np.bincount(owners, minlength=len(sizes) + 1), 1)
    return numbers, sorted(true, key=lambda number: float(middle[number]))


def filled(mask: Map, most: float) -> Map:
    """Close the holes of a mask, (H, W) float32 in 0..1, that have at most so many pixels."""
    gaps = (mask <= _SUBJECT).astype(np.uint8)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(gaps, connectivity=4)
    height, width = mask.shape
    closed = np.zeros(count, bool)
    for number in range(1, count):
        left, top, w, h, area = facts[number]
        rim = left == 0 or top == 0 or left + w == width or top + h == height
        closed[number] = not rim and area <= most
    holes = closed[labels]
    if not holes.any():
        return mask
    # Their soft rims too: all that is nearer to a hole than to what lies outside of the subject.
    reach = 2 * max(1, round(max(height, width) / 160)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    near = cv2.dilate(holes.astype(np.uint8), disc) > 0
    outside = cv2.dilate(((gaps > 0) & ~holes).astype(np.uint8), disc) > 0
    return np.where(holes | (near & ~outside), np.float32(1), mask)
