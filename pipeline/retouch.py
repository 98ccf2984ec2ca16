"""Correct a result with a brush: a stroke edits the coarse mask, its edge alone is redrawn.

A stroke says for sure what lies along its middle. Its border goes to the edge of the photo that it
covers (:mod:`pipeline.snap`); there it is a mask like stage 1's, with a soft ramp, and stage 2
redraws that edge. It sees the matte as it was, with the stroke in it, so what was redrawn before
stays. Outside of :func:`reach` nothing changes, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import blend, compose, detail, foreground, patches, roi, snap, transparency
from pipeline.errors import SettingsError
from pipeline.generator import Redraw
from pipeline.image_io import Photo
from pipeline.settings import Settings
from pipeline.views import Box

Map = NDArray[np.float32]
Point = tuple[float, float]

MAX_POINTS = 2000  # of a stroke: a hand draws some hundreds
DOUBT = 1.0  # cells: deviation of the Gaussian that makes the ramp, as a binary mask's is made
#: The part of a stroke's width, along its middle, that nothing else has a say in. The rest is where
#: a hand may be off. Wider, it takes in what lies beside a thin thing.
SURE = 0.35
_THICKEST = 32_767  # px: OpenCV draws no thicker line
_SHIFT = 4  # bits of a pixel's fraction in OpenCV's coordinates


@dataclass(frozen=True)
class Stroke:
    """A line drawn with a round brush. Raises :class:`SettingsError` when it is none.

    Attributes
    ----------
    points
        (x, y) along the line, in shares of the photo's width and height.
    width
        The brush's diameter as a share of the photo's longer side, above 0 and up to 1.
    restore
        True puts what it covers into the subject, False takes it out.
    exact
        Leave the edge as it was drawn: stage 2 has no say.
    """

    points: tuple[Point, ...]
    width: float
    restore: bool
    exact: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.points) <= MAX_POINTS:
            raise SettingsError(
                f"a stroke has 1 to {MAX_POINTS} points, not {len(self.points)}: divide it"
            )
        values = np.asarray(self.points, np.float64)
        if values.shape != (len(self.points), 2) or not (np.abs(values - 0.5) <= 1).all():
            raise SettingsError("a stroke's points are (x, y), in shares of the photo: 0..1")
        if not 0 < self.width <= 1:
            raise SettingsError(f"a stroke's width must lie within 0..1, not {self.width}")

    def pixels(self, shape: tuple[int, int]) -> float:
        """Return the brush's diameter on a photo of ``shape``, in pixels: at least one."""
        return max(1.0, self.width * max(shape))

    def box(self, shape: tuple[int, int], margin: float = 0) -> Box:
        """Return what it covers of a photo of ``shape``, with a margin in pixels; may be empty."""
        height, width = shape
        grown = self.pixels(shape) / 2 + 1 + margin
        line = np.asarray(self.points, np.float64) * (width, height)
        left, top = (math.floor(v) for v in line.min(0) - grown)
        right, bottom = (math.ceil(v) for v in line.max(0) + grown)
        top, left = min(max(0, top), height), min(max(0, left), width)
        return Box(top, left, max(top, min(height, bottom)), max(left, min(width, right)))

    def cover(self, shape: tuple[int, int], box: Box, part: float = 1.0) -> Map:
        """Draw it into a box of a photo of ``shape``, with a ``part`` of its width.

        Returns how much of each pixel it covers, (h, w) of the box, float32 in 0..1.
        """
        drawn = np.zeros(box.shape, np.uint8)
        line = np.asarray(self.points, np.float64) * shape[::-1] - (box.left, box.top) - 0.5
        scaled = np.rint(line * (1 << _SHIFT)).astype(np.int32)
        radius = self.pixels(shape) * part / 2
        if len(line) > 1:
            thick = min(_THICKEST, max(1, round(2 * radius)))
            cv2.polylines(drawn, [scaled], False, 255, thick, cv2.LINE_AA, _SHIFT)
        size = max(1, round(radius * (1 << _SHIFT)))
        for x, y in scaled.tolist():
            cv2.circle(drawn, (x, y), size, 255, -1, cv2.LINE_AA, _SHIFT)
        return drawn.astype(np.float32) / np.float32(255)


