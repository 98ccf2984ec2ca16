"""What of a photo is cut out: at most so many pixels of it, or only a rectangle."""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import compose, image_io
from pipeline.errors import quoted
from pipeline.result import Result
from service.errors import BadRequest

Pixels = NDArray[np.uint8]
Area = tuple[slice, slice]
ALL: Area = (slice(None), slice(None))


def rectangle(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Understand "x1 y1 x2 y2" in a picture, each in px or %.

    Returns (left, top, right, bottom) in pixels. Raises :class:`BadRequest` for anything else, for
    no area, and for what lies outside of the picture.
    """
    ends = corners(text)
    sides = (width, height, width, height)
    x1, y1, x2, y2 = (
        round(number / 100 * side if share else number)
        for (number, share), side in zip(ends, sides, strict=True)
    )
    if max(x1, x2) > width or max(y1, y2) > height:
        raise BadRequest(
            f"roi {quoted(text)} reaches outside of the picture, which is {width}x{height} px",
            code="roi_exceeds_bounds",
        )
    left, right = sorted((x1, x2))
    top, bottom = sorted((y1, y2))
    if left == right or top == bottom:
        raise BadRequest(f"roi {quoted(text)} has no area", code="roi_region_empty")
    return left, top, right, bottom


def corners(text: str) -> list[tuple[float, bool]]:
    """Understand "x1 y1 x2 y2": each number, and whether it is a percentage.

    Raises :class:`BadRequest` for anything else.
    """
    values = text.split()
    matches = [re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)(px|%)?", value) for value in values]
    sides = [(float(match[1]), match[2] == "%") for match in matches if match]
    if len(values) != 4 or len(sides) != 4:
        raise BadRequest(
            f"roi must be 'x1 y1 x2 y2', each in px or %, not {quoted(text)}", code="invalid_roi"
        )
    return sides


def reduced(photo: image_io.Photo, pixels: int | None) -> image_io.Photo:
    """Reduce a photo to at most so many pixels."""
    height, width = photo.image.shape[:2]
    if pixels is None or width * height <= pixels:
        return photo
    scale = (pixels / (width * height)) ** 0.5
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    image = np.asarray(cv2.resize(photo.image, size, interpolation=cv2.INTER_AREA), np.uint8)
    alpha = photo.alpha
    if alpha is not None:
        alpha = np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.float32)
    return replace(photo, image=image, alpha=alpha)


def opened(photo: image_io.Photo, roi: str, pixels: int | None) -> tuple[image_io.Photo, Area]:
    """Reduce a photo to at most so many pixels, and turn a region of interest into its rows and
    columns; all of them where there is none. The region's own pixels are those of the photo as it
    was sent."""
    height, width = photo.image.shape[:2]
    left, top, right, bottom = rectangle(roi, width, height) if roi else (0, 0, width, height)
    photo = reduced(photo, pixels)
    rows, columns = photo.image.shape[:2]
    return photo, (_span(top, bottom, rows, height), _span(left, right, columns, width))


def _span(start: int, end: int, now: int, before: int) -> slice:
    """Scale a span of a side of ``before`` px to one of ``now`` px; at least a pixel stays."""
    first = min(start * now // before, now - 1)
    return slice(first, max(first + 1, -(-end * now // before)))


def as_array(photo: image_io.Photo, area: Area) -> Pixels:
    """Return a part of a photo as the (H, W, 3 | 4) uint8 array that a cutout takes."""
    image = photo.image[area]
    if photo.alpha is None:
        return np.ascontiguousarray(image)
    return np.dstack([image, compose.levels(np.ascontiguousarray(photo.alpha[area]))])


def embedded(result: Result, photo: image_io.Photo, area: Area) -> Result:
    """Put a cutout of a part of a photo back into the whole; outside, alpha is 0."""
    shape = photo.image.shape[:2]
    if result.alpha.shape == shape:
        return replace(result, photo=photo)
    alpha, foreground = np.zeros(shape, np.float32), photo.image.copy()
    alpha[area], foreground[area] = result.alpha, result.foreground
    # What stage 2 saw has a scale of its own.
    top, left = (place.start for place in area)
    height, width = result.coarse.shape
    down, across = height / result.alpha.shape[0], width / result.alpha.shape[1]
    y, x = round(top * down), round(left * across)
    rows = max(round(shape[0] * down), y + height)
    columns = max(round(shape[1] * across), x + width)
    coarse, roi = np.zeros((rows, columns), np.float32), np.zeros((rows, columns), bool)
    at = slice(y, y + height), slice(x, x + width)
    coarse[at], roi[at] = result.coarse, result.roi
    return replace(
        result,
        photo=photo,
        alpha=alpha,
        foreground=foreground,
        coarse=coarse,
        roi=roi,
        tiles=result.tiles + (y, x),
    )
