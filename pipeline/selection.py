"""Say what to cut: a mask replaces stage 1, a hint (a box, points) is an input to it.

After that the way of the data is the same. A box is looked at from nearer by, and a network that
was trained with hints (an input ``hints``, (N, 2, h, w): what to keep, what to drop) is given it,
and the points beside it. Around points alone the photo is looked at from several distances: the
thing under the point wins that is seen most surely and most wholly (of several products on a table
that finds the right one more often than hints do). SAM and its kin are asked in their own way:
:mod:`pipeline.prompted`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from os import PathLike
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import clicks, coarse, image_io, pieces, prompted, views
from pipeline.errors import SettingsError, quoted
from pipeline.models import CoarseModel, Prompted, Session
from pipeline.points import CELLS, Point, text, under
from pipeline.settings import Settings
from pipeline.views import Box, Map, Sight

MaskSource = str | PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any]

KEEP = ("all", "largest")
HOLES = ("keep", "fill")
#: Deviation of the Gaussian, in cells, that gives a binary mask a ramp: its edge may be off by so
#: much, and stage 2 redraws only what it is told to doubt.
DOUBT = 1.0
_BINARY = 0.02  # share of pixels that are neither black nor white, below which a mask is binary
_NOISE = 1e-3  # share of pixels of 1 among 0 up to which they are noise, and no label
_ASPECT = 0.02  # by how much the proportions of a mask and its photo may differ
DISC = 0.025  # radius of a point in a hint, of the view's side: as in training
#: Value of a box in which points to keep are to be seen. At 0.5, as in training, the box itself
#: counts less: on 24 held-out scenes of products the error is twice as large.
FAINT = 0.8
#: How a number's unit is told.
_UNITS = "shares of the photo are all within 0..1, and pixels below 2 are whole numbers"
_FEW = 4  # pixels: a box that is narrower holds nothing, and may be one of shares with a slip in it


@dataclass(frozen=True)
class Selection:
    """What a person says is to be cut. Raises :class:`SettingsError` when it makes no sense.

    Attributes
    ----------
    mask
        A coarse mask in place of stage 1: a file, bytes, a PIL image, or an array (h, w), of any
        size with the photo's proportions; white, or its own alpha, is the subject.
    box
        (x0, y0, x1, y1): nothing outside stays. Values from 0 to 1 are shares of the photo's width
        and height, larger ones pixels; all four are either. So that shares with a slip in them are
        not taken for pixels, pixels below 2 are whole numbers.
    points, not_points
        (x, y) of things to keep and to drop, each in shares or in pixels, as above. Those to keep
        lie inside the box, and no place is both.
    keep
        "all" pieces that were found, or the "largest" alone.
    holes
        "fill" closes all holes in the subject, "keep" leaves those of at least ``smallest_hole``.
    smallest_hole
        Share of the photo's area below which a hole is closed.
    """

    mask: MaskSource | None = None
    box: tuple[float, float, float, float] | None = None
    points: tuple[Point, ...] = ()
    not_points: tuple[Point, ...] = ()
    keep: str = "all"
    holes: str = "keep"
    smallest_hole: float = 0.0

    def __post_init__(self) -> None:
        for name in ("points", "not_points"):
            object.__setattr__(self, name, tuple(_point(p, name) for p in getattr(self, name)))
        if self.box is not None:
            object.__setattr__(self, "box", _numbers(self.box, 4, "box", "x0,y0,x1,y1"))
            if not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
                raise SettingsError(f"box {text(self.box)} has no area: it is x0,y0,x1,y1")
        if self.keep not in KEEP:
            raise SettingsError(f"keep is {' or '.join(KEEP)}, not {quoted(self.keep)}")
        if self.holes not in HOLES:
            raise SettingsError(f"holes is {' or '.join(HOLES)}, not {quoted(self.holes)}")
        if not isinstance(self.smallest_hole, Real) or not 0 <= float(self.smallest_hole) <= 1:
            raise SettingsError(f"smallest_hole is within 0..1, not {quoted(self.smallest_hole)}")
        if self.mask is not None and (self.box or self.points or self.not_points):
            raise SettingsError("a mask says all: leave box and points out, or the mask")
        told = [place for place in (self.box, *self.points, *self.not_points) if place]
        if len(set(map(_in_shares, told))) == 1:  # else the photo's size has to be known
            _agree(self, self.box, self.points, self.not_points)

    @property
    def key(self) -> str:
        """Stand for all that is asked for, but for a mask."""
        return repr(replace(self, mask=None))

    @property
    def chooses(self) -> bool:
        """Whether it says which of the things in the photo are to be cut."""
        told = self.mask is not None or self.points or self.not_points
        return bool(told) or self.keep != "all"

    @property
    def hinted(self) -> bool:
        """Whether there is a hint for stage 1."""
        return bool(self.box or self.points or self.not_points)


def _numbers(values: Any, count: int, name: str, form: str) -> tuple[Any, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{name} is {form}, in numbers, not {quoted(values)}") from error
    if len(numbers) != count or not all(math.isfinite(v) and v >= 0 for v in numbers):
        raise SettingsError(f"{name} is {form}, none below 0, not {quoted(values)}")
    if not _in_shares(numbers) and any(v < 2 and not v.is_integer() for v in numbers):
        raise SettingsError(f"{name} {text(numbers)} is neither in shares nor in pixels: {_UNITS}")
    return numbers


def _point(values: Any, name: str) -> Point:
    x, y = _numbers(values, 2, name.removesuffix("s").replace("_", "-"), "x,y")
    return x, y


def _in_shares(values: Sequence[float]) -> bool:
    return all(value <= 1 for value in values)


def _agree(
    wanted: Selection,
    box: Sequence[float] | None,
    keep: Sequence[Point],
    drop: Sequence[Point],
) -> None:
    """Refuse places that contradict each other: ``wanted``'s own, all in one unit.

    Raises :class:`SettingsError`, in the words of ``wanted``.
    """
    for (x, y), said in zip(keep, wanted.points, strict=True):
        if (x, y) in drop:
            raise SettingsError(f"the point {text(said)} is both to be kept and to be dropped")
        if box and not (box[0] <= x <= box[2] and box[1] <= y <= box[3]):
            raise SettingsError(
                f"the point {text(said)} is to be kept, and lies outside of the box "
                f"{text(wanted.box or box)}, where nothing stays: move it, or leave one of them out"
            )


def pixels(values: Sequence[float], shape: tuple[int, int], name: str) -> list[float]:
    """Turn x, y, x, y, … into pixels of a photo of ``shape``: all up to 1 are shares.

    Raises :class:`SettingsError` where one lies outside of the photo.
    """
    height, width = shape
    sides = [width, height] * (len(values) // 2)
    shares = _in_shares(values)
    in_pixels = [value * (side if shares else 1) for value, side in zip(values, sides, strict=True)]
    if any(value > side for value, side in zip(in_pixels, sides, strict=True)):
        raise SettingsError(
            f"{name} {text(values)} is not inside the photo, which is {width}x{height} px"
        )
    return in_pixels


#: All that stage 1 finds by itself.
EVERYTHING = Selection()


def see(
    session: Session | None,
    card: CoarseModel | None,
    image: NDArray[np.uint8],
    wanted: Selection = EVERYTHING,
    looks: int = Settings.views,
    max_pixels: int = Settings.max_pixels,
    seconds: float = Settings.decode_seconds,
) -> tuple[Sight, tuple[str, ...]]:
    """Find what is wanted in a photo, (H, W, 3) uint8; return it, and notes for the user.

    Stage 1 and its card may be None where there is a mask.

    Raises :class:`SettingsError` for a place outside of the photo, places that contradict each
    other, or a mask of another photo, :class:`pipeline.errors.ImageError` for a mask that cannot
    be read.
    """
    shape = (image.shape[0], image.shape[1])
    notes: list[str] = []
    if wanted.mask is not None:
        sight = from_mask(read_mask(wanted.mask, max_pixels, seconds), shape)
    else:
        assert session and card
        frame = _box(wanted, shape)
        keep, drop = (
            [(x, y) for x, y in (pixels(p, shape, "point") for p in points)]
            for points in (wanted.points, wanted.not_points)
        )
        _agree(wanted, wanted.box and pixels(wanted.box, shape, "box"), keep, drop)
        hint = Hint(frame, tuple(keep), tuple(drop)) if wanted.hinted else None
        if hint and isinstance(session, Prompted):
            sight = _prompted(session, card, image, hint, looks)
        elif not (keep or drop) or (frame and card.hints):
            sight = views.see(session, card, image, looks, frame, hint)
            if keep or drop:
                cell = max(1.0, shape[0] / sight.cells[0], shape[1] / sight.cells[1])
                told = clicks.Clicks(keep, drop, cell, DOUBT)
                sight = replace(sight, mask=clicks.heeded(image, sight.mask, told), clicks=told)
        else:
            said = zip((*keep, *drop), (*wanted.points, *wanted.not_points), strict=True)
            names = {place: text(point) for place, point in said}
            sight, notes = under(session, card, image, frame, keep, drop, looks, names)
        if frame:
            sight = replace(sight, mask=inside(sight.mask, wanted))
    mask = sight.mask
    if wanted.keep == "largest":
        mask = pieces.largest(mask)
    share = 1.0 if wanted.holes == "fill" else wanted.smallest_hole
    if share > 0:
        mask = pieces.filled(mask, share * mask.size)
    return replace(sight, mask=mask), tuple(notes)


def inside(mask: Map, wanted: Selection) -> Map:
    """Clear a mask or an alpha, (H, W) float32, outside of the box that is wanted, if any."""
    box = _box(wanted, (mask.shape[0], mask.shape[1]))
    if box is None:
        return mask
    cleared = np.zeros_like(mask)
    cleared[box.area] = mask[box.area]
    return cleared


def _box(wanted: Selection, shape: tuple[int, int]) -> Box | None:
    if wanted.box is None:
        return None
    left, top, right, bottom = (round(v) for v in pixels(wanted.box, shape, "box"))
    if right <= left or bottom <= top:
        raise SettingsError(f"box {text(wanted.box)} is less than a pixel of this photo")
    if not _in_shares(wanted.box) and min(right - left, bottom - top) < min(_FEW, *shape):
        raise SettingsError(
            f"box {text(wanted.box)} is but {right - left}x{bottom - top} px, as it has values "
            f"above 1: {_UNITS}"
        )
    return Box(top, left, bottom, right)


# -- a mask ----------------------------------------------------------------------------------------


def read_mask(
    source: MaskSource,
    max_pixels: int = Settings.max_pixels,
    seconds: float = Settings.decode_seconds,
) -> Map:
    """Read a mask, (h, w) float32 in 0..1: its alpha where it has one, else how bright it is."""
    if isinstance(source, np.ndarray) and source.ndim == 2 and source.dtype != np.uint8:
        values = source.astype(np.float32)
        if not values.size:
            raise SettingsError("the mask has no pixels")
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise SettingsError("a mask of floats lies within 0..1; of whole numbers, it is uint8")
        return values
    return mask_of(image_io.read(source, max_pixels, seconds))


def mask_of(picture: image_io.Photo) -> Map:
    """Take a picture for a mask, (h, w) float32 in 0..1, as :func:`read_mask` does."""
    if picture.alpha is not None:
        return np.asarray(picture.alpha, np.float32)
    grey = cv2.cvtColor(picture.image, cv2.COLOR_RGB2GRAY)
    # A map of labels, 0 and 1, as many tools write it; a few pixels of 1 are noise of black.
    labels = grey.max() == 1 and grey.mean() > _NOISE
    white = 1 if labels else 255
    return grey.astype(np.float32) / np.float32(white)


def from_mask(mask: Map, shape: tuple[int, int]) -> Sight:
    """Put a mask of any size onto stage 1's grid, over a photo of ``shape``.

    A binary one gets a ramp of some cells, or of its own pixels where these are larger.
    """
    apart = mask.shape[1] * shape[0] / (mask.shape[0] * shape[1])
    slack = 1 + _ASPECT + 1 / min(*mask.shape, *shape)  # a pixel is lost to rounding
    if not 1 / slack <= apart <= slack:
        raise SettingsError(
            f"the mask is {mask.shape[1]}x{mask.shape[0]} px, of other proportions than the photo "
            f"({shape[1]}x{shape[0]}): is it another photo's?"
        )
    rows, columns = (min(CELLS, side) for side in mask.shape)
    grid = np.asarray(cv2.resize(mask, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)
    if ((mask > 0.05) & (mask < 0.95)).mean() < _BINARY:
        grid = np.asarray(cv2.GaussianBlur(grid, (0, 0), DOUBT), np.float32)
    whole = Box(0, 0, *shape)
    return Sight(coarse.upsample(grid, shape), (rows, columns), whole, grid, grid, 1)


# -- hints -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hint:
    """A box and points (x, y), in pixels of the photo, for a network that takes them."""

    box: Box | None
    keep: tuple[Point, ...]
    drop: tuple[Point, ...]

    def planes(self, seen: Box, size: tuple[int, int]) -> Map:
        """Draw the hint for a view of ``seen``, (2, h, w) float32 in 0..1: keep, drop."""
        planes = np.zeros((2, *size), np.float32)
        scale = np.array(size) / seen.shape
        if self.box:
            faint = FAINT if self.keep else 1.0
            top, left = (
                max(0, round(v)) for v in self._in(seen, self.box.top, self.box.left, scale)
            )
            bottom, right = (
                max(0, round(v)) for v in self._in(seen, self.box.bottom, self.box.right, scale)
            )
            planes[0, top : max(bottom, top + 1), left : max(right, left + 1)] = faint
        radius = max(1, round(DISC * size[0]))
        for plane, points in zip(planes, (self.keep, self.drop), strict=True):
            for x, y in points:
                down, across = (int(v) for v in self._in(seen, y, x, scale))
                cv2.circle(plane, (across, down), radius, 1.0, -1)
        return planes

    @staticmethod
    def _in(seen: Box, y: float, x: float, scale: NDArray[np.float64]) -> tuple[float, float]:
        return (y - seen.top) * scale[0], (x - seen.left) * scale[1]


def _prompted(
    network: Prompted, card: CoarseModel, image: NDArray[np.uint8], hint: Hint, looks: int
) -> Sight:
    """Ask a network that is told what to cut; with points to drop alone, for all but that thing."""
    if hint.box or hint.keep:
        return prompted.see(network, image, hint.box, hint.keep, hint.drop)
    plain = views.see(network, card, image, looks)
    thing = prompted.see(network, image, None, hint.drop, ())
    return replace(plain, mask=np.minimum(plain.mask, 1 - thing.mask))
