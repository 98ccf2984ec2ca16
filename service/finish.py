"""From a cutout to the file that a client asked for.

Arrays are as in :mod:`pipeline.compose`, alpha is straight.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import compose, image_io
from pipeline.cutout import Result
from service.look import Look, margins, rectangle

Pixels = NDArray[np.uint8]

_INSIDE = 0.01  # of the longer side: deeper inside the subject than this is no edge


# -- before the cutout -----------------------------------------------------------------------------


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


# -- after it --------------------------------------------------------------------------------------


def hardened(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Open, smooth and threshold a mask as rembg's ``post_process`` does."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    clean = cv2.morphologyEx(compose.levels(alpha), cv2.MORPH_OPEN, kernel).astype(np.float32)
    # scipy's Gaussian reaches 4 sigma, and mirrors at the border.
    smooth = cv2.GaussianBlur(clean, (17, 17), 2, borderType=cv2.BORDER_REFLECT)
    return (smooth.reshape(alpha.shape) >= 127).astype(np.float32)


def solid(result: Result) -> Result:
    """Make opaque what lies deeper inside the subject than an edge does."""
    body = (result.alpha >= compose.VISIBLE).astype(np.uint8)
    if body.all():
        return result
    depth = cv2.distanceTransform(body, cv2.DIST_L2, 3).reshape(body.shape)
    inside = (depth > max(4.0, _INSIDE * max(body.shape))) & (result.alpha < 1)
    return replace(
        result,
        alpha=np.where(inside, np.float32(1), result.alpha),
        foreground=np.where(inside[..., None], result.photo.image, result.foreground),
    )


def _arranged(result: Result, look: Look) -> Result:
    """Crop, or scale and move the subject, as asked."""
    alpha, foreground, image = result.alpha, result.foreground, result.photo.image
    height, width = alpha.shape
    left, top, right, bottom = compose.crop_box(alpha)
    if look.crop:
        above, after, below, before = margins(look.margin, right - left, bottom - top)
        rows = slice(max(0, top - above), min(height, bottom + below))
        columns = slice(max(0, left - before), min(width, right + after))
        alpha, foreground, image = (
            alpha[rows, columns],
            foreground[rows, columns],
            image[rows, columns],
        )
        return replace(
            result,
            photo=replace(result.photo, image=np.ascontiguousarray(image)),
            alpha=np.ascontiguousarray(alpha),
            foreground=np.ascontiguousarray(foreground),
        )
    if look.scale is None and look.position is None:
        return result
    box = np.s_[top:bottom, left:right]
    rows_, columns_ = bottom - top, right - left
    factor = look.scale * min(width / columns_, height / rows_) if look.scale else 1.0
    size = (max(1, round(columns_ * factor)), max(1, round(rows_ * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    # Scaled premultiplied, or colours from where alpha is 0 would bleed into the edge.
    scaled = cv2.resize(np.ascontiguousarray(alpha[box]), size, interpolation=way)
    small = np.clip(np.asarray(scaled, np.float32), 0, 1).reshape(size[::-1])
    weighted = foreground[box].astype(np.float32) * alpha[box][..., None]
    colours = cv2.resize(weighted, size, interpolation=way).reshape(*small.shape, 3)
    straight = colours / np.maximum(small, 1e-4)[..., None]
    x, y = look.position or (0.5, 0.5)
    row, column = round(y * (height - size[1])), round(x * (width - size[0]))
    place = np.s_[row : row + size[1], column : column + size[0]]
    alpha, foreground = np.zeros_like(alpha), np.zeros_like(foreground)
    alpha[place] = small
    foreground[place] = np.clip(straight + 0.5, 0, 255).astype(np.uint8)
    return replace(result, alpha=alpha, foreground=foreground)


@dataclass(frozen=True)
class Picture:
    """A finished file, and what is worth knowing of it."""

    data: bytes
    format: str
    width: int
    height: int
    #: Where the subject is in it: left, top, width, height in pixels.
    box: tuple[int, int, int, int]


def finish(result: Result, look: Look, max_pixels: int) -> Picture:
    """Make the file.

    Raises :class:`SettingsError`, :class:`pipeline.OutputError`, and what
    :func:`pipeline.image_io.read` does for a background: at most ``max_pixels`` too.
    """
    if look.binary:
        result = replace(result, alpha=hardened(result.alpha))
    if look.opaque:
        result = solid(result)
    result = _arranged(result, look)
    height, width = result.alpha.shape
    left, top, right, bottom = compose.crop_box(result.alpha)
    box = (left, top, right - left, bottom - top)
    if look.format == "zip":
        data = _zipped(result, look)
        return Picture(data, "zip", width, height, box)
    pixels = _pixels(result, look, max_pixels)
    kind = look.format
    if kind == "auto":
        kind = "png" if pixels.ndim == 3 and pixels.shape[2] == 4 else "jpg"
    quality = look.quality if kind in ("webp", "jpg") else None
    photo = result.photo
    if photo.image.shape[:2] != (height, width):
        raise AssertionError("a look keeps photo and alpha the same size")
    data = image_io.encode(pixels, kind, quality, photo.dpi, photo.exif)
    return Picture(data, kind, width, height, box)


def _pixels(result: Result, look: Look, max_pixels: int) -> Pixels:
    if look.only_mask:
        return compose.levels(result.alpha)
    behind = look.background
    if behind is None:
        if look.format == "jpg":
            # Nothing was said of the background, and JPEG holds none: white, as others have it.
            return compose.over(result.foreground, result.alpha, (255, 255, 255))
        return compose.rgba(result.foreground, result.alpha)
    if isinstance(behind, tuple) and behind[3] < 255:
        base = Image.new("RGBA", result.alpha.shape[::-1], behind)
        base.alpha_composite(Image.fromarray(compose.rgba(result.foreground, result.alpha)))
        mixed = np.asarray(base)
        if look.format == "jpg":
            opacity = np.asarray(mixed[..., 3] / 255, np.float32)
            return compose.over(np.ascontiguousarray(mixed[..., :3]), opacity, (255, 255, 255))
        return mixed
    layer: Any = behind[:3] if isinstance(behind, tuple) else behind
    if isinstance(layer, bytes):
        layer = image_io.read(layer, max_pixels).image
    fitted = compose.background(layer, result.photo.image, result.alpha)
    return compose.over(result.foreground, result.alpha, fitted)


def _zipped(result: Result, look: Look) -> bytes:
    """Pack colour (JPEG) and alpha (PNG): far smaller than one PNG, at full quality of the edge."""
    buffer = io.BytesIO()
    photo = result.photo
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        colours = image_io.encode(result.foreground, "jpg", look.quality, photo.dpi, photo.exif)
        for name, data in (
            ("color.jpg", colours),
            ("alpha.png", image_io.encode(compose.levels(result.alpha), "png")),
        ):
            # A fixed moment: equal answers are equal files.
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()