class Retouched(Protocol):
    """What is needed of a :class:`pipeline.result.Result`."""

    @property
    def photo(self) -> Photo: ...
    @property
    def alpha(self) -> Map: ...
    @property
    def foreground(self) -> NDArray[np.uint8]: ...
    @property
    def coarse(self) -> Map: ...
    @property
    def roi(self) -> NDArray[np.bool_]: ...
    @property
    def tiles(self) -> NDArray[np.intp]: ...
    @property
    def cells(self) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Patch:
    """A part of a result: what a stroke puts there, or took away.

    Alpha and colours are of ``box``, coarse mask and ROI of ``below``, which is the same place in
    what stage 2 saw; the tiles are those of the whole result, (N, 2).
    """

    box: Box
    alpha: Map
    foreground: NDArray[np.uint8]
    below: Box
    coarse: Map
    roi: NDArray[np.bool_]
    tiles: NDArray[np.intp]

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        arrays = (self.alpha, self.foreground, self.coarse, self.roi, self.tiles)
        return sum(array.nbytes for array in arrays)


def copied(result: Retouched, box: Box) -> Patch:
    """Copy a part of a result, so that :func:`put` brings it back."""
    below = detail.below(box, result.alpha.shape, result.coarse.shape)
    alpha, colours = (part[box.area].copy() for part in (result.alpha, result.foreground))
    coarse, edge = (part[below.area].copy() for part in (result.coarse, result.roi))
    return Patch(box, alpha, colours, below, coarse, edge, result.tiles)


def put(result: Any, patch: Patch) -> Any:
    """Return the result with a part of it replaced. The one that was given stays as it is."""
    changes: dict[str, Any] = {"tiles": patch.tiles}
    box, below = patch.box, patch.below
    for name, at in (("alpha", box), ("foreground", box), ("coarse", below), ("roi", below)):
        whole = getattr(result, name).copy()
        whole[at.area] = getattr(patch, name)
        changes[name] = whole
    return replace(result, **changes)


def reach(
    stroke: Stroke, shape: tuple[int, int], cells: tuple[int, int], settings: Settings
) -> Box:
    """Return all that a stroke may change in a photo of ``shape``."""
    return stroke.box(shape, 0.0 if stroke.exact else margin(shape, cells, settings))


def _cell(shape: tuple[int, int], cells: tuple[int, int]) -> float:
    """Return the side of a cell, in pixels: at least one."""
    return max(1.0, shape[0] / cells[0], shape[1] / cells[1])


def margin(shape: tuple[int, int], cells: tuple[int, int], settings: Settings) -> float:
    """Return how far beside itself a stroke may change a photo of ``shape``, in pixels."""
    return math.ceil(_cell(shape, cells) * (3 * DOUBT + settings.reach))


