"""Look at the photo more than once: at the whole, and at what was found there from nearer by.

A network that sees any photo at 320 px sees little of a subject that fills a quarter of it, and it
errs now one way, now the other: so it looks at the box of what it found once more, mirrored, and
the two answers are joined. The second look shows more, and is a second opinion; how far the two
agree says how sure the result is (:mod:`pipeline.confidence`).

Answers are joined as the mean of their logits: where both are certain the result is certain, which
a mean of the maps themselves would not be after any disagreement, and no minimum and maximum of the
photo is needed to sharpen it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import coarse
from pipeline.models import CoarseModel, Session

if TYPE_CHECKING:
    from pipeline.clicks import Clicks

Map = NDArray[np.float32]

SUBJECT = 0.5  # what is likelier in than out belongs to the box
MARGIN = 0.15  # of the box's side, on each side of it: limbs that the first look missed
#: No box is less than this of a side of the photo: nearer by, the photo itself is blurred.
SMALLEST = 0.25
NEAR = 0.5  # weight of the second look; the rest is the first's
#: A second look that adds more than this share to what the first one found takes the surroundings
#: for the subject: its box was drawn around that. Of 288 held-out photos and scenes 13 are so, a
#: logo whose ground was taken for one among them; the first look alone is better for 11, and for
#: none worse.
MOST_ADDED = 0.5
_FADE = 0.05  # of its box: over so much the second look fades in where that ends within the photo
CERTAIN = 1e-3  # probabilities nearer to 0 and 1 than this are equally certain


@dataclass(frozen=True)
class Box:
    """A part of a photo, in pixels: from (top, left) up to, not including, (bottom, right)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> tuple[slice, slice]:
        """The index of the part, ``photo[box.area]``."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def wider(self, margin: float, shape: tuple[int, int]) -> Box:
        """Return the box with a margin around it, a share of its sides, within a photo."""
        down, across = (round(side * margin) for side in self.shape)
        return self._grown(down, across, shape)

    def grown(self, margin: int, shape: tuple[int, ...]) -> Box:
        """Return the box with a margin of some pixels around it, within a photo."""
        return self._grown(margin, margin, shape)

    def _grown(self, down: int, across: int, shape: tuple[int, ...]) -> Box:
        return Box(
            max(0, self.top - down),
            max(0, self.left - across),
            min(shape[0], self.bottom + down),
            min(shape[1], self.right + across),
        )

    def common(self, other: Box) -> Box:
        """Return what lies in another box as well."""
        return Box(
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.bottom, other.bottom),
            min(self.right, other.right),
        )

    def within(self, outer: Box) -> Box:
        """Return the box in the coordinates of another that holds it."""
        return Box(
            self.top - outer.top,
            self.left - outer.left,
            self.bottom - outer.top,
            self.right - outer.left,
        )


class Hinting(Protocol):
    """What a person said of a photo: see :class:`pipeline.selection.Hint`."""

    def planes(self, seen: Box, size: tuple[int, int], /) -> Map: ...


@dataclass(frozen=True)
class Sight:
    """What stage 1 saw of a photo.

    Attributes
    ----------
    mask
        The coarse mask at the photo's size, (H, W) float32 in 0..1.
    cells
        Rows and columns of stage 1's pixels, were they as fine all over the photo as in ``box``.
    box
        What the last look saw.
    first, second
        Both answers for the box as the network gave them, each (h, w) float32 in 0..1; the same one
        after a single look.
    looks
        How many there were, 1 or 2.
    clicks
        What the mask heeds, and the alpha is to heed as well; None where nothing was clicked.
    """

    mask: Map
    cells: tuple[int, int]
    box: Box
    first: Map
    second: Map
    looks: int
    clicks: Clicks | None = None


def see(
    session: Session,
    card: CoarseModel,
    image: NDArray[np.uint8],
    looks: int = 2,
    box: Box | None = None,
    hint: Hinting | None = None,
) -> Sight:
    """Run stage 1 on a photo.

    Parameters
    ----------
    session, card
        The network, as :func:`pipeline.models.open_coarse` returns it.
    image
        (H, W, 3) uint8 RGB.
    looks
        1: at the whole alone. 2: then at what was found there, from nearer by and in the mirror; at
        the whole in the mirror where nothing was found, or something as large as the photo. A
        second look that :func:`strays` counts for the confidence only.
    box
        Where the second look goes, with a margin, instead.
    hint
        Draws what a person said, for a network that takes hints.
    """
    shape = image.shape[:2]
    everything = Box(0, 0, *shape)

    def look(at: Box, card: CoarseModel, mirrored: bool) -> Map:
        planes = hint.planes(at, coarse.view(at.shape, card)) if hint and card.hints else None
        return coarse.probabilities(session, card, image[at.area], mirrored, planes)

    whole = look(everything, card, mirrored=False)
    whole_map = coarse.to_mask(whole, card)
    if looks == 1:
        return Sight(
            coarse.upsample(whole_map, shape), whole_map.shape, everything, whole, whole, 1
        )
    told = box is not None or hint is not None  # by a person, who knows better than the first look
    box = box.wider(MARGIN, shape) if box else around(whole_map, shape)
    near = look(box, replace(card, size=card.second) if any(card.second) else card, mirrored=True)
    # Joined on the second one's grid, even where it is the coarser: stage 2 makes more of it.
    first = part(whole, box, shape, near.shape)
    if not told and strays(*(coarse.to_mask(raw, card) for raw in (first, near))):
        mask = coarse.upsample(whole_map, shape)
        return Sight(mask, whole_map.shape, box, first, near, 2)
    joined = coarse.to_mask(join(first, near, _fade(near.shape, box, shape)), card)
    if box == everything:
        mask = coarse.upsample(joined, shape)
    else:
        mask = coarse.upsample(whole_map, shape)
        mask[box.area] = coarse.upsample(joined, box.shape)
    rows, columns = (
        round(count * side / seen)
        for count, side, seen in zip(near.shape, shape, box.shape, strict=True)
    )
    return Sight(mask, (rows, columns), box, first, near, 2)


def strays(first: Map, second: Map) -> bool:
    """Tell whether a second look adds so much to what the first one found that it is not of that.

    Both (h, w) float32 in 0..1, of the same part. Where the first one found nothing, it may add.
    """
    if first.max() < SUBJECT:
        return False
    return bool(np.maximum(second - first, 0).sum() > MOST_ADDED * first.sum())


def around(mask: Map, shape: tuple[int, int], smallest: float = SMALLEST) -> Box:
    """Return the box of the subject in a coarse map, with a margin, in a photo of ``shape``.

    It takes at least the share ``smallest`` of each side; all of the photo where no pixel is
    likelier in than out.
    """
    ends = []
    for axis, side in ((1, shape[0]), (0, shape[1])):
        at = np.flatnonzero((mask > SUBJECT).any(axis))
        if not at.size:
            return Box(0, 0, *shape)
        scale = side / mask.shape[1 - axis]
        low, high = at[0] * scale, (at[-1] + 1) * scale
        spare = max((high - low) * MARGIN, (smallest * side - (high - low)) / 2)
        ends.append((max(0, int(low - spare)), min(side, int(np.ceil(high + spare)))))
    (top, bottom), (left, right) = ends
    return Box(top, left, bottom, right)


def part(whole: Map, box: Box, shape: tuple[int, int], size: tuple[int, int]) -> Map:
    """Resample the part of a map of a photo of ``shape`` that lies in a box, to ``size`` (h, w)."""
    scale = np.array(whole.shape) / shape  # of the map, to the photo
    step = np.array(box.shape) / size * scale
    start = np.array([box.top, box.left]) * scale + step / 2 - 0.5
    to_map = np.array([[step[1], 0, start[1]], [0, step[0], start[0]]])
    return np.asarray(
        cv2.warpAffine(
            whole,
            to_map,
            size[::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )


def join(first: Map, second: Map, weight: Map | float) -> Map:
    """Join two maps of probabilities: the mean of their logits, ``weight`` (0..1) of the second."""
    one, two = (logit(answer) for answer in (first, second))
    mean = 1 / (1 + np.exp(-(one + weight * (two - one))))
    # A mean lies between the two; held logits, and rounding, would leave it a little beside them.
    between = np.clip(mean, np.minimum(first, second), np.maximum(first, second))
    return np.asarray(between, np.float32)


def logit(probability: Map) -> Map:
    """Return the log-odds of probabilities in 0..1, held off their ends by :data:`CERTAIN`."""
    held = np.clip(probability, CERTAIN, 1 - CERTAIN)
    return np.asarray(np.log(held / (1 - held)), np.float32)


def _fade(size: tuple[int, int], box: Box, shape: tuple[int, int]) -> Map:
    """Return the weight of the second look, (h, w): less towards borders that are not the photo's.

    There the mask goes on as the first look has it, and no step may be seen.
    """
    ends = ((box.top, box.bottom), (box.left, box.right))
    sides = []
    for count, (low, high), side in zip(size, ends, shape, strict=True):
        at = (np.arange(count, dtype=np.float32) + 0.5) / (_FADE * count)
        ramp = np.ones(count, np.float32)
        if low > 0:
            np.minimum(ramp, at, out=ramp)
        if high < side:
            np.minimum(ramp, at[::-1], out=ramp)
        sides.append(ramp)
    return np.float32(NEAR) * np.minimum.outer(*sides)
