"""What of a photo is cut out: at most so many pixels of it, or only a rectangle."""

from __future__ import annotations

import re
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import compose, image_io
from pipeline.cutout import Result
from pipeline.errors import SettingsError

Pixels = NDArray[np.uint8]


def rectangle(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    """Understand "x1 y1 x2 y2" in a picture, each in px or %; what lies outside is cut off.

    Returns (left, top, right, bottom) in pixels. Raises :class:`SettingsError` for anything else,
    and for no area.
    """
    values = text.split()
    matches = [re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?)(px|%)?", value) for value in values]
    if len(values) != 4 or not all(matches):
        raise SettingsError(f"roi must be 'x1 y1 x2 y2', each in px or %, not {text!r}")
    x1, y1, x2, y2 = (
        round(float(m[1]) / 100 * side) if m[2] == "%" else round(float(m[1]))
        for m, side in zip(matches, (width, height, width, height), strict=True)
        if m
    )
    left, right = sorted((min(x1, width), min(x2, width)))
    top, bottom = sorted((min(y1, height), min(y2, height)))
    if left == right or top == bottom:
        raise SettingsError(f"roi {text!r} has no area")
    return left, top, right, bottom


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


def region(photo: image_io.Photo, roi: str) -> tuple[slice, slice]:
    """Turn a region of interest into rows and columns; all of them where there is none."""
    height, width = photo.image.shape[:2]
    left, top, right, bottom = rectangle(roi, width, height) if roi else (0, 0, width, height)
    return slice(top, bottom), slice(left, right)


def as_array(photo: image_io.Photo, area: tuple[slice, slice]) -> Pixels:
    """Return a part of a photo as the (H, W, 3 | 4) uint8 array that a cutout takes."""
    image = photo.image[area]
    if photo.alpha is None:
        return np.ascontiguousarray(image)
    return np.dstack([image, compose.levels(np.ascontiguousarray(photo.alpha[area]))])


def embedded(result: Result, photo: image_io.Photo, area: tuple[slice, slice]) -> Result:
    """Put a cutout of a part of a photo back into the whole; outside, alpha is 0."""
    shape = photo.image.shape[:2]
    if result.alpha.shape == shape:
        return replace(result, photo=photo)
    alpha, coarse, roi = np.zeros(shape, np.float32), np.zeros(shape, np.float32), None
    alpha[area], coarse[area] = result.alpha, result.coarse
    roi = np.zeros(shape, bool)
    roi[area] = result.roi
    foreground = photo.image.copy()
    foreground[area] = result.foreground
    return replace(result, photo=photo, alpha=alpha, foreground=foreground, coarse=coarse, roi=roi)
