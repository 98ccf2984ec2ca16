"""Find the things under points, without hints to the network.

Around a point the photo is looked at from several distances: the thing under the point wins that
is seen most surely and most wholly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import coarse, pieces, views
from pipeline.models import CoarseModel, Session
from pipeline.views import Box, Map, Sight

Point = tuple[float, float]

CELLS = 320  # of a grid that no view gives: so many a side, as stage 1's are
#: Sides of the nearer views around a point, of the photo's (or the box's).
_AROUND = (0.6, 0.35)


def text(values: Sequence[float]) -> str:
    return ",".join(f"{value:.9g}" for value in values)


@dataclass(frozen=True)
class _Thing:
    """What was found under a point, in a view of ``box``: (h, w) float32, and how surely."""

    box: Box
    map: Map
    score: float
    grid: tuple[int, int] | None = None  # of the photo, where it is not the view's own

    def holds(self, points: Sequence[Point]) -> bool:
        return any(_value(self.map, self.box, point) > views.SUBJECT for point in points)

    def mask(self, shape: tuple[int, int]) -> Map:
        mask = np.zeros(shape, np.float32)
        mask[self.box.area] = coarse.upsample(self.map, self.box.shape)
        return mask

    def cells(self, shape: tuple[int, int]) -> tuple[int, int]:
        if self.grid:
            return self.grid
        (h, w), (bh, bw) = self.map.shape, self.box.shape
        return round(h * shape[0] / bh), round(w * shape[1] / bw)


def under(
    session: Session,
    card: CoarseModel,
    image: NDArray[np.uint8],
    frame: Box | None,
    keep: Sequence[Point],
    drop: Sequence[Point],
    looks: int,
    names: Mapping[Point, str],
) -> tuple[Sight, list[str]]:
    """Find the things under points; with points to drop alone, all but those.

    The points are in pixels of the photo, (H, W, 3) uint8; ``names`` has what each is called in
    the notes that come back: as whoever gave it did.
    """
    shape, notes = (image.shape[0], image.shape[1]), []
    everything = frame or Box(0, 0, *shape)
    plain = views.see(session, card, image, looks, frame)
    sight = None
    for point in keep:
        seen = _things(session, card, image, everything, point, plain)
        best = max(seen, key=lambda thing: thing.score, default=None)
        if best is None:
            notes.append(f"nothing was found at the point {names[point]}")
            continue
        one = Sight(best.mask(shape), best.cells(shape), best.box, best.map, best.map, 1)
        if sight is None:
            sight = one
        else:
            cells = (max(sight.cells[0], one.cells[0]), max(sight.cells[1], one.cells[1]))
            sight = replace(sight, mask=np.maximum(sight.mask, one.mask), cells=cells)
    if sight is None and keep:
        nothing = np.zeros((CELLS, CELLS), np.float32)
        sight = Sight(np.zeros(shape, np.float32), nothing.shape, everything, nothing, nothing, 1)
    sight = sight or plain
    for point in drop:
        if _value(sight.mask, Box(0, 0, *shape), point) <= views.SUBJECT:
            continue
        things = list(_things(session, card, image, everything, point, plain))
        others = [thing for thing in things if not thing.holds(keep)]
        best = max(others, key=lambda thing: thing.score, default=None)
        if best is None:
            notes.append(
                f"the thing at the point {names[point]} stays: there is a point to keep on it, too"
                if things
                else f"nothing was found at the point {names[point]} that could be dropped"
            )
            continue
        sight = replace(sight, mask=np.minimum(sight.mask, 1 - best.mask(shape)))
    return sight, notes


def _things(
    session: Session,
    card: CoarseModel,
    image: NDArray[np.uint8],
    frame: Box,
    point: Point,
    plain: Sight,
) -> Iterator[_Thing]:
    """Yield what lies under a point: in what is seen without it, and from nearer by."""
    whole = Box(0, 0, image.shape[0], image.shape[1])
    for share in (None, *_AROUND):
        box = _centred(frame, point, share) if share else whole
        seen = plain.mask
        if share:
            seen = coarse.to_mask(coarse.probabilities(session, card, image[box.area]), card)
        if _value(seen, box, point) <= views.SUBJECT:
            continue
        scale = np.array(seen.shape) / box.shape
        at = (int((point[1] - box.top) * scale[0]), int((point[0] - box.left) * scale[1]))
        alone = pieces.at(seen, at)
        subject = alone > views.SUBJECT
        score = float(alone[subject].mean()) * _whole(subject, box, frame)
        yield _Thing(box, alone, score, None if share else plain.cells)


def _centred(frame: Box, point: Point, share: float) -> Box:
    """Return the part of a frame around a point, shifted to where it fits."""
    ends = []
    for low, high, middle in (
        (frame.top, frame.bottom, point[1]),
        (frame.left, frame.right, point[0]),
    ):
        side = max(1, round((high - low) * share))
        start = int(np.clip(round(middle - side / 2), low, high - side))
        ends.append((start, start + side))
    (top, bottom), (left, right) = ends
    return Box(top, left, bottom, right)


def _whole(subject: NDArray[np.bool_], box: Box, frame: Box) -> float:
    """Tell how much of a thing's outline is not the border of the view: 1 for a whole thing."""
    cut = sum(
        int(line.sum())
        for line, inner in (
            (subject[0], box.top > frame.top),
            (subject[-1], box.bottom < frame.bottom),
            (subject[:, 0], box.left > frame.left),
            (subject[:, -1], box.right < frame.right),
        )
        if inner
    )
    outline = cv2.morphologyEx(
        np.pad(subject, 1).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
    )
    return 1 - min(1.0, 2 * cut / max(int(outline.sum()), 1))


def _value(mask: Map, box: Box, point: Point) -> float:
    """Return the largest value of a map near a point of the photo; 0 outside of its box."""
    rows, columns = mask.shape
    y = int((point[1] - box.top) / box.shape[0] * rows)
    x = int((point[0] - box.left) / box.shape[1] * columns)
    if not (0 <= y <= rows and 0 <= x <= columns):
        return 0.0
    y, x = min(y, rows - 1), min(x, columns - 1)
    return float(mask[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].max())