def stroked(
    result: Retouched, stroke: Stroke, redraw: Redraw | None, settings: Settings
) -> Patch | None:
    """Compute what a stroke makes of a result.

    Parameters
    ----------
    result
        As it was found, or with earlier strokes in it; its edge is redrawn at the size of its
        coarse mask.
    stroke
        What was drawn.
    redraw
        Stage 2; None leaves every edge as it is drawn, with the ramp of the brush.
    settings
        Those that the result was made with.

    Returns
    -------
    What to :func:`put` into the result, and None where the stroke lies outside of the photo.
    """
    shape = (result.alpha.shape[0], result.alpha.shape[1])
    box = reach(stroke, shape, result.cells, settings)
    if not all(box.shape):
        return None
    old = copied(result, box)
    # An exact stroke asks neither colours nor networks.
    image = result.photo.image if stroke.exact else transparency.opaque(result.photo)
    soft, sure = _drawn(stroke, result, image, box, old.alpha)
    drawn = cv2.resize(soft, old.coarse.shape[::-1], interpolation=cv2.INTER_AREA)
    coarse = snap.edited(old.coarse, np.clip(drawn, 0, 1), stroke.restore)
    matte = snap.edited(old.alpha, soft, stroke.restore)
    near = _near(soft, _cell(shape, result.cells) * settings.reach)
    if stroke.exact:
        alpha, colours, edge, tiles = matte, old.foreground, old.roi, result.tiles
    else:
        edge, tiles, alpha, colours = _redrawn(result, image, matte, near, old, redraw, settings)
        # Towards the border of what may change, what was there before comes back.
        alpha = np.clip(matte + near * (alpha - matte), 0, 1)
        alpha = snap.edited(alpha, sure, stroke.restore)
        colours = np.asarray(cv2.blendLinear(colours, old.foreground, near, 1 - near), np.uint8)
    if result.photo.alpha is not None:
        # What is transparent already stays so, and its colours are straight already.
        own = result.photo.alpha[box.area]
        alpha = np.minimum(alpha, own)
        colours = np.where((own < 1)[..., None], result.photo.image[box.area], colours)
    solid = colours.copy()
    compose.keep_opaque(solid, alpha, result.photo.image[box.area])
    colours = np.where((near > 0)[..., None], solid, old.foreground)
    return Patch(box, alpha, colours, old.below, coarse, edge, tiles)


def _drawn(
    stroke: Stroke, result: Retouched, image: NDArray[np.uint8], box: Box, matte: Map
) -> tuple[Map, Map]:
    """Draw a stroke, soft as a coarse mask is and as sure as it is along its middle."""
    shape = (result.alpha.shape[0], result.alpha.shape[1])
    cover, cell = stroke.cover(shape, box), _cell(shape, result.cells)
    if stroke.exact:
        return cover, cover
    sure = stroke.cover(shape, box, SURE)
    return snap.soft(image[box.area], matte, cover, sure, stroke.restore, DOUBT * cell), sure


def _near(soft: Map, distance: float) -> Map:
    """Return 1 under a stroke, falling to 0 at a distance from it, in pixels."""
    off = cv2.distanceTransform((soft == 0).astype(np.uint8), cv2.DIST_L2, 3).reshape(soft.shape)
    return np.asarray(np.clip(1 - off / np.float32(max(distance, 1)), 0, 1), np.float32)


def _redrawn(
    result: Retouched,
    image: NDArray[np.uint8],
    matte: Map,
    near: Map,
    old: Patch,
    redraw: Redraw | None,
    settings: Settings,
) -> tuple[NDArray[np.bool_], NDArray[np.intp], Map, NDArray[np.uint8]]:
    """Redraw the edge near a stroke: ROI and tiles, alpha and colours of what it replaces."""
    box, below = old.box, old.below
    whole = result.alpha.copy()
    whole[box.area] = matte
    shown = detail.show(image, whole, result.coarse.shape)
    edge = roi.find(shown.mask, result.cells, settings.roi_threshold, settings.reach)
    if redraw is None:
        around = box.grown(foreground.WIDE, whole.shape)
        inner = box.within(around)
        colours = foreground.estimate(image[around.area], whole[around.area])
        return edge[below.area], result.tiles, matte.copy(), colours[inner.area]
    touched = cv2.resize(near, old.coarse.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    wanted = np.zeros_like(edge)
    wanted[below.area] = edge[below.area] & touched
    origins = patches.tile_origins(wanted)
    shallow = roi.find(shown.mask, result.cells, settings.roi_threshold, settings.depth)
    alpha, colours = blend.blend(
        shown.image, shown.mask, shallow, origins, redraw(shown.image, shown.mask, origins)
    )
    alpha, colours = detail.carried(image, whole, shown, alpha, colours, settings.threads)
    tiles = patches.distinct(np.concatenate([result.tiles, origins]))
    return edge[below.area], tiles, alpha[box.area], colours[box.area]
